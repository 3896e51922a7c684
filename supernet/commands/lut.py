"""`supernet lut …`: latency tables — export what to measure, build on this machine, check, predict."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from latency_luts.runtimes import RUNTIMES
from supernet.command_line import ranged
from supernet.commands import lut_model, lut_transfer, lut_vela
from supernet.errors import UserError
from supernet.program import Help
from supernet.spaces import BUILD_SPACES, get_space

if TYPE_CHECKING:
    from supernet.costs.latency import LatencyTable

EPILOG = """\
examples:
  supernet lut build --device this-machine
      export, measure and validate on this machine
  supernet lut export --space fbnet32 --out bundle/
      for another device: copy bundle/ there
  python bundle/run.py --device my-board --out my-board.json
      then on the device; numpy and onnxruntime suffice
  supernet lut check my-board.json
      schema, coverage, plausibility, validation figures
  supernet lut predict --device rpi4 --arch derived.json
      predicted latency, layer by layer
  supernet lut predict --device rpi4 --arch mobilenetv3_small_050 --resolution 128
      a timm model: estimated from the table's blocks
  supernet lut model --rows 16 --columns 16 --clock-mhz 500
      a table for a systolic array (an NPU), from its numbers
  supernet lut vela --accelerator ethos-u55-128 --space sensor32-grey --channels 1
      a table for an Ethos-U NPU, as its compiler estimates it
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `lut` and its sub-commands to the console script."""
    parser = subparsers.add_parser(
        "lut",
        help="latency tables: build, check, predict",
        description="Makes and reads a device's latency table.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT")

    export = commands.add_parser("export", help="write a bundle to measure on another device")
    _add_export_options(export)
    export.add_argument("--out", required=True, type=Path, help="folder of the bundle")
    export.set_defaults(run=run_export)

    build = commands.add_parser("build", help="export, measure and validate on this machine")
    build.add_argument("--device", required=True, help="name for this machine; the table is written to DEVICE.json")
    build.add_argument("--out", type=Path, help="the table to write (default: DEVICE.json)")
    build.add_argument(
        "--threads", type=ranged(int, "[1, 1024]"), default=1, help="threads of the runtime (default: 1)"
    )
    build.add_argument(
        "--rounds", type=ranged(int, "[1, 100000]"), help="rounds of measurement (default: 30, or 6 with --quick)"
    )
    build.add_argument("--quick", action="store_true", help="a rough table in a few rounds")
    build.add_argument("--restart", action="store_true", help="forget what an interrupted run has measured")
    _add_export_options(build)
    build.set_defaults(run=run_build)

    lut_transfer.add_parsers(commands)
    lut_model.add_parser(commands)
    lut_vela.add_parser(commands)

    check = commands.add_parser("check", help="check a table: schema, coverage, plausibility, validation figures")
    check.add_argument("file", help="a table's JSON file, or the name of a shipped device")
    check.add_argument(
        "--space",
        choices=sorted({*BUILD_SPACES, "micro32"}),
        metavar="SPACE",
        help="space that it must cover (default: the table's own)",
    )
    check.set_defaults(run=run_check)

    predict = commands.add_parser("predict", help="predicted latency of an architecture, layer by layer")
    predict.add_argument("--device", required=True, help="shipped device (rpi4, …) or a table's path (./my-board.json)")
    predict.add_argument("--arch", required=True, help="derived.json, its run folder, or the name of a timm model")
    predict.add_argument(
        "--resolution", type=ranged(int, "[8, 1024]"), help="of a timm model, px (default: the table's)"
    )
    predict.add_argument(
        "--channels", type=ranged(int, "[1, 64]"), default=3, help="of a timm model's image (default: 3)"
    )
    predict.add_argument("--classes", type=ranged(int, "[2, 100000]"), default=10, help="of a timm model (default: 10)")
    predict.set_defaults(run=run_predict)


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--space", default="fbnet32", choices=BUILD_SPACES, metavar="SPACE", help="fbnet32 (default), fbnet224, flex24 to flex224, lite64 to lite224, sensor32 …")  # fmt: skip
    parser.add_argument("--runtime", default="onnxruntime", choices=RUNTIMES, metavar="RUNTIME", help="onnxruntime (default), litert, executorch, openvino or torch")  # fmt: skip
    parser.add_argument("--dtype", default="float32", choices=("float32", "int8"), help="default: float32")
    parser.add_argument("--channels", type=ranged(int, "[1, 64]"), default=3, help="channels of the image (default: 3)")
    parser.add_argument(
        "--classes", type=ranged(int, "[2, 100000]"), default=10, help="classes of the classifier (default: 10)"
    )
    parser.add_argument("--cache", type=Path, help="folder of exported pieces (default: ~/.cache/supernet/pieces)")


def _export(options: argparse.Namespace, folder: Path) -> int:
    from supernet.lut.bundle import export_bundle
    from supernet.lut.convert import FORMAT_OF

    return export_bundle(
        get_space(options.space), folder, format=FORMAT_OF[options.runtime], dtype=options.dtype,
        in_chans=options.channels, num_classes=options.classes, cache=options.cache,
    )  # fmt: skip


def run_export(options: argparse.Namespace) -> None:
    """Writes the bundle, and says what to do with it."""
    new = _export(options, options.out)
    runtime = "" if options.runtime == "onnxruntime" else f" --runtime {options.runtime}"
    print(
        f"{options.out}: {new} files exported anew. Copy the folder to the device; there (numpy and a runtime suffice):"
    )
    print(f"  python {options.out.name}/run.py --device my-board --out my-board.json{runtime}")


def run_build(options: argparse.Namespace) -> None:
    """Exports into the cache and measures in a process of its own, which loads neither torch nor this package."""
    from supernet.lut.bundle import default_cache

    out = options.out or Path(f"{options.device}.json")
    what = f"{options.space}-{options.runtime}-{options.dtype}-{options.channels}-{options.classes}"
    folder = (options.cache or default_cache()).parent / "bundles" / what
    _export(options, folder)
    command = [sys.executable, str(folder / "run.py"), "--device", options.device, "--out", str(out),
               "--runtime", options.runtime, "--threads", str(options.threads)]  # fmt: skip
    command += ["--rounds", str(options.rounds)] if options.rounds is not None else []
    command += [f"--{flag}" for flag in ("quick", "restart") if getattr(options, flag)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)  # the runner has said why


def run_check(options: argparse.Namespace) -> None:
    """Prints what can be told about a table. Raises UserError where it cannot serve its space."""
    from supernet.costs.latency import load_table
    from supernet.lut import check

    table = load_table(options.file)
    space = get_space(options.space or table.content["space"])
    content = table.content
    runtime = " ".join(str(part) for part in content["runtime"].values() if part) or "runtime not stated"
    print(
        f"{table.device}: {content['provenance']}, {runtime}, {content['dtype'] or 'dtype unknown'}, table {table.hash}"
    )
    print(
        f"schema: version {content['schema_version']}, {len(table.entries)} entries, base {content['base_ms']:.4g} ms"
    )
    missing = check.missing_entries(table, space)
    if not missing:
        cost = table.cost(space)
        print(f"coverage: every operation of {space.name}")
        print(f"range: {cost.bounds(space.valid_LK)[0]:.4g} ms fastest, {cost.median(space.valid_LK):.4g} ms median")
    found = check.doubts(table)
    print("plausibility: nothing unusual" if not found else "plausibility:\n  " + "\n  ".join(found))
    print(check.validation_line(table))
    if machine := check.machine_line(table):
        print(machine)
    if missing:
        table.cost(space)  # the reader's own error names what is missing and how to measure it


def run_predict(options: argparse.Namespace) -> None:
    """Prints the table's latency of an architecture, layer by layer."""
    from supernet.commands.facts import energy_mj, energy_words
    from supernet.costs.latency import load_table
    from supernet.spaces.architecture import Architecture
    from supernet.transfer.kernel_model import table_for

    table = load_table(options.device)
    if not Path(options.arch).exists() and not options.arch.endswith(".json"):
        print(estimate_words(table, options.arch, options.channels, options.classes, options.resolution))
        return
    arch = Architecture.load(Path(options.arch))
    space = get_space(arch.space)
    table, notes = table_for(table, space)
    cost = table.cost(space)
    index_L = space.index_L(arch.ops)
    total_ms = cost.total(index_L)
    if not total_ms > 0:
        raise UserError(f"The table of {table.device} predicts {total_ms:g} ms: it does not fit this architecture.")
    print(f"{table.device} ({table.provenance}), {space.name}: predicted latency by layer")
    used = table.utilisation(space, arch.ops)
    print(f"{'layer':>5}  {'operation':<10} {'shape':<16} {'ms':>9}  share{'' if used is None else '  utilisation'}")
    print(f"{'base':>5}  {'stem, head':<10} {'':<16} {cost.base:9.4f}  {cost.base / total_ms:5.1%}")
    for number, ((op, layer), ms) in enumerate(zip(space.placed(arch.ops), cost.by_decision(index_L), strict=True)):
        share = None if used is None else used.by_layer[number]
        filled = "" if share is None else f"  {share:11.1%}"
        print(f"{number:>5}  {op:<10} {layer.block_type:<16} {ms:9.4f}  {ms / total_ms:5.1%}{filled}")
    if used is not None:
        print(f"utilisation of the array: {used.whole:.1%} (multiply-adds done, of those possible in that time)")
    error = "error unknown: no whole network was measured" if table.error is None else f"± {table.error:.1%}"
    if table.provenance == "estimated" and table.error is not None:
        error = f"estimated, may be off by {table.error:.0%}"
    print(f"total  {total_ms:.4f} ms ({error})", *notes, sep="\n")
    print(energy_words(energy_mj(table, total_ms), None), end="")
    if arch.budget_ms is not None:
        inside = "inside" if total_ms <= arch.budget_ms else "OVER"
        print(f"budget {arch.budget_ms:g} ms: predicted {inside}; only a measurement proves it (supernet verify)")


def estimate_words(table: LatencyTable, name: str, channels: int, classes: int, resolution: int | None) -> str:
    """What a timm model is estimated to take, by kind of kernel. Raises UserError for an unknown model, or no estimate."""
    from supernet.models import create_network
    from supernet.preprocessing import Preprocessing
    from supernet.transfer.kernel_model import estimate_network

    size = resolution or table.content["resolution"]
    spec = Preprocessing(size, channels, (0.5,) * channels, (0.5,) * channels)
    network = create_network(name, tuple(map(str, range(classes))), spec)
    found = estimate_network(table, network, channels, size)
    lines = [f"{table.device} ({table.provenance}), {name} at {size} px: estimated latency by kind of kernel"]
    lines += [f"  {kind:<10} {ms:9.4f} ms  {ms / found.ms:5.1%}" for kind, ms in found.parts_ms.items()]
    lines.append(f"total  {found.ms:.4g} ms, estimated from blocks of other networks (± {found.error:.0%})")
    return "\n".join([*lines, *(f"  {note}" for note in found.notes)])
