"""The bundle's runner: measures every listed piece and network, and writes the device's latency table.

    python run.py --device my-board --out my-board.json       build the table
    python run.py --model model.onnx                          measure one model end to end, against its budget

Needs Python 3.10, numpy and a runtime (onnxruntime); neither torch nor the supernet package.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from latency_luts import machine, verification
from latency_luts.errors import BundleError
from latency_luts.files import remove_partials
from latency_luts.journal import Journal
from latency_luts.manifest import NAME_IS, Item, Manifest, is_name, read_manifest
from latency_luts.protocol import QUICK, Settings, Subject, estimate_seconds, measure, warm_up
from latency_luts.runtimes import RUNTIMES, get_runtime
from latency_luts.table import make_table, write, write_sheet
from latency_luts.validation import is_poor


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> None:
    """Exit code 0; 2 after what the user can mend; 130 after an interrupt (what was measured stays)."""
    options = _parser().parse_args(argv)
    try:
        if options.model is not None:
            if options.budget_ms is not None and not 0 < options.budget_ms <= 1e6:
                raise BundleError("--budget-ms must be above 0 and at most 1e6.")
            verification.tell(
                verification.verify(options.model, options.runtime, options.threads, options.quick), options.budget_ms
            )
        elif options.device is None:
            raise BundleError("--device NAME names the table (or --model FILE measures one model).")
        else:
            build(folder or Path.cwd(), options)
    except BundleError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("interrupted: what was measured stays; the same command goes on from there.", file=sys.stderr)
        raise SystemExit(130) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="name of this device, written into the table")
    parser.add_argument("--out", type=Path, help="the table to write (default: DEVICE.json)")
    parser.add_argument("--runtime", default="onnxruntime", choices=sorted(RUNTIMES), help="default: onnxruntime")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the runtime; cores that are pinned (default: 1)"
    )
    parser.add_argument("--rounds", type=int, help="rounds of measurement (default: 30, or 6 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a rough table in a few rounds")
    parser.add_argument("--restart", action="store_true", help="forget what an interrupted run has measured")
    parser.add_argument("--model", type=Path, help="measure this one model end to end instead")
    parser.add_argument(
        "--budget-ms", type=float, help="with --model: the budget (default: the one in the model's metadata)"
    )
    return parser


def build(folder: Path, options: argparse.Namespace) -> None:
    """The story of a table: check the bundle, load, warm up, measure in rounds, validate, write."""
    manifest = read_manifest(folder)
    machine.check_threads(options.threads)
    if options.rounds is not None and not 1 <= options.rounds <= 100_000:
        raise BundleError("--rounds must be from 1 to 100000.")
    if not is_name(options.device):
        raise BundleError(f"--device must be {NAME_IS}.")
    runtime = get_runtime(options.runtime)
    if manifest.format != runtime.FORMAT:
        raise BundleError(
            f"{options.runtime} reads .{runtime.FORMAT} files, but this bundle holds .{manifest.format} files."
        )
    out = options.out or Path(f"{options.device}.{'json' if manifest.has_pieces else 'csv'}")
    if out.is_dir():
        raise BundleError(f"--out {out} is a folder; give a file's name.")
    settings = QUICK if options.quick else Settings()
    settings = settings if options.rounds is None else replace(settings, rounds=options.rounds)
    fields = {
        "device": options.device,
        "runtime": {"name": options.runtime, "version": runtime.version()},
        "threads": options.threads,
        "provenance": runtime.PROVENANCE,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f"{out.name}.partial.jsonl")
    header = {**fields, "bundle": manifest.digest, "processor": machine.processor()}
    with machine.pinned(options.threads) as cores, closing(Journal(path, header, options.restart)) as journal:
        remove_partials(out.parent, out.name)
        before = machine.describe(cores)
        if journal.visits:
            print(f"going on with {len(journal.visits)} visits from {path}")
        started = time.perf_counter()
        subjects = load(manifest, runtime, options.threads, settings)
        print(f"estimated time: {estimate_seconds(subjects, settings):.0f} s for {settings.rounds} rounds "
              f"over {len(subjects)} files (longer on a busy machine)")  # fmt: skip
        measuring = time.perf_counter()
        for number, again in measure(subjects, settings, journal):
            seconds, done = time.perf_counter() - measuring, number + 1
            left = seconds / done * (settings.rounds - done)
            progress(
                done, settings.rounds, f"round {done}/{settings.rounds}  {left:.0f} s left  {again} visits made again"
            )
        protocol = {**asdict(settings), "before": before, "after": machine.describe(cores),
                    "seconds": round(time.perf_counter() - started, 1)}  # fmt: skip
        if manifest.has_pieces:
            table = make_table(manifest, journal, fields, protocol)
            write(out, table)
            told = f"{len(table['entries'])} entries. {_verdict(table['validation'])}"
        else:
            write_sheet(out, manifest, journal, fields)
            told = f"{len(manifest.items)} networks, for: supernet lut adapt --device {options.device} --space {manifest.space} --measured {out}"
        path.unlink()  # while it is still ours
    print(f"{out}: {told}")


def load(manifest: Manifest, runtime: ModuleType, threads: int, settings: Settings) -> list[Subject]:
    """Loads every listed file whose bytes are as listed, and warms it up. Raises BundleError if one does not load."""
    subjects = []
    for number, item in enumerate(manifest.items):
        progress(number + 1, len(manifest.items), f"loading and warming up {number + 1}/{len(manifest.items)}")
        content = manifest.read(item)
        try:
            session = runtime.load(content, threads)
            inputs = runtime.example(session)
            outputs = runtime.run(session, inputs)
        except runtime.ERRORS as error:
            raise BundleError(f"{item.file} does not load in this runtime: {error}") from error
        _check_shapes(manifest, item, _shape(inputs), _shape(outputs))
        subjects.append(warm_up(item.name, partial(runtime.run, session, inputs), settings))
    return subjects


def progress(done: int, number: int, text: str) -> None:
    """One line that is written over on a terminal; elsewhere, as in a log, one for each tenth of the `number`."""
    if sys.stdout.isatty():
        print(f"\r{text}   ", end="" if done < number else "\n", flush=True)
    elif done * 10 // number > (done - 1) * 10 // number:
        print(text, flush=True)


def _check_shapes(manifest: Manifest, item: Item, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Raises BundleError for a file that takes or gives other shapes than the manifest says; () is not known."""
    if item.role == "op":
        hw, out = item.key["resolution"], -(-item.key["resolution"] // item.key["stride"])
        taken = (*before[1:2], *[manifest.resolution] * 2) if item.whole_picture else (item.key["c_in"], hw, hw)
        wanted: tuple[tuple[int, ...], tuple[int, ...]] = (
            (1, *taken),
            (1, item.key["c_out"], out, out),
        )
    elif item.role in ("head", "call"):
        return
    else:
        wanted = ((*before[:2], manifest.resolution, manifest.resolution), after)
    for found, needed, what in ((before, wanted[0], "takes"), (after, wanted[1], "gives")):
        if found and found != needed:
            raise BundleError(f"{item.file} {what} the shape {list(found)}, the manifest says {list(needed)}: "
                              "export the bundle again.")  # fmt: skip


def _shape(tensors: Any) -> tuple[int, ...]:
    """Shape of the first of a runtime's inputs or outputs; () where it does not tell."""
    while isinstance(tensors, dict | list | tuple) and tensors:
        tensors = next(iter(tensors.values())) if isinstance(tensors, dict) else tensors[0]
    return tuple(int(size) for size in getattr(tensors, "shape", ()))


def _verdict(validation: dict[str, Any] | None) -> str:
    if validation is None:
        return "Not validated: the bundle has too few whole networks."
    advice = " That is POOR: measure again on a quiet device, without --quick." if is_poor(validation) else ""
    return (f"Held-out error on {validation['n']} whole networks: mean {validation['mape']:.1%}, "
            f"largest {validation['max_error']:.1%}, Spearman {validation['spearman']:.3f}.{advice}")  # fmt: skip
