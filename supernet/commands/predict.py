"""`supernet predict`: a trained model on pictures without labels → a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path

from supernet.errors import UserError
from supernet.program import Help

EPILOG = """\
examples:
  supernet predict --model runs/train-rpi4-1 --data photos/ --out predictions.csv
  supernet predict --model runs/train-rpi4-1/model-int8.onnx --data photos.csv --out predictions.csv --all-classes

Pictures are prepared as in training. A run folder is run by torch, an .onnx file by onnxruntime, a .tflite file by LiteRT. A picture that cannot be read
is named, and its row stays empty; the exit code is then 2. With labels: supernet evaluate.
"""
NAMED = 3  # files in a message


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "predict",
        help="classify a folder of pictures with a trained model",
        description="Classifies pictures without labels. The table has the columns file, label and probability.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--model", required=True, type=Path, help="folder of a train run, or an .onnx or .tflite file")
    parser.add_argument(
        "--data", required=True, help="folder of pictures (with those below it), a CSV file, or one picture"
    )
    parser.add_argument("--file-col", metavar="COL", help="a CSV file's column with the file names (default: file_name)")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="CSV file to write")
    parser.add_argument("--all-classes", action="store_true", help="a column with the probability of each class, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Raises UserError where nothing could be read."""
    from latency_luts.files import write_whole
    from supernet.prediction import colour_words, find_pictures, load_classifier, predict_all

    if options.out.exists():
        raise UserError(f"{options.out} is there already: choose another --out.")
    pictures = find_pictures(options.data, options.file_col)
    found = predict_all(load_classifier(options.model), pictures)
    write_whole(options.out, found.csv(options.all_classes).encode())
    lost = sum(name in found.unreadable for name in found.names)
    print(f"{options.out}: {len(pictures) - lost:,} pictures")
    if told := colour_words(found.strange, len(pictures)):
        print(f"Note: {told}")
    for line in list(found.unreadable.values())[:NAMED]:
        print(f"Warning: no prediction: {line}")
    if len(found.unreadable) > NAMED:
        print(f"Warning: no prediction for {len(found.unreadable) - NAMED:,} more; their rows are empty.")
    if lost:
        raise UserError(f"{lost:,} of {len(pictures):,} pictures could not be read. The others' rows in {options.out} are right.")  # fmt: skip
