"""One model measured end to end: a budget is only claimed as met when it was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_luts import machine
from latency_luts.errors import BundleError
from latency_luts.journal import Journal
from latency_luts.protocol import QUICK, Settings, Time, measure, summarise, warm_up
from latency_luts.runtimes import get_runtime

MAX_MODEL_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Measured:
    """A model's time on this machine; `metadata` is what the file says of itself (budget, prediction, …).

    runtime: its name and version.  threads: of the runtime.
    """

    time: Time
    metadata: dict[str, str]
    machine: dict[str, Any]
    runtime: str
    threads: int


def verify(path: Path, runtime_name: str = "onnxruntime", threads: int = 1, quick: bool = False) -> Measured:
    """Measures one model by the protocol of the tables. Raises BundleError if it is missing or does not load."""
    if not path.is_file():
        raise BundleError(f"model {path} {'is a folder, not a file' if path.is_dir() else 'does not exist'}.")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise BundleError(f"model {path} has more than {MAX_MODEL_BYTES:,} bytes.")
    machine.check_threads(threads)
    runtime = get_runtime(runtime_name)
    settings = QUICK if quick else Settings()
    with machine.pinned(threads) as cores:
        try:
            session = runtime.load(path.read_bytes(), threads)
            inputs = runtime.example(session)
        except runtime.ERRORS as error:
            raise BundleError(f"model {path} does not load in {runtime_name}: {error}") from error
        subject = warm_up("model", lambda: runtime.run(session, inputs), settings)
        journal = Journal(None, {})
        for _ in measure([subject], settings, journal):
            pass
        metadata = runtime.metadata(session) if hasattr(runtime, "metadata") else {}
        time, state = summarise(*journal.of("model")), machine.describe(cores)
    return Measured(time, metadata, state, f"{runtime_name} {runtime.version()}", threads)


def number(metadata: dict[str, str], key: str) -> float | None:
    """A finite number that the model's metadata states, or None."""
    try:
        value = float(metadata[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def tell(measured: Measured, budget_ms: float | None) -> None:
    """Prints budget, prediction, measurement and verdict, as far as each is known."""
    time, metadata = measured.time, measured.metadata
    device, here = metadata.get("device"), measured.machine["processor"]
    budget_ms = number(metadata, "budget_ms") if budget_ms is None else budget_ms
    print(
        f"budget     {'none stated' if budget_ms is None else f'{budget_ms:g} ms'}{f' on {device}' if device else ''}"
    )
    predicted_ms, error = number(metadata, "predicted_ms"), number(metadata, "predicted_error")
    if predicted_ms is not None:
        spread = "error unknown: its table was never validated" if error is None else f"± {error:.1%}"
        print(f"predicted  {predicted_ms:.4g} ms ({spread})")
    print(f"measured   {time.median_ms:.4g} ms (iqr {time.iqr_ms:.2g}, n {time.n}) end to end on {here}, "
          f"{measured.runtime}, {measured.threads} thread(s)")  # fmt: skip
    if "bits" in metadata:
        print("           This file computes layers of few bits in float32: a runtime that executed their bits would take another time.")  # fmt: skip
    if budget_ms is None:
        return
    verdict = "met" if time.median_ms <= budget_ms else f"MISSED by {time.median_ms / budget_ms - 1:.1%}"
    print(f"verdict    {verdict} on this machine")
    if device and metadata.get("processor") != here:
        print(f"           This counts as {device}'s only if this machine is a {device}; "
              f"if not, run on it: python bundle/run.py --model FILE")  # fmt: skip
