"""Changes that no command may take in silence: each is refused, or told in a note."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mutants
import numpy as np
from few_digits import few_digits
from readers import Kind, read_derived

from supernet.blocks.ops import arch_strings
from supernet.data import load_data
from supernet.models import read_model
from supernet.spaces import get_space


class Change(NamedTuple):
    name: str
    read: Callable[[], object]


def listed_changes(work: Path, samples: dict[str, Kind]) -> Iterator[Change]:
    yield from _derived(work, samples["derived.json"].sample)
    for name, rows in {"table.json": TABLE, "model.json": MODEL, "config.json": CONFIG, "front.json": FRONT}.items():
        for field, value in rows:
            content = json.loads(samples[name].sample.read_bytes())
            _set(content, field, value)
            yield Change(
                f"{name}: {field} = {str(value)[:40]}", partial(samples[name].read, _written(work, name, content))
            )
    yield from _tables(work, samples)
    yield from _binary(work, samples)


TABLE: list[tuple[str, Any]] = [
    ("validation.predictive_std_ms", -5.0), ("validation.predictive_std_ms", "1"), ("validation.offset_ms", -1e6), ("base_ms", -1.0), ("base_ms", 1e300),
    ("entries.0.c_in", 10**9), ("entries.0.median_ms", -1.0), ("entries.0.median_ms", 1e5), ("unit", "s"), ("device", "a\x1b[31mb"), ("device", "a\nb"), ("space", "fbnet33"),
]  # fmt: skip
MODEL: list[tuple[str, Any]] = [
    ("classes", list("9876543210")), ("classes", list("012345678")), ("classes", ["0"] * 10), ("input.size", 64), ("input.channels", 3), ("input.mean", [0.1, 0.2]), ("input.std", [0.0]),
    ("input.std", ["x"]), ("derived", "../derived.json"), ("weights", "../x"),
]  # fmt: skip
CONFIG: list[tuple[str, Any]] = [
    ("seed", -1), ("seed", 10**17), ("batch_size", 2.0), ("fairness", ["gap"]), ("budget_ms", "9"), ("strategy", "magic"), ("compute_device", "meta"), ("extra", 1), ("augment", 1),
]  # fmt: skip
FRONT: list[tuple[str, Any]] = [("0.costs", {}), ("0.costs.latency", -1), ("0.accuracy", 2), ("0.accuracy", "1"), ("0.gap", "x"), ("0.ops", 5), ("0", [])]  # fmt: skip


def _set(content: Any, field: str, value: Any) -> None:
    *path, last = field.split(".")
    for step in path:
        content = content[int(step)] if isinstance(content, list) else content.setdefault(step, {}) if content.get(step) is not None or step != "validation" else content.__setitem__(step, {}) or content[step]  # fmt: skip
    content[int(last) if isinstance(content, list) else last] = value


def _written(work: Path, name: str, content: Any) -> Path:
    folder = work / "listed" / str(len(list((work / "listed").iterdir())) if (work / "listed").is_dir() else 0)
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def _derived(work: Path, sample: Path) -> Iterator[Change]:
    original, data = json.loads(sample.read_bytes()), f"writers:{work / 'digits.npz'}"
    fingerprint = load_data(data).fingerprint
    space = get_space(original["space"])
    ops = [next(op for op in layer.ops if op != was) for layer, was in zip(space.layers, original["ops"], strict=True)]
    strings = [list(stage) for stage in arch_strings(space, ops)]
    changes: list[dict[str, Any]] = [
        {"ops": ops}, {"arch_def": strings}, {"ops": ops, "arch_def": strings}, {"stem_channels": 24}, {"stem_stride": 1 + original["stem_stride"] % 2}, {"head_channels": 512},
        {"input.size": 64}, {"input.size": 20_000}, {"space": "fbnet33"}, {"space": "fbnet32"}, {"device": "pixel3"}, {"predicted_ms": 1.0}, {"predicted_ms": 50.0}, {"predicted_ms": 9.999},
        {"budget_ms": 90.0}, {"budget_ms": None}, {"budget_ms": 1.0}, {"table.hash": "0" * 16}, {"table.hash": "0" * 16, "predicted_ms": 1.0}, {"table": None}, {"data.fingerprint": "0" * 16},
        {"classes": ["a"] * 10}, {"classes": ["a\x1b[31m", *"123456789"]}, {"classes": ["a\nb", *"123456789"]}, {"predicted_error": 0.001}, {"seed": 77}, {"config.budget_ms": 90.0}, {"config.device": "pixel3"}, {"config.device": "gone.json"},
        {"config.fairness": ["accuracy_parity"]}, {"config.fairness_weight": "1"}, {"config.max_train": 10**17}, {"config.space": "fbnet32"}, {"stem_channels": 16.0},
    ]  # fmt: skip
    for change in changes:
        content = json.loads(json.dumps(original))
        for field, value in change.items():
            _set(content, field, value)
        path = _written(work, "derived.json", content)
        yield Change(f"derived.json: {str(change)[:60]}", partial(read_derived, path, data, fingerprint))


def _tables(work: Path, samples: dict[str, Kind]) -> Iterator[Change]:
    lines = samples["measured.csv"].sample.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    column = cells[0].index("latency_ms")

    def sheet(name: str, change: Callable[[int, list[str]], list[str]]) -> Change:
        text = "\n".join(",".join(change(number, list(row))) for number, row in enumerate(cells))
        return Change(
            f"measured.csv: {name}",
            partial(samples["measured.csv"].read, _written(work, "measured.csv", text.encode())),
        )

    def put(row: list[str], value: str) -> list[str]:
        return [*row[:column], value, *row[column + 1 :]]

    yield sheet("a negative time", lambda n, row: put(row, "-1") if n == 3 else row)
    yield sheet("a time in seconds", lambda n, row: put(row, str(float(row[column]) / 1000)) if n == 3 else row)
    yield sheet("all alike", lambda n, row: put(row, "12.5") if n else row)
    yield sheet("a column twice", lambda n, row: [*row, row[column]])
    yield sheet("infinite", lambda n, row: put(row, "inf") if n == 3 else row)
    photos = samples["metadata.csv"].sample
    for name, change in {"a column twice": lambda text: "\n".join(f"{line},{line.split(',')[2]}" for line in text.splitlines()),
                         "one file, two labels": lambda text: text + "0.png,train,yes,a\n" + "0.png,train,no,a\n",
                         "no UTF-8": lambda text: text.replace("yes", "\udcff")}.items():  # fmt: skip
        folder = _written(work, "metadata.csv", change(photos.read_text()).encode("utf-8", "surrogateescape")).parent
        for picture in photos.parent.glob("*.png"):
            shutil.copy(picture, folder)
        yield Change(f"metadata.csv: {name}", partial(samples["metadata.csv"].read, folder / "metadata.csv"))
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)).encode()
    for name, text in {"aliases": bomb, "400 digits": b"out: x\ndevices: [rpi4]\nbudgets_ms: [" + b"9" * 400 + b"]", "NUL": b"out: x\0\ndevices: [rpi4]",
                       "without effect": b"out: x\ndevices: [rpi4]\noptions: {evaluations: 5}", "a key twice": b"out: x\nout: y\ndevices: [rpi4]"}.items():  # fmt: skip
        yield Change(f"sweep.yaml: {name}", partial(samples["sweep.yaml"].read, _written(work, "sweep.yaml", text)))


def _binary(work: Path, samples: dict[str, Kind]) -> Iterator[Change]:
    checkpoint = samples["checkpoint.pt"].sample.read_bytes()
    flipped = bytearray(checkpoint)
    flipped[len(flipped) // 2] ^= 1
    yield Change(
        "checkpoint.pt: one bit",
        partial(samples["checkpoint.pt"].read, _written(work, "checkpoint.pt", bytes(flipped))),
    )
    trained = samples["model.safetensors"].sample.parent
    folder = _written(work, "x", b"").parent
    for name in ("model.json", "derived.json"):
        shutil.copy(trained / name, folder)
    weights = bytearray((trained / "model.safetensors").read_bytes())
    weights[-100] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    yield Change("model.safetensors: one bit", lambda: read_model(folder / "model.json"))
    digits = samples["digits.npz"]
    claim = mutants.npy_header("|u1", "(1000000000, 28, 28)")
    for name, content in {"a claim of 730 GiB": _packed(work, claim), "a .npy under its name": _npy(work), "a pickled object": _packed(work, mutants.npy_header("|O", "(3,)") + b"cos\nsystem\n")}.items():  # fmt: skip
        yield Change(f"digits.npz: {name}", partial(digits.read, _written(work, "digits.npz", content)))
    predictions = samples["predictions.npz"]
    with np.load(predictions.sample) as arrays:
        content = dict(arrays)
    for name, change in {"other labels": {"label": content["label"][::-1]}, "NaN": {"prob": content["prob"] * np.nan}, "complex": {"prob": content["prob"] + 1j}}.items():  # fmt: skip
        path = _written(work, "predictions.npz", b"")
        np.savez(path, **(content | change))
        yield Change(f"predictions.npz: {name}", partial(predictions.read, path))
    header = struct.pack("<Q", 2**62) + b"{}"
    yield Change(
        "model.safetensors: a claim",
        partial(samples["model.safetensors"].read, _written(work, "model.safetensors", header)),
    )


def _packed(work: Path, member: bytes) -> bytes:
    import io
    import zipfile

    few_digits(work / "listed.npz", train=2, val=1, test=2)
    packed = io.BytesIO()
    with zipfile.ZipFile(work / "listed.npz") as before, zipfile.ZipFile(packed, "w") as after:
        for name in before.namelist():
            after.writestr(name, member if name == "train_images.npy" else before.read(name))
    return packed.getvalue()


def _npy(work: Path) -> bytes:
    np.save(work / "listed.npy", np.zeros((3, 28, 28), np.uint8))
    return (work / "listed.npy").read_bytes()
