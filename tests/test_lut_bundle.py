"""A bundle holds every piece once, is measured without torch, survives a kill, and never loads what it should not."""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latency_luts
from latency_luts import runner
from latency_luts.errors import BundleError
from latency_luts.journal import Journal
from latency_luts.manifest import Item, read_manifest
from latency_luts.runtimes import RUNTIMES, get_runtime, onnxruntime_runtime
from latency_luts.table import make_table
from supernet.costs.latency import load_table
from supernet.errors import UserError
from supernet.lut.bundle import RUNNER, export_bundle
from supernet.lut.pieces import build, network_piece, networks, pieces
from supernet.spaces import SPACES, LayerSpec, SearchSpace

OPS = ("k3_e1", "k3_e3", "skip")


def tiny(name: str, *channels: int) -> SearchSpace:
    shapes = zip((8, *channels), channels, strict=False)
    layers = tuple(LayerSpec(c_in, c_out, 1, 8, 0, OPS) for c_in, c_out in shapes)
    return SearchSpace(name, OPS, layers, 8, 8, 1, 16)


SPACE = tiny("tiny", 8, 8, 16)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def exported(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    assert export_bundle(SPACE, folder, cache=cache, validation_networks=6) == 3 + 5 + 6
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def edit(bundle: Path, change: object) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_distinct_piece_stands_once_with_stem_and_head(space: SearchSpace) -> None:
    found = pieces(space, 3, 10)
    needed = {(op, x.c_in, x.c_out, x.stride, x.resolution) for x in space.layers for op in x.ops}
    computing = {key for key in needed if key[0] != "skip" or (key[1], key[3]) != (key[2], 1)}
    assert Counter(tuple(piece.fields["key"].values()) for piece in found if piece.role == "op") == Counter(computing)
    assert [piece.role for piece in found[:2]] == ["stem", "head"]
    assert len({piece.name for piece in found}) == len(found)


def test_validation_networks_differ_and_spread_over_the_macs() -> None:
    from supernet.costs.analytic import macs_table

    space = SPACES["fbnet32"]
    drawn = [piece.fields["ops"] for piece in networks(space, 3, 10, 12)]
    macs = [macs_table(space, 3, 10).total(space.index_L(ops)) for ops in drawn]
    assert len({tuple(ops) for ops in drawn}) == 12 and macs == sorted(macs) and macs[-1] > 2.5 * macs[0]


def test_a_second_export_adds_only_what_is_new_across_spaces_too(exported: Path, cache: Path, tmp_path: Path) -> None:
    assert export_bundle(SPACE, tmp_path / "again", cache=cache, validation_networks=6) == 0
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (exported / "manifest.json").read_bytes()
    wider = tiny("wider", 8, 8, 16, 16)  # adds 16x16: two operations, and nothing else
    assert export_bundle(wider, tmp_path / "wider", cache=cache, validation_networks=0) == 2


def test_the_bundle_is_measured_without_torch_and_without_the_package(bundle: Path, tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules['torch'] = sys.modules['supernet'] = None; sys.argv[:] = ['run.py', *sys.argv[1:]]; "
    )
    code = blocked + "import runpy; sys.path.insert(0, '.'); runpy.run_path('run.py', run_name='__main__')"
    command = [sys.executable, "-I", "-c", code, "--device", "board", "--out", str(tmp_path / "board.json"), "--quick"]
    done = subprocess.run([*command, "--rounds", "3"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "estimated time" in done.stdout and "Held-out error on 6 whole networks" in done.stdout
    table = load_table(str(tmp_path / "board.json"))
    assert table.provenance == "measured" and table.content["dtype"] == "float32"
    assert table.content["runtime"]["name"] == "onnxruntime" and len(table.content["validation"]["pairs"]) == 6
    cost = table.cost(SPACE)
    entry = table.entries["k3_e3", 8, 16, 1, 8]
    assert cost.unary_DK[2, 1] == pytest.approx(table.content["validation"]["scale"] * entry)
    own = [e for k, e in table.entries.items() if k[:3] != ("skip", 8, 8)]
    assert table.entries["skip", 8, 8, 1, 8] == 0 and min(own) >= 0, (
        "0: no longer than a call by itself, on a busy machine"
    )
    assert np.median(own) > 0
    assert table.content["protocol"]["before"]["processor"]
    assert not list(tmp_path.glob("*.partial.jsonl"))


def swapped(manifest: Any) -> None:
    """Two pieces of one operation stand under each other's key."""
    one, two = [item for item in manifest["items"] if item.get("key", {}).get("op") == "k3_e3"]
    one["key"], two["key"] = two["key"], one["key"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: m["items"][0].update(file="../secret.onnx"), "items[0].file"),
        (lambda m: m["items"][0].update(file="models/../../secret.onnx"), "items[0].file"),
        (lambda m: m["items"][0].update(file="/etc/passwd"), "items[0].file"),
        (lambda m: m["items"][0].update(file="C:\\model.onnx"), "items[0].file"),
        (lambda m: m["items"][0].update(file=7), "items[0].file"),
        (lambda m: m["items"][0].update(sha256="0" * 63), "items[0].sha256"),
        (lambda m: m["items"][0].update(role="shell"), "items[0].role"),
        (lambda m: m["items"].append(m["items"][3]), "items[14].name"),
        (lambda m: m["items"].pop(0), "exactly one stem"),
        (lambda m: m["items"][2]["key"].update(c_in=-8), "items[2].key.c_in"),
        (lambda m: m["items"][-1].update(ops=["skip"]), "items[13].ops"),
        (lambda m: m["items"][-1].update(ops=["rm -rf", "skip", "skip"]), "among the bundle's pieces; rm -rf is not"),
        (lambda m: m.update(dtype="float99"), "dtype"),
        (lambda m: m.update(space="a`b"), "space"),
        (lambda m: m.update(resolution=10**9), "resolution"),
        (lambda m: m.update(resolution=16), "says [1, 3, 16, 16]"),
        (lambda m: m["items"][2]["key"].update(c_in=10**9), "items[2].key.c_in"),
        (lambda m: m["items"][2]["key"].update(c_out=24), "of a shape that a layer has"),
        (swapped, "says [1, 16, 8, 8]"),
        (lambda m: m["identities"].append(m["items"][2]["key"]), "stands twice"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(format="py"), "format"),
        (lambda m: m.update(format="tflite"), "reads .onnx files"),
        (lambda m: m.update(items="all"), "items"),
        (lambda m: m["items"][0].update(sha256="0" * 64), "SHA-256 differs"),
        (lambda m: m["items"][0].update(file="models/none.onnx"), "missing"),
    ],
)
def test_a_manifest_that_is_wrong_or_hostile_is_named_and_ends_with_2(
    bundle: Path, change: object, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.onnx").write_bytes(b"x")
    edit(bundle, change)
    with pytest.raises(SystemExit) as stop:
        runner.main(["--device", "x", "--out", str(tmp_path / "x.json"), "--quick", "--rounds", "1"], bundle)
    assert stop.value.code == 2 and field in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_links_that_lead_out_of_the_bundle_are_not_followed(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    target = bundle / manifest.items[0].file
    outside = tmp_path / "outside.onnx"
    target.rename(outside)
    target.symlink_to(outside)  # even with the right bytes
    with pytest.raises(BundleError, match="leads out"):
        manifest.read(manifest.items[0])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(bundle)


def test_a_model_that_does_not_load_is_named(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(manifest: dict) -> None:
        packed = gzip.compress(b"no model")
        (bundle / manifest["items"][0]["file"]).write_bytes(packed)
        manifest["items"][0]["sha256"] = hashlib.sha256(packed).hexdigest()

    edit(bundle, change)
    with pytest.raises(SystemExit):
        runner.main(["--device", "x", "--out", str(tmp_path / "x.json")], bundle)
    assert "does not load in this runtime" in capsys.readouterr().err


def test_a_killed_run_goes_on_where_it_was(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--device", "x", "--out", str(tmp_path / "x.json"), "--quick", "--rounds", "2"]
    journal, true_run = tmp_path / "x.json.partial.jsonl", onnxruntime_runtime.run

    def dies(session: object, inputs: object) -> object:
        if journal.exists() and len(journal.read_text().splitlines()) > 12:
            raise KeyboardInterrupt
        return true_run(session, inputs)

    monkeypatch.setattr(onnxruntime_runtime, "run", dies)
    with pytest.raises(SystemExit) as stop:
        runner.main(arguments, bundle)
    assert stop.value.code == 130
    kept = journal.read_text()
    journal.write_text(kept + '{"round": 1, "name": "st')  # cut in the middle of a line
    monkeypatch.setattr(onnxruntime_runtime, "run", true_run)
    other = [word.replace("x", "y") if word == "x" else word for word in arguments]
    with pytest.raises(SystemExit):
        runner.main(other, bundle)
    assert "belongs to another measurement" in capsys.readouterr().err
    runner.main(arguments, bundle)
    records = [json.loads(line) for line in kept.splitlines()]
    visits = len({(record["round"], record["name"]) for record in records if "ms" in record})
    assert f"going on with {visits} visits" in capsys.readouterr().out and visits > 5
    table = json.loads((tmp_path / "x.json").read_text())  # two rounds on a busy machine may give none that loads
    assert table["protocol"]["visits"] == 2 * 14


def test_what_a_call_costs_by_itself_is_in_a_network_once(bundle: Path) -> None:
    """Pieces of 3 ms in a runtime whose call takes 1 ms: operations 2, stem and head 5, and a network's sum is its time."""
    manifest, journal = read_manifest(bundle), Journal(None, {})
    for item in manifest.items:
        computing = sum(key["op"] != "skip" or key["c_in"] != key["c_out"] for key in placed(item))
        ms = {"call": 1.0, "network": 1.0 + 4.0 + 2.0 * computing}.get(item.role, 3.0)
        for number in range(3):
            journal.add_visit(number, item.name, ms)
    table = make_table(manifest, journal, {}, {})
    assert table["base_ms"] == 5.0 and table["protocol"]["call_ms"] == 1.0
    assert {entry["median_ms"] for entry in table["entries"]} == {0.0, 2.0}
    assert table["validation"]["scale"] == pytest.approx(1) and table["validation"]["mape"] == pytest.approx(0)


def placed(item: Item) -> list[dict]:
    """A network's operations with their shapes; none of a piece."""
    shapes = [{"c_in": layer.c_in, "c_out": layer.c_out} for layer in SPACE.layers]
    return [{"op": op, **shape} for op, shape in zip(item.ops, shapes, strict=False)]


def test_a_journal_that_was_changed_is_named(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json.partial.jsonl").write_text("{]\n")
    with pytest.raises(SystemExit):
        runner.main(["--device", "x", "--out", str(tmp_path / "x.json")], bundle)
    assert "--restart" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--device", "x", "--threads", "0"],
        ["--device", "x", "--threads", "100000"],
        ["--device", "a`b"],
        ["--model", "x.onnx", "--budget-ms", "nan"],
        ["--model", "x.onnx", "--budget-ms", "0"],
        ["--device", "x", "--rounds", "0"],
        [],
        ["--device", "x", "--out", "."],
    ],
)
def test_wrong_options_of_the_runner(bundle: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        runner.main(words, bundle)
    assert stop.value.code == 2


def test_a_bundle_is_packed_to_a_fraction_and_a_packed_file_that_is_wrong_is_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    network = next(item for item in manifest.items if item.role == "network")
    packed, content = (bundle / network.file).read_bytes(), manifest.read(network)
    assert network.file.endswith(".onnx.gz") and len(packed) < len(content)
    for wrong, words in ((packed[:-9], "cut off"), (b"PK" + packed, "cannot be unpacked")):
        (bundle / network.file).write_bytes(wrong)
        listed = replace(network, sha256=hashlib.sha256(wrong).hexdigest())
        with pytest.raises(BundleError, match=words):
            manifest.read(listed)
    (bundle / network.file).write_bytes(packed)
    monkeypatch.setattr("latency_luts.manifest.MAX_FILE_BYTES", len(content) - 1)
    with pytest.raises(BundleError, match="larger than"):
        manifest.read(network)


def test_the_weights_pack_to_a_few_percent() -> None:
    network = build(SPACES["fbnet32"], ("k5_e6",) * 22, 3, 10)
    weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    assert len(gzip.compress(weights)) < 0.05 * len(weights)
    spreads = [value.std() for value in network.parameters() if value.dim() > 1]
    assert all(0 < spread < 1 for spread in spreads), "dense and normal numbers, as the network had them"


def test_out_that_is_no_bundle_is_not_written_into(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        export_bundle(SPACE, tmp_path, cache=cache)
    with pytest.raises(UserError, match="is a file"):
        export_bundle(SPACE, tmp_path / "thesis.txt", cache=cache)
    with pytest.raises(UserError, match="no export of int8 in pte"):
        export_bundle(SPACE, tmp_path / "new", cache=cache, format="pte", dtype="int8")


def test_int8_pieces_have_int8_ends_and_load(cache: Path, tmp_path: Path) -> None:
    export_bundle(SPACE, tmp_path / "b", cache=cache, dtype="int8", validation_networks=3)
    manifest = read_manifest(tmp_path / "b")
    for item in manifest.items:
        session = onnxruntime_runtime.load(manifest.read(item), 1)
        inside = "tensor(uint8)"
        assert session.get_inputs()[0].type == (inside if item.role in ("op", "head", "call") else "tensor(float)")
        assert session.get_outputs()[0].type == (inside if item.role in ("op", "stem", "call") else "tensor(float)")
        onnxruntime_runtime.run(session, onnxruntime_runtime.example(session))


@pytest.mark.filterwarnings("ignore")  # the optional runtimes' own
@pytest.mark.parametrize(
    ("runtime", "needs", "format"),
    [
        ("onnxruntime", ("onnxruntime",), "onnx"),
        ("openvino", ("openvino",), "onnx"),
        ("litert", ("litert_torch", "ai_edge_litert"), "tflite"),
        ("executorch", ("executorch",), "pte"),
        ("torch", ("torch",), "pt2"),
    ],
)
def test_every_runtime_computes_what_torch_computes(
    runtime: str, needs: tuple[str, ...], format: str, tmp_path: Path
) -> None:
    for module in needs:
        pytest.importorskip(module)
    import torch

    one = tiny("one", 8)
    export_bundle(one, tmp_path / "bundle", cache=tmp_path / "cache", format=format, validation_networks=0)
    manifest, module = read_manifest(tmp_path / "bundle"), get_runtime(runtime)
    modules = {piece.name: piece.build() for piece in pieces(one, 3, 10)}
    for item in manifest.items:
        session = module.load(manifest.read(item), 1)
        x = module.example(session)
        module.run(session, x)
        array = next(
            np.asarray(a) for a in (x.values() if isinstance(x, dict) else [x[1] if runtime == "litert" else x])
        )
        array = array.reshape(array.shape[-4:])
        nchw = torch.from_numpy(array.transpose(0, 3, 1, 2).copy() if runtime == "litert" else array.copy())
        with torch.no_grad():
            expected = modules[item.name](nchw).numpy()
        if runtime == "litert":
            result = session.get_tensor(session.get_output_details()[0]["index"])
            result = result.transpose(0, 3, 1, 2) if result.ndim == 4 else result
        elif runtime == "openvino":
            result = session.get_output_tensor().data
        else:
            result = module.run(session, x)
            result = result if runtime == "torch" else np.asarray(result[0])
        np.testing.assert_allclose(np.asarray(result), expected, atol=1e-4)
    assert module.version()


def test_unknown_runtime_is_named() -> None:
    with pytest.raises(BundleError, match="Known: onnxruntime"):
        get_runtime("tensorrt")


def test_the_runner_imports_numpy_one_runtime_and_the_standard_library_only() -> None:
    root = Path(latency_luts.__file__).parent
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.py")}
    assert files == {*RUNNER, "run.py"}
    for name in files:
        tree = ast.parse((root / name).read_text())
        for node in ast.walk(tree):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = {"latency_luts", "numpy"} | set(sys.stdlib_module_names)
            if name.startswith("runtimes/") and name != "runtimes/__init__.py":
                allowed |= {"onnxruntime", "ai_edge_litert", "executorch", "openvino", "torch"}
            assert {module.split(".")[0] for module in modules} <= allowed, name
    assert {f"runtimes/{name}_runtime.py" for name in RUNTIMES} <= files


def test_extra_networks_are_measured_but_not_fitted_to(cache: Path, tmp_path: Path) -> None:
    extra = [network_piece(SPACE, ("skip", "k3_e1", "k3_e3"), 3, 10, "mine")]
    export_bundle(SPACE, tmp_path / "b", cache=cache, validation_networks=3, extra_networks=extra)
    out = tmp_path / "x.json"
    runner.main(["--device", "x", "--out", str(out), "--quick", "--rounds", "1"], tmp_path / "b")
    content = load_table(str(out)).content
    assert content["validation"]["n"] == 3
    assert [network["ops"] for network in content["protocol"]["extra_networks"]] == [["skip", "k3_e1", "k3_e3"]]


def test_a_bundle_of_networks_only_gives_the_sheet_to_adapt_from(cache: Path, tmp_path: Path) -> None:
    extra = [network_piece(SPACE, ("skip", op, "k3_e3"), 3, 10, f"sample_{op}") for op in OPS]
    export_bundle(SPACE, tmp_path / "b", cache=cache, extra_networks=extra, only_networks=True)
    out = tmp_path / "x.csv"
    runner.main(["--device", "x", "--out", str(out), "--quick", "--rounds", "1"], tmp_path / "b")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["name"] for row in rows] == [f"sample_{op}" for op in OPS]
    assert rows[1]["ops"] == "skip k3_e3 k3_e3" and all(float(row["latency_ms"]) > 0 for row in rows)
