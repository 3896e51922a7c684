"""predictions.csv of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latency_luts.sheets import csv_text
from supernet.data.grouped import UNKNOWN, ImageFile
from supernet.data.labelled import Labelled
from supernet.prediction import Classifier


def predictions_table(classifier: Classifier, labelled: Labelled, prob_NC: np.ndarray) -> str:
    """CSV: file, label as it is, predicted class, its probability, each group, and the probability of each class."""
    part, attributes = labelled.part, labelled.attributes
    rows: list[list[str]] = [
        ["file", "label", "predicted", "probability", *attributes, *(f"probability {n}" for n in classifier.classes)]
    ]
    for number, (image, prob_C) in enumerate(zip(part.images, prob_NC, strict=True)):
        groups = [
            "unknown" if code == UNKNOWN else names[code]
            for names, code in zip(attributes.values(), part.group_NA[number], strict=True)
        ]
        best = int(prob_C.argmax())
        file = Path(image.path).name if isinstance(image, ImageFile) else str(number)
        told = [file, classifier.classes[part.label_N[number]], classifier.classes[best], f"{prob_C[best]:.6f}"]
        rows.append([*told, *groups, *(f"{value:.6f}" for value in prob_C)])
    return csv_text(rows)
