"""`supernet train`: derived.json + data → a trained timm model, its fairness report and exports."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.command_line import add_options, to_file
from supernet.config import INHERITED, TrainConfig, is_file, with_epochs
from supernet.errors import UserError
from supernet.options import check_effect, check_values
from supernet.program import called, examples

if TYPE_CHECKING:
    from torch import nn

    from supernet.commands.trained import Training
    from supernet.data import GroupedData
    from supernet.spaces.architecture import Architecture

EPILOG = """\
--data, --fairness and --fairness-method: as in search. What is not given is taken from derived.json's search.

examples:
  supernet train --arch runs/search-rpi4-1/derived.json
      trains what the search found, on the search's data: from scratch, or after search --teacher from the weights that it left
  supernet train --arch runs/search-rpi4-1/derived.json --group-mix student=0.05 --fairness-method gap --fairness-weight 0
      a biased training set, and plain training
  supernet train --arch mobilenetv2_050
      a baseline: any timm model through the very same path
  supernet train --arch runs/search-rpi4-1/derived.json --fairness-method minimax --baseline runs/train-rpi4-1
      another way to be fair, compared with the first run image by image
  supernet train --arch runs/search-rpi4-1/derived.json --refit-classifier
      students were rare in training, but not in search-val: the classifier learns from them too (deep feature reweighting)
  supernet train --arch runs/search-rpi4-1/derived.json --train-on-val
      the final network, once everything is decided: search-val's images are trained on as well
  torchrun --nproc-per-node 2 -m supernet train --arch runs/search-rpi4-1/derived.json
      on two GPUs (or CPUs): each step's batch is shared out
  supernet train --resume runs/train-rpi4-1
      go on where an interrupted run stopped

The run folder then holds: model.safetensors and model.json (for timm.create_model), model.onnx and model-int8.onnx (each
checked against the trained model), a copy of derived.json, report.html, report.json and
model_card.md (accuracy and gaps per group with intervals), predictions.npz (for a later --baseline), metrics.jsonl, config.json and checkpoint.pt.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "train",
        help="train a derived architecture",
        description="Trains an architecture on search-train, from scratch or from trained weights, validates on search-val after each\n"
        "epoch, and measures accuracy and fairness on test. What is not given is taken from derived.json's search.",
        epilog=examples(EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, TrainConfig)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    from supernet.commands.cap import trained_cap_notes
    from supernet.commands.exports import export
    from supernet.commands.trained import closing_words, exportable, finish, report_facts
    from supernet.engine.claim import PENDING
    from supernet.engine.retraining import train_network
    from supernet.engine.runs import Interrupted, RunFolder
    from supernet.models import DERIVED, save_model
    from supernet.report import write_report
    from supernet.report.facts import Int8, read

    started = time.monotonic()
    asked = set_up(options)
    config, arch, data = asked.config, asked.arch, asked.data
    folder = RunFolder.open(config, "train", data.fingerprint, asked.inputs)
    config = replace(config, resume=None)  # what a resumed run leaves is what one call leaves
    if folder.writes:
        again = folder.save_options("train", to_file(config))
        print("\n".join((*asked.notes, *folder.notes, folder.words(), again)), flush=True)
    try:
        network = train_network(config, data, asked.network, folder, asked.device, asked.teacher)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('train')} --resume {folder.path}") from None
    if not folder.writes:
        return
    trained = asked._replace(config=config, network=network)
    hints = finish(trained, folder)
    save_model(
        folder.path,
        network,
        data.classes,
        data.preprocessing,
        DERIVED if arch is not None else config.arch,
        asked.pretrained,
    )
    facts = replace(report_facts(trained, folder, hints), seconds={"total": time.monotonic() - started})
    if config.export != "none":  # first: an exporter that ends the process takes no report with it
        pending = {"exports": f"not written yet; {called('export')} {folder.path} writes them"}
        write_report(folder.path, replace(facts, files=pending).to_json() | {PENDING: True})
    exported = export(exportable(trained), config.export, folder.path)
    int8 = None if exported.int8 is None else read(Int8, exported.int8)
    facts = replace(facts, files=exported.files, int8=int8, seconds={"total": time.monotonic() - started})
    write_report(folder.path, facts.to_json())
    print(closing_words(facts, folder.path, trained_cap_notes(config, data, folder.rows(), facts.metrics)))
    print("".join(f"Warning: {line}\n" for line in exported.warnings), end="")


def set_up(options: argparse.Namespace) -> Training:
    """Everything a training needs. Raises UserError for what the user can mend, before anything is written."""
    from supernet.commands.comparison import read_baseline
    from supernet.commands.promise import other_data, priced
    from supernet.commands.setting import TEACHER_WEIGHTS, check, open_run, read_data, teacher_weights, use_machine
    from supernet.commands.trained import Training
    from supernet.costs.latency import load_table
    from supernet.objective import class_weights
    from supernet.pretrained import INHERITED_WEIGHTS, Pretrained, find_weights, load_weights, read_weights
    from supernet.refit import check_coverage, linear_classifier
    from supernet.spaces import SIZED
    from supernet.spaces.architecture import Architecture
    from supernet.teacher import check_classes, check_input, read_teacher

    config, given = open_run(options, "train", TrainConfig)
    if not config.arch:
        raise UserError("--arch is needed: a derived.json (or its run folder), or a timm model's name.")
    arch_file = find_architecture(config)
    arch = None if arch_file is None else Architecture.load(arch_file)
    if arch is not None:
        config = inherit(config, arch, given, quick=options.quick)
        check(config)
    check_effect(config, given)
    if arch is None and "device" in given:
        load_table(config.device)  # a wrong name is said now
    notes: list[str] = []
    if arch is not None:
        arch, notes = priced(config, arch, given)
    device = use_machine(config)
    data = read_data(config, arch.input.size if arch is not None else config.resolution or _space_resolution(config))
    config = with_epochs(config, len(data.train))
    class_weights(config, data, data.train)  # says now whether it has an effect
    baseline = None if config.baseline is None else read_baseline(config.baseline, data)
    weights = None if config.pretrained is None else find_weights(config.pretrained, config.arch)
    if weights is not None:
        data = replace(data, preprocessing=weights.preprocessing(data.preprocessing))
    if arch is not None and arch.space in SIZED:  # trained weights keep the scale that they are used to
        data = replace(data, preprocessing=replace(data.preprocessing, mean=arch.input.mean, std=arch.input.std))
    network = build(config, arch, data)
    inherited = (
        None
        if arch is None or arch_file is None or config.from_scratch
        else inherited_weights(config, arch_file, arch.weights_sha256)
    )
    if arch is not None and inherited is not None:
        state, digest = read_weights(inherited)
        load_weights(network, Pretrained(state, arch.input.mean, arch.input.std, str(inherited), None, digest))
        config = tuned(config, given)
        notes.append("Begun with the weights that the search left, which are the teacher's (--from-scratch: without).")
    teacher = None
    if config.teacher is not None and not config.from_scratch:
        teacher = read_teacher(config.teacher)
        check_classes(teacher, data.classes, data.channels)
        check_input(teacher, data.preprocessing)
        if "smoothing" in given:
            raise UserError("--smoothing has no effect on a teacher's outputs, which are learned in place of the labels: leave it out.")  # fmt: skip
        notes.append(f"The teacher's outputs are learned, in place of the labels: {config.teacher}.")
    if weights is not None:
        anew = load_weights(network, weights)
        notes.append(f"Begun with trained weights: {weights.source}; anew: {', '.join(anew) or 'nothing'}.")
    notes += [*data.notes, *([] if arch is None else other_data(config, arch, data.fingerprint))]
    if config.refit_classifier:
        linear_classifier(network)  # now rather than after the training
        check_coverage(data, data.val)
    inputs = {} if arch_file is None else {"derived.json": arch_file}
    if inherited is not None:
        inputs[INHERITED_WEIGHTS] = inherited
    if teacher is not None and config.teacher is not None:
        inputs[TEACHER_WEIGHTS] = teacher_weights(config.resume, config.teacher)
    return Training(
        config,
        arch,
        data,
        network,
        device,
        inputs,
        baseline,
        notes,
        None if weights is None else weights.facts(),
        teacher,
    )


def inherited_weights(config: TrainConfig, arch_file: Path, digest: str | None) -> Path | None:
    """The weights that the search left beside derived.json, of a resumed run its own copy.

    Raises UserError where they are not those of which derived.json states the SHA-256.
    """
    from supernet.engine.claim import read_content, run_input, sha256
    from supernet.pretrained import INHERITED_WEIGHTS

    path = arch_file.parent / INHERITED_WEIGHTS
    if config.resume is None:
        if digest is not None and (not path.is_file() or sha256(path) != digest):
            what = "is not what the search left there" if path.is_file() else "is missing: the search left it there"
            raise UserError(f"{path} {what}. Restore it beside derived.json, or train with --from-scratch.")
        return path if path.exists() else None
    if INHERITED_WEIGHTS not in read_content(Path(config.resume))["inputs"]:
        return None
    return run_input(config.resume, INHERITED_WEIGHTS, path)


def tuned(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """The options of a training that begins with trained weights, where the user left them open."""
    usual = {"lr": 1e-3, "layer_decay": 1.0, "head_steps": 0, "augmentation": "trivial"}
    open_ones: dict[str, Any] = {
        name: value for name, value in usual.items() if name not in given and config.resume is None
    }
    return replace(config, **open_ones)


def find_architecture(config: TrainConfig) -> Path | None:
    """The derived.json to train, of a resumed run its own copy; None for a timm model."""
    from supernet.engine.claim import read_content, run_input

    path = Path(config.arch)
    path = path / "derived.json" if path.is_dir() else path
    if config.resume is None:
        return path if is_file(config.arch) else None
    if "derived.json" not in read_content(Path(config.resume))["inputs"]:
        return None
    return run_input(config.resume, "derived.json", path)


def _space_resolution(config: TrainConfig) -> int:
    from supernet.spaces import get_space

    return get_space(config.space).resolution


def inherit(config: TrainConfig, arch: Architecture, given: Collection[str], quick: bool) -> TrainConfig:
    """The data, device and fairness options that the user left open (are not `given`), as the search had them.

    A weight given to `train`, or a method without a penalty, takes the place of the search's cap: else the cap would win.
    Raises UserError where --space names another space than the file does.
    """
    from supernet.fairness import METHODS, parse_methods

    if config.resume is not None:  # the run's own options were filled in when it began
        return config
    if "space" in given and config.space != arch.space:
        raise UserError(f"--space {config.space}: {config.arch} is an architecture of {arch.space}: leave --space out.")
    searched = {name: arch.config[name] for name in INHERITED if name in arch.config and name not in given}
    check_values(TrainConfig, searched, f"{config.arch}: config")
    methods = parse_methods(
        config.fairness_method
        if "fairness_method" in given
        else searched.get("fairness_method", config.fairness_method)
    )
    if "fairness_weight" in given or not any(METHODS[name].penalty for name in methods):
        searched.pop("max_gap", None)
    if quick:
        searched.pop("max_train", None)
    return replace(config, **searched, space=arch.space)


def build(config: TrainConfig, arch: Architecture | None, data: GroupedData) -> nn.Module:
    """The network with fresh weights. Raises UserError if the data does not fit the architecture."""
    import torch

    from supernet.models import create_network
    from supernet.network import build_network

    torch.manual_seed(config.seed)
    if arch is None:
        return create_network(config.arch, data.classes, data.preprocessing, config.drop, config.drop_path)
    if arch.input.channels != data.channels:
        kinds = {1: "grey", 3: "colour"}
        found = f" ({data.first_colour})" if data.first_colour is not None and data.channels == 3 else ""
        raise UserError(
            f"{config.arch} was searched for {kinds[arch.input.channels]} pictures, and {data.name} has pictures in "
            f"{kinds[data.channels]}{found}: --channels {arch.input.channels} reads all in {kinds[arch.input.channels]}."
        )
    if arch.classes != data.classes:
        same = set(arch.classes) == set(data.classes)
        raise UserError(
            f"{config.arch} was searched with {arch.classes[1]} as the positive class: --positive {arch.classes[1]}, or search again."
            if same
            else f"{config.arch} was searched for {len(arch.classes)} classes, {class_names(arch.classes)}; {data.name} has "
            f"{len(data.classes)}, {class_names(data.classes)}."
        )
    return build_network(arch, config.drop, config.drop_path)


def class_names(classes: Sequence[str], most: int = 5) -> str:
    """The first few, for a message."""
    return ", ".join(classes[:most]) + (" …" if len(classes) > most else "")
