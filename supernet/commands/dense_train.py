"""`supernet train` of an architecture that `search --task denoise` or `segment` found: its figures on test, and the file for a device."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from supernet.commands.dense import TRAIN, DenseTask, samples
from supernet.commands.dense_tasks import TASKS
from supernet.commands.inherited import class_names, find_architecture, inherit
from supernet.commands.opening import check, open_run
from supernet.commands.promise import other_data, priced
from supernet.commands.search_words import latency_words
from supernet.commands.setting import read_data, use_machine
from supernet.commands.tracked import dense_figures
from supernet.config import TrainConfig, with_epochs
from supernet.costs.analytic import count
from supernet.engine.retraining import train_network
from supernet.engine.runs import RunFolder
from supernet.engine.stopping import Interrupted
from supernet.errors import UserError
from supernet.export import export_onnx, onnx_metadata
from supernet.models import DERIVED, read_model, save_model
from supernet.network import build_network
from supernet.options import check_effect
from supernet.program import called
from supernet.report import write_dense_report
from supernet.schema import read_json
from supernet.spaces.architecture import Architecture


def dense_task(options: argparse.Namespace) -> DenseTask | None:
    """The task whose output is a picture that --task, or the search that --arch is of, asks for; None: classification.

    Raises UserError as the training would.
    """
    config, _ = open_run(options, "train", TrainConfig)
    file = find_architecture(config) if config.arch else None
    found = None if file is None else TASKS.get(str(Architecture.load(file).config.get("task")))
    return TASKS.get(config.task) or found


def train(options: argparse.Namespace, dense: DenseTask) -> None:
    """The story of the command."""
    started = time.monotonic()
    config, given = open_run(options, "train", TrainConfig)
    dense.check_options(given, TRAIN)
    file = find_architecture(config) if config.arch else None
    asked = f"--task {dense.name}"
    if file is None:
        raise UserError(f"{asked} trains what search {asked} found: --arch derived.json, or its folder.")
    arch = Architecture.load(file)
    searched = arch.config.get("task", "classify")
    if searched != dense.name:
        raise UserError(f"{asked}: {config.arch} is the architecture of a search with --task {searched}.")
    config = inherit(config, arch, given, quick=options.quick)
    check(config)
    check_effect(config, given)
    config = replace(config, export=_asked_export("--export", config.export, "export" in given, asked))
    arch, notes = priced(config, arch, given)
    arch = replace(arch, budget_ms=config.budget_ms or arch.budget_ms)
    device = use_machine(config)
    data = dense.pictures(read_data(config, arch.input.size))
    if data.channels != arch.input.channels:
        raise UserError(
            f"{config.arch} was searched for pictures of {arch.input.channels} channel(s): --channels {arch.input.channels}."
        )
    if dense.name == "segment" and data.classes != arch.classes:
        raise UserError(
            f"{config.arch} was searched for {len(arch.classes)} classes, {class_names(arch.classes)}; {data.name} has "
            f"{len(data.classes)}, {class_names(data.classes)}."
        )
    config = with_epochs(config, len(data.train))
    torch.manual_seed(config.seed)
    network, task = build_network(arch), dense.task(data, config)
    folder = RunFolder.open(config, "train", data.fingerprint, {"derived.json": file})
    config = replace(config, resume=None)
    notes += [*data.notes, *other_data(config, arch, data.fingerprint), *folder.notes]
    print("\n".join((*notes, folder.words(), folder.save_options("train", dense.to_file(config, TRAIN)))), flush=True)
    plain = replace(data, attributes={})  # no fairness term is for pictures
    try:
        trained = train_network(config, plain, network, folder, device, task=task)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('train', '--resume', folder.path)}") from None
    save_model(folder.path, trained, arch.classes, data.preprocessing, DERIVED)
    found = dense.measured(trained, data, config, task, device)
    files = _exported(config, dense, arch, trained, folder.path)
    macs, params = count(trained, 1, data.channels, data.resolution, data.resolution)
    lines, latency = dense.lines(found, config), [] if arch.predicted_ms is None else [f"{latency_words(arch)}."]
    shown = samples(trained, data, task, device, dense, config) if config.images else []
    facts = {
        "schema_version": 1, "command": "train", "task": dense.name, "name": folder.path.name, "folder": str(folder.path), "asked": asdict(config),
        "notes": notes, "metrics": found, "samples": shown, "samples_told": f"Each row: {dense.strip}.", "told": latency,
        "files": files, "predicted_ms": arch.predicted_ms, "budget_ms": arch.budget_ms,
        "macs": macs, "params": params, "ops": list(arch.ops), "history": folder.rows(),
        "seconds": {"total": time.monotonic() - started}, **folder.circumstances(),
    }  # fmt: skip
    write_dense_report(folder.path, facts)
    folder.finish(dense_figures(facts))
    print("\n".join((*lines, *latency, *(f"{name}: {told}" for name, told in files.items()))))
    print(f"Report: {folder.path / 'report.html'}")


def export_again(folder: Path, config: TrainConfig, dense: DenseTask) -> None:
    """`supernet export` of such a training: the file that `config.export` names, told in its report.

    Raises UserError for a format that is of classifiers, and where the training is not finished.
    """
    config = replace(config, export=_asked_export("--format", config.export, True, f"--task {dense.name}"))
    model = read_model(folder / "model.json", dense=True)
    assert model.arch is not None, "only what a search found is trained for such a task"
    arch = replace(model.arch, budget_ms=config.budget_ms or model.arch.budget_ms)
    files = _exported(config, dense, arch, model.network, folder)
    print("\n".join(f"{folder / name}: {told}" for name, told in files.items()))
    facts = read_json(folder / "report.json", "report", {"type": "object"})
    write_dense_report(folder, {**facts, "files": {**facts["files"], **files}})


def _asked_export(option: str, export: str, given: bool, task: str) -> str:
    """Of the files those that there are. Raises UserError where another one was asked for."""
    kinds = {kind.strip() for kind in export.split(",")}
    others = sorted(kinds - {"onnx", "none"})
    if given and others:
        raise UserError(f"{option} {others[0]} is for classifiers: {task} has onnx or none.")
    return "onnx" if "onnx" in kinds else "none"


def _exported(
    config: TrainConfig, dense: DenseTask, arch: Architecture, network: torch.nn.Module, folder: Path
) -> dict[str, str]:
    """model.onnx, where it is asked for: a picture → the network's output, which the file tells of."""
    if config.export == "none":
        return {}
    metadata = {**onnx_metadata(arch.input, arch.classes, arch), **dense.output(config)}
    if dense.name == "denoise":
        metadata.pop("classes")
    difference = export_onnx(network.to("cpu").eval(), folder / "model.onnx", arch.input, metadata)
    return {"model.onnx": f"float32, batch 1; differs from torch by {difference:.1e} at most"}
