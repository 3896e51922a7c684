"""An Ethos-U NPU's latencies as Arm's compiler for it, vela, estimates them. Nothing is measured, and nothing runs on an NPU."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latency_luts.manifest import Manifest
from latency_luts.protocol import Time
from latency_luts.table import assemble
from supernet.bars import bar as progress_bar
from supernet.errors import UserError

ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
ON_NPU = b"ethos-u"  # the one operator that a compiled file has for all that the NPU computes
SETTING = ("accelerator_configuration", "system_config", "memory_mode")  # columns of the summary


@dataclass(frozen=True)
class Npu:
    """What vela compiles for, in its own words.

    accelerator: one of ACCELERATORS.  config: an .ini file that describes memories.  system_config, memory_mode: sections of it; None is vela's default.
    """

    accelerator: str
    config: str | None = None
    system_config: str | None = None
    memory_mode: str | None = None

    @property
    def options(self) -> list[str]:
        """For vela's command line."""
        given = {"accelerator-config": self.accelerator, "config": self.config,
                 "system-config": self.system_config, "memory-mode": self.memory_mode}  # fmt: skip
        return [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]


@dataclass(frozen=True)
class Estimate:
    """One inference, by vela's summary.

    ms: of the NPU.  clock_mhz: that this holds at.  setting: accelerator, memories.  on_cpu: operators left to the host, whose time is in no `ms`.
    """

    ms: float
    clock_mhz: float
    setting: dict[str, str]
    on_cpu: tuple[str, ...] = ()


def estimate(content: bytes, npu: Npu, name: str) -> Estimate:
    """vela's estimate for an int8 .tflite. Raises UserError where vela is not installed, or refuses the file or the options."""
    from supernet.export import require  # not at the top: the help names ACCELERATORS, and is to start without torch

    require("ethosu", extra="vela")
    from ethosu.vela import vela

    with tempfile.TemporaryDirectory() as place, _silent():
        folder = Path(place)
        (folder / "model.tflite").write_bytes(content)
        try:
            vela.main([str(folder / "model.tflite"), "--output-dir", place, *npu.options])
            (summary,) = folder.glob("model_summary_*.csv")
            found, compiled = read_summary(summary.read_text(encoding="utf-8")), folder / "model_vela.tflite"
            left = left_to_cpu(compiled.read_bytes())
        except UserError:
            raise
        except (
            Exception,
            SystemExit,
        ) as error:  # of any class: vela has errors of its own, and those of its native part
            raise UserError(f"vela did not compile {name} for {npu.accelerator}: {str(error)[:300]}") from error
    if not found.ms > 0:
        raise UserError(f"vela finds nothing in {name} for the NPU to compute, and estimates no time for it.")
    return replace(found, on_cpu=left)


@contextmanager
def _silent() -> Iterator[None]:
    """Without what vela says of each file; its native part writes past Python's streams."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept, nowhere = {number: os.dup(number) for number in (1, 2)}, os.open(os.devnull, os.O_WRONLY)
    try:
        for number in kept:
            os.dup2(nowhere, number)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        for number, own in kept.items():
            os.dup2(own, number)
            os.close(own)
        os.close(nowhere)


def read_summary(text: str) -> Estimate:
    """The estimate of vela's summary, a CSV with one row. Raises UserError for another file."""
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        (row,) = rows
        ms, clock_mhz = 1e3 * float(row["inference_time"]), float(row["core_clock"]) / 1e6
        setting = {name: row[name] for name in SETTING}
        cycles_ms = float(row["cycles_total"]) / clock_mhz / 1e3
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"vela's summary is not understood ({error}): another version of ethos-u-vela?") from error
    if not (0 <= ms < math.inf and math.isclose(ms, cycles_ms, rel_tol=1e-6)):
        raise UserError(f"vela's summary tells {ms:g} ms, but {cycles_ms:g} ms by its cycles: another version of ethos-u-vela?")  # fmt: skip
    return Estimate(ms, clock_mhz, setting)


def left_to_cpu(compiled: bytes) -> tuple[str, ...]:
    """Names of the operators in a compiled file that are not the NPU's, each once."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(compiled, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    found: dict[str, None] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if code.customCode != ON_NPU:
                found[names[max(code.builtinCode, code.deprecatedBuiltinCode)]] = None
    return tuple(found)


def make_table(manifest: Manifest, device: str, npu: Npu) -> dict[str, Any]:
    """The table of a bundle of int8 .tflite files, provenance `estimated`; its validation is on whole networks as vela estimates them.

    Raises UserError where vela leaves to the host what is not the view of a `sensor` space: its time would count as none.
    """
    found = {
        item.name: estimate(manifest.read(item), npu, item.name)
        for item in progress_bar(manifest.items, desc=f"vela {npu.accelerator}", unit="file", disable=None)
    }
    views = {name for item in manifest.items if item.whole_picture for name in found[item.name].on_cpu}
    for item in manifest.items:
        allowed = views if item.whole_picture or item.role == "network" else set()
        if left := sorted({*found[item.name].on_cpu} - allowed):
            raise UserError(f"vela leaves {', '.join(left)} of {item.name} to the host's processor and estimates no time for it: there is no table.")  # fmt: skip
    one = next(iter(found.values()))
    accelerator, *memories = one.setting.values()
    by_host = sorted(item.name for item in manifest.items if item.whole_picture and found[item.name].on_cpu)
    host = f" {', '.join(sorted(views))} of {len(by_host)} views runs on the host's processor, whose time is not counted." if views else ""  # fmt: skip
    fields = {
        "device": device, "runtime": {"name": "vela", "version": version("ethos-u-vela")}, "threads": None, "provenance": "estimated",
        "licence": "the maker's own; vela itself is under Apache-2.0", "source": f"ethos-u-vela {version('ethos-u-vela')}'s performance estimate of int8 .tflite files: "
        f"{accelerator}, {', '.join(memories)}, {one.clock_mhz:g} MHz",
        "notes": "The compiler's own estimate, no measurement: its error against a chip is unknown. `validation` holds sums of blocks against its "
        f"estimates of whole networks. What a call costs by itself is taken off each block (protocol.call_ms).{host}",
    }  # fmt: skip
    protocol = {"accelerator": npu.accelerator, **dict(zip(SETTING[1:], memories, strict=True)),
                "clock_mhz": one.clock_mhz, "views_by_host": by_host}  # fmt: skip
    times = {name: Time(own.ms, 0.0, 1, 0) for name, own in found.items()}
    table = assemble(manifest, times, fields, protocol)
    table["entries"] = [{**entry, "iqr_ms": None, "n": None} for entry in table["entries"]]  # no visits were made
    return table
