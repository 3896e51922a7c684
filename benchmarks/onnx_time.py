"""Time of whole networks by onnxruntime, so that networks of one call can be compared on a machine that others use, too."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime

from supernet.export import to_onnx


def milliseconds(models: list[Any], shape: tuple[int, ...], rounds: int = 40) -> list[float]:
    """Median time of each by onnxruntime, one thread, in turn; the fastest quarter of the rounds, since other jobs only slow it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(to_onnx(model, shape).SerializeToString(), options) for model in models]
    feed = {sessions[0].get_inputs()[0].name: np.zeros(shape, np.float32)}
    times = np.zeros((rounds, len(sessions)))
    for row in times:
        for n, session in enumerate(sessions):
            own = []
            for _ in range(12):
                started = time.perf_counter()
                session.run(None, feed)
                own.append(time.perf_counter() - started)
            row[n] = 1e3 * float(np.median(own[2:]))
    return [float(np.quantile(column, 0.25)) for column in times.T]
