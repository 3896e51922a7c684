"""`supernet verify`: measures the final model end to end on this machine, and says whether the budget is met."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from latency_luts.runtimes import RUNTIMES
from supernet.command_line import ranged
from supernet.errors import UserError
from supernet.program import Help

if TYPE_CHECKING:
    from supernet.costs.latency import LatencyTable

EPILOG = """\
examples:
  supernet verify --model runs/train-rpi4-1/model.onnx
      budget and prediction are in the model's metadata
  supernet verify --model model.onnx --arch derived.json --device ./my-board.json
  python bundle/run.py --model model.onnx
      the same on a device without torch

A table ranks architectures well and still misses milliseconds: a budget is met when it was measured, on the device.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "verify",
        help="measure a model end to end against its budget",
        description="Measures a model file end to end on this machine, by the protocol of the tables. "
        "It says budget, predicted latency ± error, measured latency, and whether it is met.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--model", required=True, type=Path, help="model.onnx (or another runtime's file)")
    parser.add_argument(
        "--arch", type=Path, help="derived.json: budget and prediction, where the model does not state them"
    )
    parser.add_argument("--device", help="table to predict with (default: the stated prediction)")
    parser.add_argument("--budget-ms", type=ranged(float, "(0, 1e6]"), help="budget (default: the stated one)")
    parser.add_argument("--runtime", default="onnxruntime", choices=RUNTIMES, metavar="RUNTIME", help="onnxruntime (default), litert, executorch, openvino or torch")  # fmt: skip
    parser.add_argument(
        "--threads", type=ranged(int, "[1, 1024]"), default=1, help="threads of the runtime (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Reads what was promised, measures, compares."""
    from latency_luts.errors import BundleError
    from latency_luts.verification import tell, verify
    from supernet.costs.latency import load_table
    from supernet.spaces.architecture import Architecture

    arch = None if options.arch is None else Architecture.load(options.arch)
    table = None if options.device is None else load_table(options.device)
    try:
        measured = verify(options.model, options.runtime, options.threads, options.quick)
    except BundleError as error:
        raise UserError(str(error)) from error
    if arch is not None:
        measured.metadata.update(_facts(device=arch.device, budget_ms=arch.budget_ms, predicted_ms=arch.predicted_ms,
                                        predicted_error=arch.predicted_error, space=arch.space, ops=json.dumps(arch.ops)))  # fmt: skip
    if table is not None:
        measured.metadata.update(_prediction(table, measured.metadata))
    tell(measured, options.budget_ms)


def _prediction(table: LatencyTable, metadata: dict[str, str]) -> dict[str, str]:
    """What this table predicts for the architecture that the model (or derived.json) states."""
    from supernet.spaces import get_space
    from supernet.transfer.kernel_model import table_for

    try:
        space, ops = metadata["space"], json.loads(metadata["ops"])
    except (KeyError, ValueError) as error:
        raise UserError(
            "The model does not state its architecture: --device needs --arch derived.json, too."
        ) from error
    if not isinstance(ops, list):
        raise UserError("ops in the model's metadata is not a list of operations.")
    table, _ = table_for(table, get_space(space))
    before = (table.content.get("protocol") or {}).get("before") or {}
    return _facts(device=table.device, predicted_ms=table.predict_ms(get_space(space), ops), predicted_error=table.error,
                  processor=before.get("processor"))  # fmt: skip


def _facts(**facts: object) -> dict[str, str]:
    return {key: str(value) for key, value in facts.items() if value is not None}
