"""`supernet lut vela`: the table of an Ethos-U NPU as its compiler estimates it; nothing is measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from supernet.command_line import ranged
from supernet.spaces import BUILD_SPACES, get_space

NETWORKS = 24  # whole ones, that the sums are held against


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to `supernet lut`."""
    from supernet.lut.vela import ACCELERATORS

    vela = commands.add_parser("vela", help="an Ethos-U NPU's table as its compiler estimates it, without the NPU")
    vela.add_argument("--accelerator", required=True, choices=ACCELERATORS, metavar="NAME", help="ethos-u55-128, ethos-u65-256 …: as vela names them")  # fmt: skip
    vela.add_argument("--space", default="fbnet32", choices=BUILD_SPACES, metavar="SPACE", help="default: fbnet32")
    vela.add_argument("--channels", type=ranged(int, "[1, 64]"), default=3, help="channels of the image (default: 3)")
    vela.add_argument("--classes", type=ranged(int, "[2, 100000]"), default=10, help="of the classifier (default: 10)")
    vela.add_argument("--config", help="vela's .ini file that describes the memories (default: vela's own)")
    vela.add_argument("--system-config", metavar="NAME", help="clock and memories, a section of it (default: vela's)")
    vela.add_argument("--memory-mode", metavar="NAME", help="what lies in which memory, a section (default: vela's)")
    vela.add_argument("--device", help="name of the device (default: the accelerator's)")
    vela.add_argument("--out", type=Path, help="the table to write (default: DEVICE.json)")
    vela.add_argument("--cache", type=Path, help="folder of exported pieces (default: ~/.cache/supernet/pieces)")
    vela.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Exports into the cache, asks the compiler, writes the table, and says how to use it."""
    from latency_luts.manifest import read_manifest
    from latency_luts.table import write
    from supernet.costs.latency import load_table
    from supernet.export import require
    from supernet.lut.bundle import default_cache, export_bundle
    from supernet.lut.check import table_place, validation_line
    from supernet.lut.vela import Npu, make_table
    from supernet.program import called

    require("ethosu", extra="vela")  # said before minutes of exports
    npu = Npu(options.accelerator, options.config, options.system_config, options.memory_mode)
    device = options.device if options.device is not None else options.accelerator
    out = table_place(device, options.out)
    cache = options.cache or default_cache()
    folder = cache.parent / "bundles" / f"{options.space}-vela-int8-{options.channels}-{options.classes}"
    export_bundle(
        get_space(options.space), folder, format="tflite", dtype="int8", in_chans=options.channels,
        num_classes=options.classes, validation_networks=NETWORKS, cache=cache,
    )  # fmt: skip
    content = make_table(read_manifest(folder), device, npu)
    write(out, content)
    print(f"{out}: {len(content['entries'])} operations of {options.space}. {content['source']}.\n{content['notes']}")
    print(validation_line(load_table(str(out if out.is_absolute() else Path.cwd() / out))))
    print(f"  {called('search')} --space {options.space} --device {'' if out.is_absolute() else './'}{out}")
