"""`supernet evaluate`: a finished model on pictures with labels and groups → the figures of the test split, for these."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.command_line import ranged
from supernet.errors import UserError
from supernet.program import Help
from supernet.schema import printable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from supernet.data.grouped import ImageFile
    from supernet.data.labelled import Labelled
    from supernet.prediction import Classifier
    from supernet.report.facts import Evaluated, EvaluateFacts

EPILOG = """\
examples:
  supernet evaluate --model runs/train-rpi4-1 --data hospital2/ --group-cols sex,age --out runs/hospital2
  supernet evaluate --model runs/train-rpi4-1/model-int8.onnx --data hospital2/ --out runs/hospital2-int8

Columns and fairness are as in training where they are not given (the run's config.json stands beside the model). The test split
is evaluated, or all rows where the data has no splits. A picture that the model was trained on is an error.
The folder then holds: report.html, report.json (accuracy and gaps by group with intervals) and predictions.csv.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the console script."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a trained model on labelled pictures",
        description="Measures accuracy and fairness of a finished model on other pictures with labels and groups, as a training does on test.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--model", required=True, type=Path, help="folder of a train run, or an .onnx or .tflite file")
    parser.add_argument("--data", required=True, help="as in train: a folder, a CSV file, or a data set's name")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--split", choices=("train", "val", "test"), help="default: test, or all of data without splits")  # fmt: skip
    for name, what in (("label", "the label"), ("file", "the file name"), ("cluster", "what belongs together")):
        parser.add_argument(f"--{name}-col", metavar="COL", help=f"column that holds {what} (default: as in training)")
    parser.add_argument("--group-cols", metavar="COLS", help="columns of the groups, joined by commas (default: as in training; \"\": none)")  # fmt: skip
    parser.add_argument("--intersections", action=argparse.BooleanOptionalAction, help="combinations of the attributes count as one more attribute (default: as in training)")  # fmt: skip
    parser.add_argument("--fairness", metavar="NOTION", help="the notion of fairness (default: as in training)")
    parser.add_argument("--no-images", action="store_true", help="no pictures of mistakes in the report: for private data")  # fmt: skip
    parser.add_argument("--allow-duplicates", action="store_true", help="accept pictures that the model was trained on, with a note")  # fmt: skip
    parser.add_argument("--bootstrap", type=ranged(int, "[0, 1000000]"), default=1000, metavar="N", help="bootstrap draws; 0: no intervals (default: 1000)")  # fmt: skip
    parser.add_argument("--corruptions", type=ranged(int, "[10, 1000000000]"), nargs="?", const=1000, metavar="N", help="on corrupted pictures, too (15 kinds, 5 severities): 1,000 of them, or N")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Predicts, measures, writes. Raises UserError for what the user can mend."""
    from latency_luts.files import write_whole
    from supernet.report import write_report

    if options.out.exists():
        raise UserError(f"{options.out} is there already: choose another --out.")
    facts, table = evaluate(options)
    options.out.mkdir(parents=True)
    write_whole(options.out / "predictions.csv", table.encode())
    write_report(options.out, facts.to_json())
    print(closing_words(facts, options.out))


def evaluate(options: argparse.Namespace) -> tuple[EvaluateFacts, str]:
    """(what report.json holds, predictions.csv)."""
    import numpy as np

    from supernet.commands.as_trained import columns_of, completed, fit_intersections, fit_notion, of_training
    from supernet.commands.look import closer_facts
    from supernet.commands.predictions_table import predictions_table
    from supernet.commands.seen import repeat_notes
    from supernet.commands.under_corruptions import drawn_pictures, of_model
    from supernet.commands.without_groups import notions_of
    from supernet.data.intersections import joined
    from supernet.data.labelled import read_labelled
    from supernet.engine.circumstances import circumstances
    from supernet.fairness import get_notion
    from supernet.metrics import evaluate_predictions
    from supernet.prediction import load_classifier
    from supernet.report.facts import EvaluateFacts, Metrics, read

    home = options.model if options.model.is_dir() else options.model.parent
    trained = of_training(home)
    asked = completed(options, trained)
    get_notion(asked["fairness"])
    classifier = load_classifier(options.model)
    labelled = read_labelled(options.data, columns_of(asked), classifier.classes, options.split)
    attributes, group_NA, notes = labelled.attributes, labelled.part.group_NA, list(labelled.source.notes)
    notes += fit_notion(asked, options.fairness is not None, labelled.source.by_class)
    notes += fit_intersections(asked, options.intersections is not None, attributes)
    if asked["intersections"]:
        attributes, groups_by_split, told = joined(attributes, {labelled.split: group_NA})
        group_NA, notes = groups_by_split[labelled.split], [*notes, *told]
    chosen = drawn_pictures(labelled, group_NA, options.corruptions)
    mark_N = np.zeros(len(labelled.part), np.uint64)
    prob_NC = _probabilities(classifier, labelled, mark_N, notes)
    notes += repeat_notes(labelled, mark_N, home, trained, options.allow_duplicates)
    metrics = read(Metrics, evaluate_predictions(
        prob_NC, labelled.part.label_N, group_NA, classifier.classes, attributes,
        cluster=labelled.part.cluster_N, n_boot=options.bootstrap,
        notions=notions_of(asked["fairness"], labelled.source.by_class),
    ))  # fmt: skip
    spec = classifier.spec

    def pixels(position: int) -> np.ndarray:
        return spec.pixels(_picture(classifier, labelled.part.images[position]))

    facts = EvaluateFacts(
        command="evaluate",
        name=printable(options.out.resolve().name),
        asked=asked,
        notes=notes,
        data=data_facts(labelled, classifier, attributes, chosen=trained.get("positive") is not None),
        preprocessing=spec.metadata() | {"words": spec.words()},
        metrics=metrics,
        corruptions=of_model(classifier, labelled, (attributes, group_NA), asked["fairness"], chosen, pixels),
        closer=closer_facts(
            prob_NC, labelled.part.label_N, group_NA, metrics, attributes, None if options.no_images else pixels
        ),
        **circumstances(),
    )
    return facts, predictions_table(classifier, labelled, prob_NC)


def data_facts(
    labelled: Labelled, classifier: Classifier, attributes: dict[str, tuple[str, ...]], chosen: bool
) -> Evaluated:
    """What the pictures are; `chosen`: the training was told which class is the positive one."""
    from supernet.report.facts import Evaluated

    return Evaluated(
        name=labelled.source.name,
        split=labelled.split,
        classes=classifier.classes,
        groups=attributes,
        by_class=labelled.source.by_class,
        positive=classifier.classes[1] if chosen else None,
    )


def _probabilities(classifier: Classifier, labelled: Labelled, mark_N: np.ndarray, notes: list[str]) -> np.ndarray:
    """(N, C); each picture's mark is written into mark_N, a line on colour for a grey model into `notes`.

    Raises UserError that names the row of an unreadable one.
    """
    import numpy as np

    from supernet.bars import bar
    from supernet.data.decode import mark
    from supernet.data.grouped import ImageFile
    from supernet.prediction import colour_words

    strange: list[str] = []

    def opened() -> Iterator[Image.Image]:
        for number, image in enumerate(labelled.part.images):
            picture = _picture(classifier, image)
            if isinstance(image, ImageFile):
                mark_N[number] = mark(picture)
                strange.extend([image.row] * classifier.is_strange(picture))
            yield picture

    found = bar(classifier.predict(opened()), desc="evaluate", total=len(labelled.part), leave=False)
    prob_NC = np.stack([prob_C for prob_C in found if not isinstance(prob_C, UserError)])
    notes += filter(None, [colour_words(strange, len(prob_NC))])
    return prob_NC


def _picture(classifier: Classifier, image: ImageFile | np.ndarray) -> Image.Image:
    """Raises UserError that names the row where it cannot be read."""
    from PIL import Image

    from supernet.data.decode import named
    from supernet.data.grouped import ImageFile

    if not isinstance(image, ImageFile):
        return Image.fromarray(image)
    with named(image):
        return classifier.opened(image.path)


def closing_words(facts: EvaluateFacts, folder: Path) -> str:
    """What the terminal shows at the end."""
    from supernet.report.corruptions import corruption_words
    from supernet.report.terminal import metric_lines

    notes = [f"Note: {note}" for note in facts.notes]
    lines = metric_lines("Accuracy", facts.metrics, facts.data, facts.asked["fairness"])
    lines += corruption_words(facts.corruptions, facts.asked["fairness"]) if facts.corruptions else []
    return "\n".join([*notes, *lines, f"Report: {folder / 'report.html'}"])
