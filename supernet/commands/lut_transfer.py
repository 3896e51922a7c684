"""`supernet lut sample` and `supernet lut adapt`: a table for a new device from about twenty measured networks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from supernet.command_line import ranged
from supernet.spaces import TABLE_SPACES, get_space

SHEET = "measured.csv"
CHECKS = 5  # networks from the smallest to the largest, which the chosen ones must foretell


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both to `supernet lut`."""
    sample = commands.add_parser("sample", help="choose and export the networks whose measurement tells most")
    sample.add_argument("--space", default="fbnet32", choices=TABLE_SPACES, metavar="SPACE", help="fbnet32 (default), fbnet224, or lite64 to lite224")  # fmt: skip
    sample.add_argument("-n", type=ranged(int, "[2, 1000]"), default=20, dest="number", help="networks (default: 20)")
    sample.add_argument("--dtype", default="float32", choices=("float32", "int8"), help="default: float32")
    sample.add_argument("--out", required=True, type=Path, help="folder of the bundle and the sheet")
    sample.add_argument("--channels", type=ranged(int, "[1, 64]"), default=3, help="channels of the image (default: 3)")
    sample.add_argument(
        "--classes", type=ranged(int, "[2, 100000]"), default=10, help="classes of the classifier (default: 10)"
    )
    sample.add_argument(
        "--seed",
        type=ranged(int, "[0, 4294967295]"),
        default=0,
        help="another seed chooses other networks (default: 0)",
    )
    sample.set_defaults(run=run_sample)

    adapt = commands.add_parser("adapt", help="a table from those measurements and other devices' tables")
    adapt.add_argument("--device", required=True, help="name of the device, written into the table")
    adapt.add_argument("--space", choices=TABLE_SPACES, metavar="SPACE", help="default: what the sheet says")
    adapt.add_argument("--measured", required=True, type=Path, help="the filled-in sheet (columns ops, latency_ms)")
    adapt.add_argument("--out", type=Path, help="the table to write (default: DEVICE.json)")
    adapt.set_defaults(run=run_adapt)


def run_sample(options: argparse.Namespace) -> None:
    """Writes the bundle of the chosen networks, and the sheet that waits for their latencies."""
    from supernet.lut.bundle import export_bundle
    from supernet.lut.pieces import network_piece, networks
    from supernet.transfer.adapt import sample_architectures
    from supernet.transfer.sheet import begin_sheet, refuse_filled

    space, sheet = get_space(options.space), options.out / SHEET
    refuse_filled(sheet)
    architectures = sample_architectures(space, options.number, options.seed)
    names = [f"sample_{number:02}" for number in range(len(architectures))]
    pieces = [
        network_piece(space, ops, options.channels, options.classes, name)
        for name, ops in zip(names, architectures, strict=True)
    ]
    checks = networks(space, options.channels, options.classes, CHECKS, options.seed)
    pieces += [replace(piece, name=f"check_{number}") for number, piece in enumerate(checks)]
    export_bundle(space, options.out, dtype=options.dtype, in_chans=options.channels, num_classes=options.classes,
                  extra_networks=pieces, only_networks=True)  # fmt: skip
    begin_sheet(sheet, space, options.dtype, {piece.name: piece.fields["ops"] for piece in pieces})
    print(
        f"{options.out}: {len(pieces)} networks. Copy the folder to the device, and there (numpy and onnxruntime suffice):"
    )
    print(f"  python {options.out.name}/run.py --device my-phone --out {options.out.name}/{SHEET}")
    print(f"or unpack (gunzip) and measure the files in models/ by other means and fill in {sheet}. Then, here:")
    print(f"  supernet lut adapt --device my-phone --space {space.name} --measured {sheet}")


def run_adapt(options: argparse.Namespace) -> None:
    """Writes the adapted table, and says how far it can be trusted."""
    from latency_luts.validation import is_poor
    from supernet.lut.check import table_place
    from supernet.program import called
    from supernet.schema import write_json
    from supernet.transfer.adapt import adapt
    from supernet.transfer.sheet import read_sheet

    out = table_place(options.device, options.out)
    adapted = adapt(options.device, read_sheet(options.measured, options.space))
    write_json(out, adapted.content)
    validation = adapted.content["validation"]
    print(f"{out}: adapted from {validation['n']} networks. Each foretold from the others: mean error "
          f"{validation['mape']:.1%}, largest {validation['max_error']:.1%}, Spearman {validation['spearman']:.3f}; "
          f"a new network's measurement ± {validation['predictive_std_ms']:.3g} ms.")  # fmt: skip
    for warning in adapted.warnings:
        print(f"warning: {warning}")
    consent = " --accept-poor-table" if is_poor(validation) else ""
    print(f"  {called('search')} --device {'' if out.is_absolute() else './'}{out}{consent}")
