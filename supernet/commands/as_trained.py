"""What `supernet evaluate` takes over from the training that left the model."""

from __future__ import annotations

import argparse
from collections.abc import Sized
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.schema import read_json

if TYPE_CHECKING:
    from supernet.data.grouped import Columns

INHERITED = ("label_col", "group_cols", "file_col", "cluster_col", "fairness", "intersections")
DEFAULTS = {"file_col": "file_name", "fairness": "accuracy_parity", "intersections": False}


def columns_of(asked: dict[str, Any]) -> Columns:
    """Of a table of the pictures."""
    from supernet.data.grouped import Columns
    from supernet.data.sources import group_names

    file = asked["file_col"] or "file_name"
    return Columns(asked["label_col"], group_names(asked["group_cols"]), file, None, asked["cluster_col"])


def fit_notion(asked: dict[str, Any], given: bool, by_class: bool) -> list[str]:
    """Where classes stand for groups, the training's notion may have no meaning: another is taken, with a line on it.

    Raises UserError where it was given for this evaluation.
    """
    from supernet.commands.without_groups import check_notion
    from supernet.fairness.notions import speaks_of_all_samples

    if given or not by_class or speaks_of_all_samples(asked["fairness"]):
        check_notion(asked["fairness"], by_class)
        return []
    before, asked["fairness"] = asked["fairness"], DEFAULTS["fairness"]
    return [f"The training's {before} compares groups, of which there are none here: {asked['fairness']} is told."]


def fit_intersections(asked: dict[str, Any], given: bool, attributes: Sized) -> list[str]:
    """The training's intersections are left out, with a line on it, where there are fewer than two attributes to combine."""
    if given or not asked["intersections"] or len(attributes) >= 2:
        return []
    asked["intersections"] = False
    return ["The training's --intersections needs two attributes, of which there are fewer here: it was left out."]


def of_training(home: Path) -> dict[str, Any]:
    """The options of the training that left the model; empty where it stands alone. Raises UserError for a damaged config.json."""
    from supernet.commands.export_run import run_config
    from supernet.engine.claim import CONFIG

    if not (home / CONFIG).is_file():
        return {}
    content = read_json(home / CONFIG, "run config", {"type": "object"})
    return asdict(run_config(home)) if content.get("command") == "train" else {}


def completed(options: argparse.Namespace, trained: dict[str, Any]) -> dict[str, Any]:
    """The options, with those of the training where they were left open."""
    asked = {name: value for name, value in vars(options).items() if name != "run"}
    for name in INHERITED:
        if asked[name] is None:
            asked[name] = DEFAULTS.get(name) if trained.get(name) is None else trained[name]
    return asked | {"model": str(options.model), "out": str(options.out)}
