"""`supernet lut model`: the table of a device that a few numbers describe, a systolic array; nothing is measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from supernet.command_line import ranged
from supernet.spaces import BUILD_SPACES, get_space


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to `supernet lut`."""
    model = commands.add_parser("model", help="a table from the numbers of a systolic array, without a measurement")
    model.add_argument(
        "--rows", required=True, type=ranged(int, "[1, 65536]"), help="cells that add up one output value"
    )
    model.add_argument("--columns", required=True, type=ranged(int, "[1, 65536]"), help="output channels at once")
    model.add_argument("--clock-mhz", required=True, type=ranged(float, "[0.001, 1e6]"), help="clock of the array")
    model.add_argument("--space", default="fbnet32", choices=BUILD_SPACES, metavar="SPACE", help="default: fbnet32; all other spaces follow from the table")  # fmt: skip
    model.add_argument("--dtype", default="int8", choices=("int8", "float16", "float32"), help="of its cells (default: int8)")  # fmt: skip
    model.add_argument("--channels", type=ranged(int, "[1, 64]"), default=3, help="channels of the image (default: 3)")
    model.add_argument("--classes", type=ranged(int, "[1, 100000]"), default=10, help="of the classifier (default: 10)")
    model.add_argument("--device", help="name of the device (default: systolic-ROWSxCOLUMNS)")
    model.add_argument("--out", type=Path, help="the table to write (default: DEVICE.json)")
    model.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the table, and says how to use it."""
    from supernet.costs.systolic import Array, modelled
    from supernet.lut.check import table_place
    from supernet.program import called
    from supernet.schema import write_json

    array = Array(options.rows, options.columns, options.clock_mhz, options.channels, options.classes)
    device = options.device if options.device is not None else f"systolic-{array.rows}x{array.columns}"
    out = table_place(device, options.out)
    content = modelled(array, get_space(options.space), device, options.dtype)
    write_json(out, content)
    peak = array.rows * array.columns * array.clock_mhz / 1e3
    print(f"{out}: {len(content['entries'])} operations of {options.space} on {array.rows} × {array.columns} cells, "
          f"{peak:.4g} G multiply-adds a second at best. Modelled: memory's time is not counted.")  # fmt: skip
    print(f"  {called('search')} --space {options.space} --device {'' if out.is_absolute() else './'}{out}")
