"""`supernet export RUN`: the files for a device's runtime of a finished training, at any later time."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.config import TrainConfig
from supernet.errors import UserError, nearest
from supernet.options import check_values
from supernet.program import Help
from supernet.schema import read_json

if TYPE_CHECKING:
    from supernet.commands.exports import Exported
    from supernet.data import GroupedData
    from supernet.models import SavedModel

EPILOG = """\
examples:
  supernet export runs/train-rpi4-1
      model.onnx and model-int8.onnx
  supernet export runs/train-rpi4-1 --format litert-int8
      model-int8.tflite for a microcontroller, and model.tflite (pip install 'supernet[litert]')

The run's report and model card then tell of the new files. int8 needs the data that the run was trained on.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "export",
        help="write a trained model's files for a device's runtime",
        description="Writes a trained model as files for a device's runtime, as `supernet train` does at its end.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a train run")
    parser.add_argument(
        "--format",
        help="any of onnx, int8, litert, litert-int8, executorch, joined by commas (default: onnx,int8; onnx of a picture task)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Reads the run, exports, updates its report. Raises UserError where a file could not be written."""
    from supernet.commands.dense_tasks import TASKS
    from supernet.commands.exports import FILES, require_exporters
    from supernet.engine.claim import claimed

    formats = options.format or "onnx,int8"
    for kind in map(str.strip, formats.split(",")):
        if kind not in FILES:
            raise UserError(f'--format: unknown format "{kind}".{nearest(kind, FILES)}')
    require_exporters(formats)
    config = run_config(options.folder)
    dense = TASKS.get(config.task)
    with claimed(options.folder):  # not while the run itself, or another export, writes there
        if dense:
            from supernet.commands.dense_train import export_again

            export_again(options.folder, replace(config, export=options.format or "onnx"), dense)
        else:
            export_classifier(options.folder, config, formats)


def export_classifier(folder: Path, config: TrainConfig, formats: str) -> None:
    """The files of a finished training, told in its report. Raises UserError where one could not be written."""
    from supernet.commands.exports import Exportable, export
    from supernet.exits import read_exits
    from supernet.export import onnx_metadata
    from supernet.models import read_model

    model = read_model(folder / "model.json")
    metadata = onnx_metadata(model.spec, model.classes, model.arch, config.budget_ms)
    exits = read_exits(folder, model.network, model.spec.channels, model.spec.size)
    found = Exportable(model.network, model.spec, metadata, config.fairness, lambda: same_data(folder, config, model), exits)  # fmt: skip
    exported = export(found, formats, folder)
    for name, told in exported.files.items():
        print(f"{folder / name}: {told}")
    print("".join(f"Warning: {line}\n" for line in exported.warnings), end="")
    update_report(folder, exported)
    if exported.failed:
        raise UserError(f"{', '.join(exported.failed)} could not be written, for the reason above.")


def run_config(folder: Path) -> TrainConfig:
    """A train run's options; those that its version did not have are as by default. Raises UserError if it is none."""
    from supernet.engine.claim import config_file

    file = config_file(folder)
    if not file.is_file():
        what = "is no run folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {what}: give the folder of a finished train run.")
    content = read_json(file, "run config", {"type": "object"})
    if content.get("command") != "train":
        raise UserError(f"{folder} is not a run of train.")
    options = {item.name: content[item.name] for item in fields(TrainConfig) if item.name in content}
    check_values(TrainConfig, options, str(file))
    return TrainConfig(**{**options, "resume": None})


def same_data(folder: Path, config: TrainConfig, model: SavedModel) -> GroupedData:
    """The data that the run in this folder was trained on, as the model is shown it. Raises UserError where it has changed since.

    The mean and std that it is shown at may be those of the weights that the run began with, so the data is known by its fingerprint.
    """
    from supernet.commands.setting import read_data
    from supernet.engine.claim import config_file

    data = read_data(config, model.spec.size)
    told = read_json(config_file(folder), "run config", {"type": "object"}).get("fingerprint")
    same = data.fingerprint == told or (data.mean, data.std) == (model.spec.mean, model.spec.std)
    if data.classes != model.classes or not same:
        raise UserError(f"the data {config.data} is no longer what the model was trained on: put it back")
    return replace(data, preprocessing=model.spec)


def update_report(folder: Path, exported: Exported) -> None:
    """Tells of the new files in report.json, report.html and model_card.md, if there are any."""
    from supernet.engine.claim import PENDING
    from supernet.report import write_report

    if not (folder / "report.json").is_file():
        return
    content = read_json(folder / "report.json", "report", {"type": "object"})
    if content.pop(PENDING, False):
        content["files"] = {}
    before = content.get("files")
    content["files"] = {**(before if isinstance(before, dict) else {}), **exported.files}
    content |= exported.int8
    try:
        write_report(folder, content)
    except Exception as error:  # facts that another version's pages do not show alike
        print(f"Warning: the report in {folder} stays as it was: another version wrote it ({type(error).__name__}).")
