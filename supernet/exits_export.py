"""A network with early exits as ONNX files, one a part: a runtime runs a file whole, so only apart do easy pictures save time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from timm.models.efficientnet import EfficientNet
from torch import nn

from latency_luts.files import write_whole
from supernet.errors import UserError
from supernet.exits import Exits, parts
from supernet.export import TOLERANCE, require, to_onnx
from supernet.preprocessing import Preprocessing

OUTPUTS = ("output", "features")


def export_parts(
    network: nn.Module, exits: Exits, folder: Path, spec: Preprocessing, metadata: Mapping[str, str]
) -> dict[str, str]:
    """Writes model-part1.onnx …: `input` → `output` (logits of its exit) and `features`, the `input` of the next part; the last
    has no features. File name → what was checked of it.

    Raises UserError (and writes nothing) if a logit differs from torch's by more than 1e-4 of its size, or onnx is not installed.
    """
    require("onnx", "onnxruntime")
    import onnx
    import onnxruntime

    assert isinstance(network, EfficientNet)
    made = [one.eval() for one in parts(network.to("cpu").eval(), exits.to("cpu").eval())]
    wanted = given = torch.from_numpy(
        np.random.default_rng(0).normal(size=(1, spec.channels, spec.size, spec.size)).astype(np.float32)
    )
    contents, worst = [], 0.0
    for number, part in enumerate(made, 1):
        last = number == len(made)
        exported = nn.Sequential(part.body, part.head).eval() if last else part
        proto = to_onnx(exported, tuple(given.shape), OUTPUTS[:1] if last else OUTPUTS)
        onnx.helper.set_model_props(proto, {**metadata, "part": f"{number} of {len(made)}"})
        onnx.checker.check_model(proto)
        contents.append(proto.SerializeToString())
        session = onnxruntime.InferenceSession(contents[-1], providers=["CPUExecutionProvider"])
        found = session.run(None, {"input": given.numpy()})
        with torch.no_grad():
            logits, wanted = part(wanted)
        difference = float(np.abs(found[0] - logits.numpy()).max() / max(1.0, float(logits.abs().max())))
        worst = max(worst, difference)
        given = given if last else torch.from_numpy(found[1])  # as a device would: on from the file's own features
    if not worst <= TOLERANCE:
        raise UserError(f"the parts' outputs differ from torch's by {worst:.2g}; they are not written")
    names = [f"model-part{number}.onnx" for number in range(1, len(made) + 1)]
    for name, content in zip(names, contents, strict=True):
        write_whole(folder / name, content)
    told = f"float32, batch 1; run one after another they differ from torch by {worst:.1e} at most"
    return {name: f"part {number} of {len(made)}; {told}" for number, name in enumerate(names, 1)}
