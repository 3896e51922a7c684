"""How well do tables built on this machine predict whole networks that were never used in their fit?

    python benchmarks/latency_fidelity.py --work /var/tmp/fidelity                  onnxruntime fp32, int8, torch eager
    python benchmarks/latency_fidelity.py --work /var/tmp/fidelity --what litert    adds LiteRT (needs litert-torch)
    python benchmarks/latency_fidelity.py --work FOLDER --quick                     two networks, one round; nothing written

For each runtime: a bundle of fbnet32 with 12 validation networks and 40 uniformly random ones, measured in the same
rounds on one thread; scale and offset are fitted to the 12, the error is told on the 40. Compared on the same 40:
multiply-accumulates with a fitted scale and offset, the plain sum of the entries, and a table measured in torch eager.
Then the fitted tables shipped for other devices, on the 1,000 of HELP's networks that their fit did not see. `--work` keeps
bundles and finished tables; a stopped run goes on where it was. Parts that the folder does not have stay as results/ has them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_io import HERE, read_records, read_results, write_results
from scipy.optimize import lsq_linear

from latency_luts.validation import errors, fit
from supernet.costs.analytic import macs_table
from supernet.costs.latency import load_table
from supernet.lut.bundle import export_bundle
from supernet.lut.convert import FORMAT_OF
from supernet.lut.pieces import network_piece
from supernet.spaces import get_space

SPACE = get_space("fbnet32")
PARTS = {"ort_fp32": ("onnxruntime", "float32"), "ort_int8": ("onnxruntime", "int8"), "litert": ("litert", "float32"),
         "eager": ("torch", "float32"), "openvino": ("openvino", "float32"), "executorch": ("executorch", "float32")}  # fmt: skip
DEFAULT_DATA = HERE.parent.parent / "shared" / "data" / "latency" / "bench" / "fbnet_c100_latency.npz"


def random_networks(number: int) -> list[tuple[str, ...]]:
    """Uniformly random architectures from a seed that the validation networks do not use."""
    rng = np.random.default_rng(20)
    return [tuple(str(rng.choice(layer.ops)) for layer in SPACE.layers) for _ in range(number)]


def measure(part: str, work: Path, rounds: int, held_out: list[tuple[str, ...]]) -> None:
    """Writes the part's table, unless an earlier run has finished it."""
    runtime, dtype = PARTS[part]
    out, bundle = work / f"{part}.json", work / f"bundle-{part}"
    if out.is_file():
        return
    whole = part != "eager"  # only its entries are compared
    extra = [network_piece(SPACE, ops, 3, 10, f"held_out_{n}") for n, ops in enumerate(held_out)] if whole else []
    export_bundle(SPACE, bundle, format=FORMAT_OF[runtime], dtype=dtype, cache=work / "cache",
                  validation_networks=12 if whole else 0, extra_networks=extra)  # fmt: skip
    command = [sys.executable, str(bundle / "run.py"), "--device", f"host-{part}", "--runtime", runtime,
               "--out", str(out), "--rounds", str(rounds)]  # fmt: skip
    subprocess.run(command, check=True)


def build_seconds(work: Path) -> None:
    """Seconds of `supernet lut build` from an empty cache, as a user runs it."""
    if (work / "build_seconds.json").is_file():
        return
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        command = [sys.executable, "-c", "from supernet.commands.main import main; main()", "lut", "build",
                   "--device", "host", "--out", f"{work}/build.json", "--cache", f"{fresh}/pieces", "--restart"]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True)
        (work / "build_seconds.json").write_text(str(round(time.perf_counter() - started, 1)))


def affine(known: np.ndarray, measured: np.ndarray, new: np.ndarray) -> np.ndarray:
    scale, offset = fit(known, measured)
    return scale * new + offset


def compare(part: str, path: Path, eager: Path | None, records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Errors on the held-out networks by predictor; one record a network."""
    table = load_table(str(path))
    extra = table.content["protocol"]["extra_networks"]
    measured = np.array([network["median_ms"] for network in extra])
    ops = [tuple(network["ops"]) for network in extra]
    manifest = json.loads((path.parent / f"bundle-{part}" / "manifest.json").read_text())
    known_ops = [tuple(item["ops"]) for item in manifest["items"] if item["role"] == "network"]
    known = np.array([pair[1] for pair in table.content["validation"]["pairs"]])

    def plain(a_table: Any, networks: list[tuple[str, ...]]) -> np.ndarray:
        content = a_table.content
        sums = [sum(a_table.entries[op, x.c_in, x.c_out, x.stride, x.resolution]
                    for op, x in zip(network, SPACE.layers, strict=True)) for network in networks]  # fmt: skip
        return np.array(sums) + content["base_ms"]

    cost, macs = table.cost(SPACE), macs_table(SPACE, 3, 10)
    known_macs, new_macs = (np.array([macs.total(SPACE.index_L(o)) for o in group]) for group in (known_ops, ops))
    predicted = {
        "table": np.array([cost.total(SPACE.index_L(o)) for o in ops]),
        "plain_sum": plain(table, ops),
        "macs": affine(known_macs, known, new_macs),
    }
    if eager is not None:
        eager_table = load_table(str(eager))
        predicted["eager_table"] = affine(plain(eager_table, known_ops), known, plain(eager_table, ops))
    for number, network in enumerate(extra):
        ms = {f"{name}_ms": float(values[number]) for name, values in predicted.items()}
        records.append({"part": part, "ops": " ".join(network["ops"]), "measured_ms": network["median_ms"],
                        "iqr_ms": network["iqr_ms"], **ms})  # fmt: skip
    return {name: errors(values, measured) for name, values in predicted.items()}


def kept(tables: dict[str, Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last results' figures and records but those of the parts that are in this folder: each part has its own machine and day."""
    try:
        summary, records = read_results("latency_fidelity")["summary"], read_records("latency_fidelity")
    except FileNotFoundError:
        return {}, []
    own = tuple(f"{part}_" for part in tables)
    return {name: value for name, value in summary.items() if not name.startswith(own)}, [row for row in records if row["part"] not in tables]  # fmt: skip


def published(data: Path) -> dict[str, dict[str, float]]:
    """The same kind of table, fitted to 4,000 of HELP's measured networks (NeurIPS 2021), told on the other 1,000."""
    with np.load(data, allow_pickle=False) as file:
        arch_NL, devices, latency_ND = file["arch"], list(file["devices"]), file["latency_ms"].astype(float)
        operations = len(file["ops"])
    types = [SPACE.layers.index(layer) for layer in SPACE.layers]  # layers of one shape share their entries
    columns_NT = np.zeros((len(arch_NL), len(SPACE.layers) * operations + 1))
    columns_NT[:, -1] = 1
    for layer, type_ in enumerate(types):
        np.add.at(columns_NT, (np.arange(len(arch_NL)), type_ * operations + arch_NL[:, layer]), 1)
    order = np.random.default_rng(0).permutation(len(arch_NL))
    train, test = order[:4000], order[4000:]
    found = {}
    for device in ("gold_6226", "silver_4210r", "titan_rtx_1", "titanxp_64"):
        latency_N = latency_ND[:, devices.index(device)]
        weight_N = 1 / latency_N[train]
        entries_T = lsq_linear(columns_NT[train] * weight_N[:, None], np.ones(len(train)), (0, np.inf)).x
        found[device] = errors(columns_NT[test] @ entries_T, latency_N[test])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of bundles and tables, kept between runs")
    parser.add_argument("--what", nargs="+", choices=[*PARTS, "build"],
                        default=["ort_fp32", "ort_int8", "eager", "build"])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="HELP's whole-network times (npz)")
    parser.add_argument(
        "--quick", action="store_true", help="onnxruntime, two networks, two rounds; nothing is written"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.quick:
        options.what, options.rounds, options.networks = ["ort_fp32"], 2, 2
    held_out = random_networks(options.networks)
    if "build" in options.what:
        build_seconds(options.work)
    for part in [part for part in options.what if part in PARTS]:
        measure(part, options.work, options.rounds, held_out)
    tables = {part: options.work / f"{part}.json" for part in PARTS if (options.work / f"{part}.json").is_file()}
    summary, records = kept(tables)
    print(f"{'part':<12} {'predictor':<12} {'MAPE':>7} {'max':>7} {'Spearman':>9}")
    for part, path in tables.items():
        if part == "eager":
            continue
        found = compare(part, path, tables.get("eager"), records)
        for name, error in found.items():
            print(f"{part:<12} {name:<12} {error['mape']:7.2%} {error['max_error']:7.2%} {error['spearman']:9.3f}")
        summary |= {f"{part}_spearman": found["table"]["spearman"], f"{part}_mape": found["table"]["mape"],
                    f"{part}_max_error": found["table"]["max_error"]}  # fmt: skip
        if part == "ort_fp32":
            summary |= {"plain_sum_mape": found["plain_sum"]["mape"], "macs_mape": found["macs"]["mape"],
                        "macs_spearman": found["macs"]["spearman"]}  # fmt: skip
            if "eager_table" in found:
                summary["eager_table_spearman"] = found["eager_table"]["spearman"]
                summary["eager_table_mape"] = found["eager_table"]["mape"]
            summary["load_before"] = load_table(str(path)).content["protocol"]["before"]["load"]
    if (options.work / "build_seconds.json").is_file():
        summary["build_seconds"] = json.loads((options.work / "build_seconds.json").read_text())
    if options.data.is_file():
        for device, error in published(options.data).items():
            print(
                f"{device:<12} {'fitted':<12} {error['mape']:7.2%} {error['max_error']:7.2%} {error['spearman']:9.3f}"
            )
            summary |= {f"fitted_{device}_mape": error["mape"], f"fitted_{device}_spearman": error["spearman"]}
    command = (
        f"python benchmarks/latency_fidelity.py --work WORK --rounds {options.rounds} --what build {' '.join(tables)}"
    )
    if not options.quick:
        print(write_results("latency_fidelity", summary, records, command))


if __name__ == "__main__":
    main()
