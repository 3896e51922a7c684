"""`supernet train`: derived.json + data → a trained timm model, its fairness report and exports."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from supernet.command_line import add_options, to_file
from supernet.config import TrainConfig
from supernet.errors import UserError
from supernet.program import Help, called, examples

EPILOG = """\
--data, --task, --fairness and --fairness-method: as in search. What is not given is taken from derived.json's search.

examples:
  supernet train --arch runs/search-rpi4-1/derived.json
      trains what the search found, on the search's data; after search --teacher from the weights that it left
  supernet train --arch runs/search-rpi4-1/derived.json --group-mix student=0.05 --fairness-method gap --fairness-weight 0
      a biased training set, and plain training
  supernet train --arch mobilenetv2_050
      a baseline: any timm model through the very same path
  supernet train --arch runs/search-rpi4-1/derived.json --fairness-method minimax --baseline runs/train-rpi4-1
      another way to be fair, compared with the first run image by image
  supernet train --arch runs/search-rpi4-1/derived.json --refit-classifier
      students were rare in training, but not in search-val: the classifier learns from them too (deep feature reweighting)
  supernet train --arch runs/search-rpi4-1/derived.json --corruptions
      also under noise, blur, weather and compression: accuracy and gaps by group of 1,000 test images, corrupted in 75 ways
  supernet train --arch runs/search-rpi4-1/derived.json --train-on-val
      the final network, once everything is decided: search-val's images are trained on as well
  supernet train --arch runs/search-rpi4-1/derived.json --exits 2
      easy pictures leave early: expected latency and who gains, in the report
  torchrun --nproc-per-node 2 -m supernet train --arch runs/search-rpi4-1/derived.json
      on two GPUs (or CPUs): each step's batch is shared out
  supernet train --resume runs/train-rpi4-1
      go on where an interrupted run stopped

The run folder then holds model.safetensors and model.json (for timm.create_model), model.onnx and model-int8.onnx (each
checked against the trained model). Accuracy and gaps by group, with intervals, are in report.html, report.json and
model_card.md. A later --baseline reads predictions.npz. A copy of derived.json, metrics.jsonl, config.json and checkpoint.pt
are there, too. With --exits: exits.safetensors, and model-part1.onnx, model-part2.onnx and so on.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "train",
        help="train a derived architecture",
        description="Trains an architecture on search-train, from scratch or from trained weights, validates on search-val after each\n"
        "epoch, and measures accuracy and fairness on test. What is not given is taken from derived.json's search.",
        epilog=examples(EPILOG),
        formatter_class=Help,
    )
    add_options(parser, TrainConfig)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The story of the command."""
    from supernet.commands.anytime import anytime_facts
    from supernet.commands.cap import trained_cap_notes
    from supernet.commands.dense_train import dense_task
    from supernet.commands.dense_train import train as train_dense
    from supernet.commands.exports import export
    from supernet.commands.tracked import figures
    from supernet.commands.trained import closing_words, exportable, finish, report_facts
    from supernet.commands.training import set_up
    from supernet.commands.under_corruptions import start_words
    from supernet.engine.claim import PENDING
    from supernet.engine.quantised_training import train_for_int8
    from supernet.engine.retraining import train_network
    from supernet.engine.runs import RunFolder
    from supernet.engine.stopping import Interrupted
    from supernet.exits import detach
    from supernet.models import DERIVED, save_model
    from supernet.report import write_report
    from supernet.report.facts import Int8, read

    dense = dense_task(options)
    if dense is not None:
        train_dense(options, dense)
        return
    started = time.monotonic()
    asked = set_up(options)
    config, arch, data = asked.config, asked.arch, asked.data
    corruptions = start_words(config, data)
    folder = RunFolder.open(config, "train", data.fingerprint, asked.inputs)
    config = replace(config, resume=None)  # what a resumed run leaves is what one call leaves
    if folder.writes:
        again = folder.save_options("train", to_file(config, () if config.teacher is None else ("smoothing",)))
        print("\n".join((*asked.notes, *folder.notes, *corruptions, folder.words(), again)), flush=True)
    try:
        network = train_network(config, data, asked.network, folder, asked.device, asked.teacher)
        network = train_for_int8(config, data, network, folder, asked.device, asked.teacher)
    except Interrupted as interrupted:
        raise UserError(f"{interrupted}. Go on with: {called('train', '--resume', folder.path)}") from None
    if not folder.writes:
        return
    trained = asked._replace(config=config, exits=detach(network), network=network)
    hints = finish(trained, folder)
    name = DERIVED if arch is not None else config.arch
    save_model(folder.path, network, data.classes, data.preprocessing, name, asked.pretrained)
    facts = report_facts(trained, folder, hints)
    if trained.exits is not None:
        trained.exits.save(folder.path)
        facts = replace(facts, anytime=anytime_facts(trained, trained.exits, facts))
    facts = replace(facts, seconds={"total": time.monotonic() - started})
    if config.export != "none":  # first: an exporter that ends the process takes no report with it
        pending = {"exports": f"not written yet; {called('export', folder.path)} writes them"}
        write_report(folder.path, replace(facts, files=pending).to_json() | {PENDING: True})
    exported = export(exportable(trained), config.export, folder.path)
    int8 = {key: read(Int8, told) for key, told in exported.int8.items()}
    facts = replace(facts, files=exported.files, int8=int8.get("int8"), litert_int8=int8.get("litert_int8"), seconds={"total": time.monotonic() - started})  # fmt: skip
    write_report(folder.path, facts.to_json())
    folder.finish(figures(facts))
    print(closing_words(facts, folder.path, trained_cap_notes(config, data, folder.rows(), facts.metrics)))
    print("".join(f"Warning: {line}\n" for line in exported.warnings), end="")
