"""supernet: architecture search for image classifiers that fit a device's latency budget and serve every group."""

__version__ = "0.1.0"

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supernet.api import Data, Table, evaluate, load_data, predict, search, train

__all__ = ["Data", "Table", "evaluate", "load_data", "predict", "search", "train"]


def __getattr__(name: str) -> Any:
    """The Python functions, loaded when they are asked for: they import torch and timm, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'supernet' has no attribute '{name}'")
    return getattr(importlib.import_module("supernet.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _RegisterWithTimm(MetaPathFinder):
    """Registers the derived network right after somebody imports timm: importing timm here would take seconds, which
    `supernet --version` and `--help` need not wait for."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        sys.meta_path.remove(self)  # once; and the search below must not end here again
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def then_register(module: ModuleType) -> None:
            execute(module)
            from supernet import timm_entry as timm_entry

        spec.loader.exec_module = then_register  # type: ignore[method-assign]
        return spec


if "timm" in sys.modules:
    from supernet import timm_entry as timm_entry
else:
    sys.meta_path.insert(0, _RegisterWithTimm())
