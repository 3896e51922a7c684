"""Who may import whom: to the same level or below, and what runs on a device needs neither torch nor supernet."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEVELS = [
    {
        "arrays",
        "bars",
        "choices",
        "command_line",
        "errors",
        "options",
        "program",
        "programme",
        "schema",
        "solver",
        "preprocessing",
        "spaces",
        "config",
    },
    {"blocks", "costs", "fairness", "data", "kernels", "front", "task"},
    {
        "transfer",
        "network",
        "objective",
        "derive",
        "quality",
        "answers",
        "alpha",
        "teacher",
        "transplant",
        "pretrained",
        "intervals",
        "gap_figures",
        "outer_approximation",
        "wish",
        "gap_intervals",
        "paired_intervals",
        "paired",
        "metrics",
        "models",
        "timm_entry",
        "small_resnet",
    }
    | {
        "anytime",
        "exits",
        "exits_export",
        "arena",
        "packing",
        "litert",
        "export",
        "onnx_model",
        "prediction",
        "quantisation",
        "resampling",
        "postprocessing",
    }
    | {"corrupted", "shots", "coverage", "figures", "class_metrics", "closer"},
    {"engine", "refit", "report", "lut"},
    {"problem", "scoring", "quality_fit"},
    {"strategies"},
    {"commands", "__main__"},
    {"api", "api_options", "results"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
STRANGERS = [{"fairness", "costs", "data"}, {"fairness", "alpha", "data"}]  # never import each other
TORCH_RUNTIMES = {"torch_runtime.py", "executorch_runtime.py"}  # loaded only when that runtime is asked for

SUPERNET = sorted((ROOT / "supernet").rglob("*.py"))
LUTS = sorted((ROOT / "latency_luts").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of every module that the file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts(path: Path) -> set[str]:
    """The parts of supernet that the file imports: "space", "costs" …"""
    words = [name.split(".") for name in imported(path)]
    return {word[1] for word in words if word[0] == "supernet" and len(word) > 1 and not word[1].startswith("__")}


def own_part(path: Path) -> str:
    return path.relative_to(ROOT / "supernet").with_suffix("").parts[0]


def by_part() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in SUPERNET:
        found.setdefault(own_part(path), set()).update(parts(path))
    return found


def test_every_part_has_a_level() -> None:
    assert set(by_part()) - {"__init__"} <= set(LEVEL), "give a new module a level, here and in the design"


@pytest.mark.parametrize("path", SUPERNET, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    own = own_part(path)
    if own == "__init__":
        assert parts(path) <= {
            "timm_entry",
            "api",
        }  # registers the derived network with timm; types of the Python functions
        return
    for part in parts(path) - {own}:
        assert LEVEL[part] <= LEVEL[own], f"{own} (level {LEVEL[own]}) imports {part} (level {LEVEL[part]})"
        assert not any({own, part} <= strangers for strangers in STRANGERS), f"{own} imports {part}"


def test_parts_import_each_other_in_one_direction() -> None:
    found = by_part()
    for part, others in found.items():
        for other in others - {part}:
            assert part not in found.get(other, set()), f"{part} and {other} import each other"


def test_only_the_objective_knows_fairness_and_costs_together() -> None:
    both = {part for part, others in by_part().items() if {"fairness", "costs"} <= others}
    assert both <= {"objective", "commands"}


def test_inside_a_package_imports_point_in_one_direction() -> None:
    """Every module of a package can be read after those that it imports: there is no ring."""
    for package in {path.parent for path in SUPERNET}:
        dotted = ".".join(package.relative_to(ROOT).parts)
        graph: dict[str, set[str]] = {}
        for path in package.glob("*.py"):
            own = {name.removeprefix(f"{dotted}.").split(".")[0] for name in imported(path) if name.startswith(dotted)}
            graph[path.stem] = {name for name in own if (package / f"{name}.py").exists()}
        TopologicalSorter(graph).prepare()  # raises CycleError, which names the ring


def test_no_strategy_imports_another() -> None:
    """Beside what runs the ask/tell ones: strategies share what is below them, and the driver's words for asking and telling."""
    shared = {
        "driver",
        "region",
        "evaluators",
        "asktell",
        "assembled",
        "beside",
        "finalists",
        "shown",
        "trained_table",
        "joint",
        "chat",
        "endpoint",
        "__init__",
    }
    strategies = {
        path.stem: path for path in (ROOT / "supernet" / "strategies").glob("*.py") if path.stem not in shared
    }
    for name, path in strategies.items():
        words = {full.split(".")[2] for full in imported(path) if full.startswith("supernet.strategies.")}
        assert not words & (strategies.keys() - {name}), f"{name} imports {words}"


def test_the_space_and_the_files_need_no_torch() -> None:
    files = [ROOT / "supernet" / f"{name}.py" for name in ("errors", "schema", "preprocessing")]
    for path in [*files, *(ROOT / "supernet" / "spaces").glob("*.py")]:
        assert not any(word.split(".")[0] in {"torch", "timm"} for word in imported(path)), path


@pytest.mark.parametrize("path", LUTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_runs_on_a_device_imports_neither_torch_nor_supernet(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert "supernet" not in roots
    if path.name not in TORCH_RUNTIMES:
        assert "torch" not in roots
    if path.parent.name != "runtimes":
        assert roots <= set(sys.stdlib_module_names) | {"numpy", "latency_luts"}, (
            "a device has numpy and a runtime, no more"
        )


def test_the_runner_starts_without_torch() -> None:
    modules = ", ".join(
        f"latency_luts.{path.stem}" for path in LUTS if path.parent.name == "latency_luts" and path.stem != "run"
    )
    code = f"import {modules}, sys; assert not {{'torch', 'supernet', 'timm'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_way_in_is_as_contributing_says() -> None:
    """Each `file:function` of "Start here" is there, and the first three hops call one another."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    hops = re.findall(r"^    (supernet/\S+\.py):(\w+)", text, re.MULTILINE)
    assert len(hops) == 5
    for file, name in hops:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree)), f"{file}:{name}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)  # fmt: skip
def test_links_of_the_docs_stay_in_the_repository(path: Path) -> None:
    for link in re.findall(r"\]\(([\w./-]+\.\w+)[)#]", path.read_text(encoding="utf-8")):
        target = (path.parent / link).resolve()
        assert target.is_relative_to(ROOT) and target.exists(), link


MOST_LINES, LONGEST, MOST_PARAMETERS = 250, 60, 7


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Those that a caller must know: not `self`, and no option (keyword-only, with a default)."""
    found = function.args
    named = [*found.posonlyargs, *found.args]
    must = sum(default is None for default in found.kw_defaults)
    return len(named) + must - (named[:1] != [] and named[0].arg in ("self", "cls", "ctx"))


def given(cls: ast.ClassDef) -> list[str]:
    """What its constructor is given; a command's options say it themselves (`option`)."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            found = node.args
            return [one.arg for one in (*found.posonlyargs, *found.args, *found.kwonlyargs) if one.arg != "self"]
    makers = [ast.unparse(one) for one in (*cls.decorator_list, *cls.bases)]
    if not any("dataclass" in maker or maker == "NamedTuple" for maker in makers):
        return []
    fields = [node for node in cls.body if isinstance(node, ast.AnnAssign) and "_option(" not in ast.unparse(node)]
    return [ast.unparse(node.target) for node in fields if "ClassVar" not in ast.unparse(node.annotation)]


@pytest.mark.parametrize("path", [*SUPERNET, *LUTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_constructors_of_many_arguments_say_what_each_is(path: Path) -> None:
    for cls in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(cls, ast.ClassDef) and len(given(cls)) >= 4:
            own = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
            told = "\n".join(ast.get_docstring(node) or "" for node in (cls, *own))
            left = [name for name in given(cls) if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", told)]
            assert not left, f"{cls.name}: say what {', '.join(left)} is, with its shape and unit"


@pytest.mark.parametrize("path", [*SUPERNET, *LUTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES, "split it by meaning"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST, f"{node.name}: line {node.lineno} is too long"
            assert parameters(node) <= MOST_PARAMETERS, f"{node.name}: line {node.lineno} has too many parameters"
