"""A closer look at predictions by group: how far confidence can be trusted, what a threshold does, and the surest mistakes.

Shapes: N samples, C classes, A attributes, K pixels' channels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_curve

from supernet.intervals import TOO_FEW

BINS, MOST_POINTS = 10, 60
MOST_PICTURES, MOST_BYTES, SIDE = (
    12,
    60_000,
    96,
)  # pictures of an attribute, bytes of all of them together, pixels a side
Groups = Mapping[str, Sequence[str]]


def closer(prob_NC: np.ndarray, label_N: np.ndarray, group_NA: np.ndarray, classes: Sequence[str], attributes: Groups) -> dict[str, Any]:  # fmt: skip
    """By attribute and group: `reliability`, and of two classes `roc`. Groups of fewer than ten such images are left out."""
    by_group = {
        attribute: {name: group_NA[:, column] == code for code, name in enumerate(names)}
        for column, (attribute, names) in enumerate(attributes.items())
    }

    def each(found: Callable[[np.ndarray], Any]) -> dict[str, dict[str, Any]]:
        told = {a: {name: found(own_N) for name, own_N in groups.items()} for a, groups in by_group.items()}
        return {a: {name: value for name, value in groups.items() if value} for a, groups in told.items()}

    return {
        "reliability": each(lambda own_N: reliability(prob_NC[own_N], label_N[own_N])),
        "roc": each(lambda own_N: roc(prob_NC[own_N, 1], label_N[own_N] == 1)) if len(classes) == 2 else {},
    }


def reliability(prob_NC: np.ndarray, label_N: np.ndarray) -> list[dict[str, float]]:
    """Of ten equal ranges of confidence those with ten images or more: mean confidence, accuracy, images."""
    confidence_N = prob_NC.max(axis=1) if len(prob_NC) else np.zeros(0)
    right_N = prob_NC.argmax(axis=1) == label_N if len(prob_NC) else np.zeros(0, bool)
    bin_N = np.minimum((confidence_N * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        own_N = bin_N == number
        if own_N.sum() >= TOO_FEW:
            found.append({"confidence": float(confidence_N[own_N].mean()), "accuracy": float(right_N[own_N].mean()), "images": int(own_N.sum())})  # fmt: skip
    return found


def roc(score_N: np.ndarray, positive_N: np.ndarray) -> dict[str, Any] | None:
    """Points (false-positive rate, true-positive rate) of every threshold, and where 0.5 is; None of fewer than ten of either class."""
    if min(positive_N.sum(), (~positive_N).sum()) < TOO_FEW:
        return None
    false_T, true_T, _ = roc_curve(positive_N, score_N)
    keep = np.unique(np.linspace(0, len(false_T) - 1, MOST_POINTS).round().astype(int))
    called_N = score_N > 0.5  # as the larger of two probabilities
    return {
        "points": [[float(false_T[k]), float(true_T[k])] for k in keep],
        "at_half": [float(called_N[~positive_N].mean()), float(called_N[positive_N].mean())],
        "positive": int(positive_N.sum()),
        "negative": int((~positive_N).sum()),
    }


def surest_mistakes(prob_NC: np.ndarray, label_N: np.ndarray, group_N: np.ndarray, group: int) -> np.ndarray:
    """Positions of wrong images of the group: those of its class of lowest recall first, the surest first; at most twelve."""
    predicted_N = prob_NC.argmax(axis=1)
    own_N = group_N == group
    wrong_N = own_N & (predicted_N != label_N)
    if not wrong_N.any():
        return np.zeros(0, np.int64)
    counts_C = np.bincount(label_N[own_N], minlength=prob_NC.shape[1])
    lost_C = np.bincount(label_N[wrong_N], minlength=prob_NC.shape[1])
    worst = int(np.argmax(np.where(counts_C >= min(TOO_FEW, counts_C.max()), lost_C / np.maximum(counts_C, 1), -1.0)))
    position_M = np.flatnonzero(wrong_N)
    order = np.lexsort((-prob_NC.max(axis=1)[position_M], label_N[position_M] != worst))
    return position_M[order][:MOST_PICTURES]


def thumbnail(pixels_KHW: np.ndarray) -> str:
    """uint8 pixels as a data URI, at most 96 pixels a side: a JPEG, which holds no more of the file than its pixels."""
    channels = pixels_KHW.shape[0]
    picture = Image.fromarray(pixels_KHW[0] if channels == 1 else pixels_KHW.transpose(1, 2, 0))
    if picture.width > SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"


def mistakes(prob_NC: np.ndarray, label_N: np.ndarray, group_NA: np.ndarray, classes: Sequence[str], worst: Iterable[tuple[int, str, int, str]], pixels: Callable[[int], np.ndarray]) -> list[dict[str, Any]]:  # fmt: skip
    """Pictures of the surest mistakes. `worst`: (column, attribute, group, its name); `pixels`: position → (K, H, W) uint8."""
    found, room = [], MOST_BYTES
    for column, attribute, group, name in worst:
        shown = []
        for position in surest_mistakes(prob_NC, label_N, group_NA[:, column], group).tolist():
            source = thumbnail(pixels(position))
            room -= len(source)
            if room < 0:
                break
            taken = int(prob_NC[position].argmax())
            shown.append({"src": source, "true": classes[label_N[position]], "predicted": classes[taken], "probability": float(prob_NC[position, taken])})  # fmt: skip
        found.append({"attribute": attribute, "group": name, "images": shown})
    return [own for own in found if own["images"]]
