"""A trained network beside others on the same test images: its own outputs adjusted by group, and an earlier run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from supernet.config import TrainConfig
from supernet.data import GroupedData
from supernet.errors import UserError
from supernet.fairness import get_notion
from supernet.metrics import evaluate_predictions, paired_bootstrap
from supernet.postprocessing import adjust_by_group

FILE = "predictions.npz"
FIGURES = ("accuracy", "balanced_accuracy", "worst_group_accuracy", "gap")


def postprocess(
    config: TrainConfig, data: GroupedData, val_prob_VC: np.ndarray, prob_NC: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """By attribute: what the report says of the outputs adjusted by group, and the adjusted probabilities (N, C)."""
    facts, adjusted = {}, {}
    for a, attribute in enumerate(data.attributes):
        weight = config.fairness_weight if config.max_gap is None else 1.0
        found = adjust_by_group(
            val_prob_VC, data.val.label_N, data.val.group_NA[:, a], prob_NC, data.test.group_NA[:, a],
            config.fairness, weight, config.seed,
        )  # fmt: skip
        adjusted[attribute] = found.prob_NC
        facts[attribute] = {
            "method": found.method,
            **_figures(config, data, attribute, found.prob_NC),
            "against_as_trained": _paired(config, data, found.prob_NC, prob_NC)["attributes"][attribute],
        }
    return facts, adjusted


def save_predictions(folder: Path, data: GroupedData, prob_NC: np.ndarray, adjusted: Mapping[str, np.ndarray]) -> None:
    """predictions.npz: what a later run's --baseline reads, with labels and groups so that only like is compared."""
    arrays = {f"adjusted_{a}": adjusted[attribute] for a, attribute in enumerate(data.attributes)}
    arrays |= {"prob": prob_NC, "label": data.test.label_N, "group": data.test.group_NA}
    np.savez_compressed(folder / FILE, allow_pickle=False, **arrays)


def read_baseline(folder: str, data: GroupedData) -> dict[str, np.ndarray]:
    """The arrays of an earlier run. Raises UserError if there are none, or if its test images are others."""
    path = Path(folder) / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--baseline {folder}: {path} cannot be read: give the folder of a finished train run."
        ) from error
    same = (
        {"prob", "label", "group"} <= set(arrays)
        and np.array_equal(arrays["label"], data.test.label_N)
        and np.array_equal(arrays["group"], data.test.group_NA)
        and arrays["prob"].shape == (len(data.test), len(data.classes))
    )
    if not same:
        raise UserError(
            f"--baseline {folder}: its test images or groups are not those of this run: nothing to compare in pairs."
        )
    return arrays


def against_baseline(
    config: TrainConfig, data: GroupedData, prob_NC: np.ndarray, baseline: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Paired differences, this run − the baseline: as it was trained, and with its outputs adjusted by group."""
    as_trained = _paired(config, data, prob_NC, baseline["prob"])
    adjusted = {
        attribute: _paired(config, data, prob_NC, baseline[f"adjusted_{a}"])["attributes"][attribute]
        for a, attribute in enumerate(data.attributes)
        if f"adjusted_{a}" in baseline
    }
    return {
        "folder": str(config.baseline),
        "accuracy": as_trained["accuracy"],
        "as_trained": as_trained["attributes"],
        "adjusted": adjusted,
        "warnings": trade_warnings(as_trained["attributes"]),
    }


def trade_warnings(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line where one attribute's gap became smaller, as shown by its interval, while another's became larger."""
    better = [attribute for attribute, found in compared.items() if found["gap"]["verdict"] == "A"]
    lines = []
    for attribute, found in compared.items():
        gap = found["gap"]
        if better and gap["value"] is not None and gap["value"] > 0 and gap["verdict"] != "A":
            shown = "" if gap["verdict"] == "B" else " (not shown: the interval spans 0)"
            lines.append(
                f"The gap by {', '.join(better)} became smaller than the baseline's while that by {attribute} became larger, by "
                f"{gap['value']:.4f} [{gap['low']:.4f}, {gap['high']:.4f}]{shown}."
            )
    return lines


def _figures(config: TrainConfig, data: GroupedData, attribute: str, prob_NC: np.ndarray) -> dict[str, Any]:
    found = evaluate_predictions(**_arguments(config, data), prob_NC=prob_NC)
    own = found["attributes"][attribute]
    return {
        "accuracy": found["accuracy"],
        **{name: own[name] for name in ("balanced_accuracy", "worst_group_accuracy")},
        "gap": own["gaps"][config.fairness],
        "groups": {name: group["accuracy"] for name, group in own["groups"].items()},
    }


def _paired(config: TrainConfig, data: GroupedData, a_NC: np.ndarray, b_NC: np.ndarray) -> dict[str, Any]:
    """As paired_bootstrap, with the asked gap alone as "gap" and the accuracy beside the attribute's figures."""
    found = paired_bootstrap(**_arguments(config, data), prob_a_NC=a_NC, prob_b_NC=b_NC)
    attributes = {
        name: {"accuracy": found["accuracy"], "gap": own["gaps"][config.fairness]}
        | {key: own[key] for key in ("balanced_accuracy", "worst_group_accuracy")}
        for name, own in found["attributes"].items()
    }
    return {"accuracy": found["accuracy"], "attributes": attributes}


def _arguments(config: TrainConfig, data: GroupedData) -> dict[str, Any]:
    return {
        "label_N": data.test.label_N,
        "group_NA": data.test.group_NA,
        "classes": data.classes,
        "attributes": data.attributes,
        "cluster": data.test.cluster_N,
        "n_boot": max(1, config.bootstrap),
        "seed": config.seed,
        "notions": {config.fairness: get_notion(config.fairness)},
    }
