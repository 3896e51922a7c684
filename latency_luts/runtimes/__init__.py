"""Runtimes, one file each: load(model, threads), example(session), run(session, input), version().

`load` takes a model's bytes, `example` makes a random input of the model's own shape and type, `run` runs it once.
FORMAT is the files' ending, PROVENANCE goes into the table, ERRORS are what `load` raises for a file it cannot use.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from latency_luts.errors import BundleError

RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "executorch": "executorch",
    "openvino": "openvino",
    "torch": "torch",
}


def get_runtime(name: str) -> ModuleType:
    """The runtime's module. Raises BundleError for an unknown one, or one that is not installed."""
    if name not in RUNTIMES:
        raise BundleError(f'Unknown runtime "{name}". Known: {", ".join(RUNTIMES)}.')
    try:
        return importlib.import_module(f"latency_luts.runtimes.{name}_runtime")
    except ImportError as error:
        raise BundleError(f"Runtime {name} is not usable here ({error}): pip install {RUNTIMES[name]}") from error
