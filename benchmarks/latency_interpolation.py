"""Makes the fbnet224 tables from public 224-pixel measurements of other shapes, and tells how far off that is.

    python benchmarks/latency_interpolation.py ../shared/data/latency/lut [--quick]

The models of latency_models.py are compared by leaving one shape (channels, stride, resolution) out at a time and
predicting its operations k3/k5 × e3/e6; the best makes latency_luts/{pixel1,xeon_6130,titan_rtx_32}_224.json.
Shapes that the source did measure keep their measured value.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from latency_models import MODELS, Additive, Shape
from results_io import write_results
from scipy.stats import spearmanr

from supernet.schema import write_json
from supernet.spaces import LayerSpec, get_space

LUTS = Path(__file__).resolve().parent.parent / "latency_luts"


Timed = dict[Shape, float]


def pixel1(folder: Path) -> tuple[Timed, list[tuple[Shape, float]]]:
    """ProxylessNAS's table: blocks with e1 (no first 1×1), e3, e6 and k3, k5, k7; then stem, head and classifier."""
    timed: Timed = {}
    with (folder / "proxyless_pixel1.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kernel"]:
                hw, c_in, c_out, expand, kernel, stride = (
                    int(row[name]) for name in ("in_hw", "in_ch", "out_ch", "expand", "kernel", "stride")
                )
                shape = Shape(hw, c_in, c_out, stride, kernel, expand * c_in, expand > 1)
                timed[shape] = float(row["mean_ms"])
            else:
                timed[FRAME_PIXEL1[row["key"].split("-")[0]]] = float(row["mean_ms"])
    return timed, [(shape, timed[shape]) for shape in FRAME_PIXEL1.values()]


FRAME_PIXEL1 = {
    "Conv": Shape(224, 3, 32, 2, 3, 0),
    "Conv_1": Shape(7, 320, 1280, 1, 1, 0),
    "Logits": Shape(1, 1280, 1000, 1, 1, 0),
}


def tfnas(folder: Path, column: str, base: int) -> tuple[Timed, list[tuple[Shape, float]]]:
    """TF-NAS's table, the blocks without squeeze-and-excitation, at the widths that were measured.

    Its own script shows: widths below c_in are extrapolated and those between multiples of 8 interpolated, so neither
    is used; at width c_in there is no first 1×1. Stem, second stem, head and classifier are one measured sum.
    """
    with np.load(folder / "tfnas_xeon6130_titanrtx.npz", allow_pickle=False) as file:
        table = {name: file[name] for name in ("keys", "key_id", "mid_channels", column, "base_ms")}
    timed: Timed = {}
    for number, key in enumerate(table["keys"]):
        hw, c_in, se, c_out, kernel, stride = (
            int(word.lstrip("ks")) for word in str(key).removesuffix("_relu").removesuffix("_swish").split("_")[1:]
        )
        if not se:
            mine = table["key_id"] == number
            ms_by_width = dict(zip(table["mid_channels"][mine].tolist(), table[column][mine].tolist(), strict=True))
            for hidden in (c_in, c_in + 8, *(c_in * e for e in range(2, 9))):
                assert ms_by_width[hidden] > 0, "a measured width has a positive time"
                timed[Shape(hw, c_in, c_out, stride, kernel, hidden, hidden > c_in)] = ms_by_width[hidden]
    frame = [*FRAME_PIXEL1.values(), Shape(112, 32, 16, 1, 3, 32, False)]
    total = float(table["base_ms"][base])
    return timed, [(shape, total / len(frame)) for shape in frame]


def left_out_errors(timed: Timed, build: Callable[[], Any]) -> list[dict[str, Any]]:
    """Every operation k3/k5 × e3/e6 of every place, predicted by a model that saw no operation of that place."""
    records = []
    for place in dict.fromkeys(shape.place for shape in timed if shape.hidden):
        seen = {shape: ms for shape, ms in timed.items() if shape.place != place}
        model = build().fit(list(seen), np.array(list(seen.values())))
        wanted = [s for s in timed if s.place == place and s.kernel < 7 and s.hidden in (3 * s.c_in, 6 * s.c_in)]
        for shape, predicted in zip(wanted, model.predict(wanted) if wanted else [], strict=True):
            records.append({
                "hw": shape.hw, "c_in": shape.c_in, "c_out": shape.c_out, "stride": shape.stride,
                "op": f"k{shape.kernel}_e{shape.hidden // shape.c_in}", "ms": timed[shape],
                "predicted_ms": float(predicted),
            })  # fmt: skip
    return records


def narrow_error(timed: Timed, build: Callable[[], Any]) -> float:
    """MAPE on the narrowest operations with a first 1×1 (Pixel 1: e3; TF-NAS: c_in + 8 channels), fitted to the wider
    ones: how far the step down to e1 may be trusted."""
    narrowest: dict[tuple[int, ...], int] = {}
    for shape in timed:
        if shape.hidden and shape.expands:
            narrowest[shape.place] = min(shape.hidden, narrowest.get(shape.place, shape.hidden))
    left_out = [s for s in timed if s.hidden and s.expands and s.hidden == narrowest[s.place] and s.kernel < 7]
    seen = {
        s: ms for s, ms in timed.items() if s not in left_out and not (s.expands and s.hidden == narrowest.get(s.place))
    }
    predicted = build().fit(list(seen), np.array(list(seen.values()))).predict(left_out)
    return float(np.abs(predicted / np.array([timed[shape] for shape in left_out]) - 1).mean())


def other_table_error(folder: Path, timed: Timed, build: Callable[[], Any]) -> dict[str, float]:
    """A second laboratory's Pixel 1 (single-path NAS) against the model of ProxylessNAS's: its searchable layers."""
    with (folder / "singlepath_pixel1.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["searchable"] == "1"]
    shapes = [
        Shape(int(row["in_hw"]), int(row["in_ch"]), int(row["out_ch"]), int(row["stride"]), int(row["op"][1]),
              int(row["in_ch"]) * int(row["op"][-1])) for row in rows
    ]  # fmt: skip
    predicted = build().fit(list(timed), np.array(list(timed.values()))).predict(shapes)
    return figures([
        {"ms": float(row["mean_ms"]), "predicted_ms": float(value)} for row, value in zip(rows, predicted, strict=True)
    ])  # fmt: skip


def figures(records: list[dict[str, Any]]) -> dict[str, float]:
    ms = np.array([record["ms"] for record in records])
    predicted = np.array([record["predicted_ms"] for record in records])
    error = np.abs(predicted / ms - 1)
    return {"mape": float(error.mean()), "median_error": float(np.median(error)), "max_error": float(error.max()),
            "spearman": float(spearmanr(ms, predicted)[0])}  # fmt: skip


def shape_of(op: str, layer: LayerSpec) -> Shape | None:
    """None for the identity."""
    if op == "skip":
        plain = Shape(layer.resolution, layer.c_in, layer.c_out, layer.stride, 1, 0)
        return None if (layer.c_in, layer.stride) == (layer.c_out, 1) else plain
    kernel, expansion = (int(word[1:]) for word in op.split("_"))
    return Shape(layer.resolution, layer.c_in, layer.c_out, layer.stride, kernel, expansion * layer.c_in)


def make_table(
    timed: Timed, frame: list[tuple[Shape, float]], build: Callable[[], Any]
) -> tuple[float, list[dict[str, Any]]]:
    """(base_ms, entries) of fbnet224. What the source measured is kept; the rest is marked `interpolated`."""
    space = get_space("fbnet224")
    ms = np.array(list(timed.values()))
    model, additive = build().fit(list(timed), ms), Additive().fit(list(timed), ms)
    entries = []
    for layer in dict.fromkeys((s.c_in, s.c_out, s.stride, s.resolution) for s in space.layers):
        spec = next(s for s in space.layers if (s.c_in, s.c_out, s.stride, s.resolution) == layer)
        for op in space.ops:
            shape = shape_of(op, spec)
            entry: dict[str, Any] = {"op": op, "c_in": spec.c_in, "c_out": spec.c_out, "stride": spec.stride,
                                     "resolution": spec.resolution}  # fmt: skip
            if shape is None:
                value, own = 0.0, {}
            elif shape in timed:
                value, own = timed[shape], {}
            else:
                # a lone 1×1 is far from all that was timed: only the additive model may be asked
                value = float((model if shape.hidden else additive).predict([shape])[0])
                own = {"provenance": "interpolated"}
            entries.append({**entry, "median_ms": round(max(0.0, value), 6), "iqr_ms": None, "n": None, **own})
    new = [Shape(224, 3, space.stem_channels, 2, 3, 0), Shape(7, 352, space.head_channels, 1, 1, 0),
           Shape(1, space.head_channels, 1000, 1, 1, 0)]  # fmt: skip
    ratio = additive.predict(new).sum() / additive.predict([shape for shape, _ in frame]).sum()
    return round(float(sum(value for _, value in frame) * ratio), 6), entries


NOTES = """\
Interpolated from measurements of other shapes at 224 px by the model `{model}`; entries without `interpolated` \
are the source's own. cross_validation: k3/k5 × e3/e6 of shapes left out, one shape at a time; the model is the \
best of {number} by this very error. No whole network was measured, so the error of a network's sum is unknown. \
Identity skips count 0 ms. e1 lies below the widths that the source timed ({e1}); narrow_mape is the error of \
such a step down, to the narrowest widths from the wider ones. Skips that change the shape (1×1 convolution) \
were not timed at all: they come from the additive model, unchecked. base_ms is the source's {frame}, scaled to \
fbnet224's widths by the additive model, unchecked; it does not change which architecture is faster. {own}To be \
sure, measure: supernet lut build --device NAME --space fbnet224"""
DEVICES: dict[str, dict[str, Any]] = {
    "pixel1_224": {
        "read": pixel1,
        "runtime": {"name": "tflite", "version": None},
        "batch": 1,
        "threads": None,
        "source": "Google Pixel 1: ProxylessNAS's mobile latency table (Cai et al., ICLR 2019), 72 operations",
        "e1": "e3 and e6",
        "frame": "stem, head and classifier (1,000 classes)",
        "own": "",
    },
    "xeon_6130_224": {
        "read": lambda folder: tfnas(folder, "cpu_xeon6130_bs1_ms", 0),
        "runtime": {"name": "torch", "version": "1.1"},
        "batch": 1,
        "threads": 1,
        "source": "Intel Xeon Gold 6130: TF-NAS's latency table (Hu et al., ECCV 2020), blocks without SE",
        "e1": "its e1 has no first 1×1; c_in + 8 channels and e2 to e8 are used",
        "frame": "stem, second stem, head and classifier (1,000 classes), one sum",
        "own": "Times are of torch 1.1 in eager mode, with swish where fbnet224 has ReLU from 56 px to 28 px on. ",
    },
    "titan_rtx_32_224": {
        "read": lambda folder: tfnas(folder, "gpu_titanrtx_bs32_ms", 1),
        "runtime": {"name": "torch", "version": "1.1"},
        "batch": 32,
        "threads": 1,
        "source": "NVIDIA Titan RTX, batch 32: TF-NAS's latency table (Hu et al., ECCV 2020), blocks without SE",
        "e1": "its e1 has no first 1×1; c_in + 8 channels and e2 to e8 are used",
        "frame": "stem, second stem, head and classifier (1,000 classes), one sum",
        "own": "Milliseconds are of a batch of 32. The source's script reads the clock without waiting for the GPU, so "
        "short operations show the time to launch them. Swish where fbnet224 has ReLU from 56 px to 28 px on. ",
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the public measurements")
    parser.add_argument("--quick", action="store_true", help="one device; nothing is written")
    options = parser.parse_args()
    folder = options.folder
    summary: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    for device, about in list(DEVICES.items())[: 1 if options.quick else None]:
        timed, frame = about["read"](folder)
        by_model = {name: left_out_errors(timed, build) for name, build in MODELS.items()}
        scores = {name: figures(found) for name, found in by_model.items()}
        best = min(scores, key=lambda name: scores[name]["mape"])
        for name, score in scores.items():
            print(
                f"{device:17} {name:15} " + "  ".join(f"{key} {value:.3f}" for key, value in score.items()), flush=True
            )
            summary[f"{device}_{name}_mape"] = score["mape"]
            records += [{"device": device, "model": name, **record} for record in by_model[name]]
        print(f"{device:17} → {best}")
        summary |= {f"{device}_model": best, **{f"{device}_{key}": value for key, value in scores[best].items()}}
        summary[f"{device}_narrow_mape"] = narrow = narrow_error(timed, MODELS[best])
        base_ms, entries = make_table(timed, frame, MODELS[best])
        summary[f"{device}_entries_measured"] = sum(
            "provenance" not in entry and entry["op"] != "skip" for entry in entries
        )
        summary[f"{device}_entries_interpolated"] = sum("provenance" in entry for entry in entries)
        notes = NOTES.format(model=best, number=len(MODELS), e1=about["e1"], frame=about["frame"], own=about["own"])
        if options.quick:
            return
        write_json(LUTS / f"{device}.json", {
            "schema_version": 1, "device": device, "space": "fbnet224", "runtime": about["runtime"], "dtype": "float32",
            "batch": about["batch"], "threads": about["threads"], "resolution": 224, "unit": "ms",
            "provenance": "interpolated", "licence": "MIT", "source": about["source"], "base_ms": base_ms,
            "entries": entries, "validation": None,
            "cross_validation": {"left_out": "shapes", "n": len(by_model[best]), "model": best, **scores[best],
                                 "narrow_mape": narrow},
            "notes": notes,
        })  # fmt: skip
        if device == "pixel1_224":
            other = other_table_error(folder, timed, MODELS[best])
            summary |= {f"pixel1_224_other_table_{key}": value for key, value in other.items()}
    write_results("latency_interpolation", summary, records)


if __name__ == "__main__":
    main()
