"""A trained network beside others on the same test images: its own outputs adjusted by group, and an earlier run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.files import write_whole
from supernet.arrays import read_npz
from supernet.config import TrainConfig
from supernet.data import UNKNOWN, GroupedData
from supernet.errors import UserError
from supernet.fairness import get_notion
from supernet.metrics import evaluate_predictions
from supernet.paired import paired_differences
from supernet.postprocessing import FEWEST, adjust_by_group
from supernet.report.facts import (  # fmt: skip
    Adjusted,
    Compared,
    Comparison,
    Difference,
    Metrics,
    OtherAttribute,
    TeacherComparison,
    Verdict,
    read,
)
from supernet.report.words import not_worse, number_name

FILE, NAMED = "predictions.npz", 5


def postprocess(
    config: TrainConfig, data: GroupedData, val_prob_VC: np.ndarray, prob_NC: np.ndarray
) -> tuple[dict[str, Adjusted], dict[str, np.ndarray]]:
    """By attribute: what the report says of the outputs adjusted by its groups, and the adjusted probabilities (N, C)."""
    facts: dict[str, Adjusted] = {}
    adjusted: dict[str, np.ndarray] = {}
    if data.by_class:  # an output that knows the class is no output
        return facts, adjusted
    # at a plain run's weight 0 it would be fitted to cross-entropy alone, a baseline of no use; a cap is the training's
    weight = (config.fairness_weight or 1.0) if config.max_gap is None else 1.0
    for a, (attribute, groups) in enumerate(data.attributes.items()):
        found = adjust_by_group(
            val_prob_VC, data.val.label_N, data.val.group_NA[:, a], prob_NC, data.test.group_NA[:, a],
            config.fairness, weight, seed=config.seed,
        )  # fmt: skip
        adjusted[attribute] = found.prob_NC
        figures = _figures(config, data, found.prob_NC)
        _, against = _paired(config, data, found.prob_NC, prob_NC)
        each = {name: OtherAttribute(**figures[name], against_as_trained=against[name]) for name in figures}
        facts[attribute] = Adjusted(
            method=found.method + kept_words(found.kept, groups, data.classes),
            **vars(each.pop(attribute)),
            others=each,
            warnings=trade_warnings(against, number_name(config.fairness), "as trained"),
        )
    return facts, adjusted


def kept_words(kept: Sequence[tuple[int, int]], groups: Sequence[str], classes: Sequence[str]) -> str:
    """What was left as it was trained, by name; "" if nothing was."""
    if not kept:
        return ""
    told = ", ".join(f'"{classes[k]}" with group "{groups[g]}"' for g, k in kept[:NAMED])
    more = f" and {len(kept) - NAMED} more" if len(kept) > NAMED else ""
    return f"; as trained, for fewer than {FEWEST} images in search-val: {told}{more}"


def save_predictions(folder: Path, data: GroupedData, prob_NC: np.ndarray, adjusted: Mapping[str, np.ndarray]) -> None:
    """predictions.npz: what a later run's --baseline reads, with labels and groups so that only like is compared."""
    arrays: dict[str, Any] = {
        f"adjusted_{a}": adjusted[attribute] for a, attribute in enumerate(data.attributes) if attribute in adjusted
    }
    arrays |= {"prob": prob_NC, **tested_images(data)}
    if data.test.cluster_N is not None:
        arrays["cluster"] = data.test.cluster_N
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_whole(folder / FILE, packed.getvalue())


def read_predictions(path: Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of a predictions.npz. Raises UserError, naming `what`, the file and the array, where they are none."""
    arrays = read_npz(path, what)
    for name in ("prob", "label", "group"):
        if name not in arrays:
            raise UserError(f"{what} {path} lacks {name}: it is damaged, or not of a finished training.")
    size, classes, group = arrays["label"].shape[:1], arrays["prob"].shape[1:2], arrays["group"]
    shapes = {"label": size, "cluster": size, "name": size, "group": (*size, *group.shape[1:2])}
    for name, array in arrays.items():
        if array.shape != shapes.get(name, (*size, *classes)):
            raise UserError(f"{what} {path}: {name} has the wrong shape.")
        if array.dtype.kind not in ("iu" if name in shapes else "iuf") or not np.isfinite(array).all():
            raise UserError(f"{what} {path}: {name} is not all finite numbers.")
    label_N = arrays["label"]
    if not len(label_N) or label_N.min() < 0 or (label_N >= classes).any() or group.min(initial=0) < UNKNOWN:
        raise UserError(f"{what} {path}: label or group is out of range.")
    return arrays


def same_images(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two runs were tested on the same images in the same order: by label, group, and name where both tell it."""
    told = [key for key in ("label", "group", "name") if key != "name" or (key in one and key in other)]
    return all(np.array_equal(one[key], other[key]) for key in told)


def read_baseline(folder: str, data: GroupedData) -> dict[str, np.ndarray]:
    """The arrays of an earlier run. Raises UserError if there are none, or if its test images are others."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(f"--baseline {folder}: there is no {FILE}: give the folder of a finished train run.")
    arrays = read_predictions(path, "--baseline")
    if not same_images(arrays, tested_images(data)) or arrays["prob"].shape[1] != len(data.classes):
        raise UserError(
            f"--baseline {folder}: its test images or groups are not those of this run: nothing to compare in pairs."
        )
    return arrays


def tested_images(data: GroupedData) -> dict[str, np.ndarray]:
    """What tells whether two runs were tested on the same images."""
    arrays = {"label": data.test.label_N, "group": data.test.group_NA}
    return arrays if data.test_name_N is None else arrays | {"name": data.test_name_N}


def against_baseline(
    config: TrainConfig, data: GroupedData, prob_NC: np.ndarray, baseline: Mapping[str, np.ndarray]
) -> Comparison:
    """Paired differences, this run − the baseline: as it was trained, and with its outputs adjusted by group."""
    accuracy, as_trained = _paired(config, data, prob_NC, baseline["prob"])
    adjusted = {
        attribute: _paired(config, data, prob_NC, baseline[f"adjusted_{a}"], attribute)[1][attribute]
        for a, attribute in enumerate(data.attributes)
        if f"adjusted_{a}" in baseline
    }
    return Comparison(
        folder=str(config.baseline),
        accuracy=accuracy,
        as_trained=as_trained,
        adjusted=adjusted,
        warnings=trade_warnings(as_trained, number_name(config.fairness), "the baseline's"),
    )


def against_teacher(
    config: TrainConfig, data: GroupedData, prob_NC: np.ndarray, teacher_prob_NC: np.ndarray, teacher_ms: float | None
) -> TeacherComparison:
    """What became of the teacher: its own figures, its predicted latency (ms), and paired differences, this run − the teacher."""
    figures = _figures(config, data, teacher_prob_NC)
    found = against_baseline(config, data, prob_NC, {"prob": teacher_prob_NC})
    return TeacherComparison(
        **vars(replace(found, folder=f"the teacher, {config.teacher}")),
        predicted_ms=teacher_ms,
        accuracy_of_teacher=next(iter(figures.values()))["accuracy"],
        gaps_of_teacher={attribute: own["gap"] for attribute, own in figures.items()},
    )


def trade_warnings(compared: Mapping[str, Compared], number: str, than: str) -> list[str]:
    """A line where one attribute's gap became smaller while another's became larger, both as shown by their intervals.

    A larger gap alone is no warning: of attributes that nothing happened to, every second one has a larger gap by chance.
    `number` is what the gap is called, `than` what it was compared with.
    """
    better = [attribute for attribute, found in compared.items() if found.gap.verdict is Verdict.FIRST]
    worse = {attribute: found.gap for attribute, found in compared.items() if found.gap.verdict is Verdict.SECOND}
    return [
        f"The {number} by {', '.join(better)} became smaller than {than} while that by {attribute} became larger, by "
        f"{gap.value:.4f} [{gap.low:.4f}, {gap.high:.4f}]."
        for attribute, gap in worse.items()
        if better
    ]


def comparison_words(baseline: Comparison, notion: str) -> list[str]:
    """This run beside the baseline, in pairs: accuracy, then a line an attribute; and what became worse."""
    words = {
        Verdict.FIRST: ("higher", "smaller"),
        Verdict.SECOND: ("lower", "larger"),
        Verdict.OPEN: ("a difference is not shown",) * 2,
    }
    told = [("accuracy", baseline.accuracy, 0)]
    told += [
        (f"{number_name(notion)} by {attribute}", found.gap, 1) for attribute, found in baseline.as_trained.items()
    ]
    lines = [
        f"  {name} against {baseline.folder}: {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}], "
        + ", ".join(filter(None, (words[found.verdict][kind], not_worse(found))))
        for name, found, kind in told
        if found.low is not None
    ]
    return lines + [f"Warning: {warning}" for warning in baseline.warnings]


def _figures(config: TrainConfig, data: GroupedData, prob_NC: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of each attribute: accuracy, mean over the groups, worst group, the asked gap, and each group's accuracy."""
    found = read(Metrics, evaluate_predictions(**_arguments(config, data, None), prob_NC=prob_NC))
    return {
        attribute: {
            "accuracy": found.accuracy,
            "mean_group_accuracy": own.mean_group_accuracy,
            "worst_group_accuracy": own.worst_group_accuracy,
            "gap": own.gaps[config.fairness],
            "groups": {name: group.accuracy for name, group in own.groups.items()},
        }
        for attribute, own in found.attributes.items()
    }


def _paired(
    config: TrainConfig, data: GroupedData, a_NC: np.ndarray, b_NC: np.ndarray, only: str | None = None
) -> tuple[Difference, dict[str, Compared]]:
    """(difference of accuracy, of each attribute its figures with the asked gap alone)."""
    found = paired_differences(**_arguments(config, data, only), prob_a_NC=a_NC, prob_b_NC=b_NC)
    attributes = {
        name: read(Compared, own | {"accuracy": found["accuracy"], "gap": own["gaps"][config.fairness]})
        for name, own in found["attributes"].items()
    }
    return read(Difference, found["accuracy"]), attributes


def _arguments(config: TrainConfig, data: GroupedData, only: str | None) -> dict[str, Any]:
    """Of the metrics: the test images with one attribute, or with all."""
    kept = [a for a, name in enumerate(data.attributes) if only in (None, name)]
    return {
        "label_N": data.test.label_N,
        "group_NA": data.test.group_NA[:, kept],
        "classes": data.classes,
        "attributes": {name: groups for name, groups in data.attributes.items() if only in (None, name)},
        "cluster": data.test.cluster_N,
        "n_boot": config.bootstrap,
        "seed": config.seed,
        "margin": config.margin,
        "notions": {config.fairness: get_notion(config.fairness)},
    }
