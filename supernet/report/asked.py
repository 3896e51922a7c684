"""What was asked of a run, in a reader's words, and the command that asks the same again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from supernet.config import FROM_TEACHER, SearchConfig, TrainConfig, limits_of, with_epochs
from supernet.fairness import METHODS
from supernet.options import has_effect
from supernet.report.words import amount, counted, notion_meaning, plain

_UNITS = {
    "macs": "{} multiply-accumulates", "params": "{} parameters", "peak_memory": "{} KiB of activations", "weights": "{} KiB of weights",
    "input": "{} KiB from the sensor", "bops": "{} bit operations", "energy": "{} mJ",
}  # fmt: skip
_CONFIGS = {"search": SearchConfig, "train": TrainConfig}


def asked_words(
    command: str, asked: Mapping[str, Any], budget_ms: float | None, limits: Mapping[str, float] | None = None
) -> dict[str, str]:
    """What was asked, in a reader's words. budget_ms: that held.  limits: other budgets that a training's search kept."""
    notion, cap, weight, budget = (asked[name] for name in ("fairness", "max_gap", "fairness_weight", "budget_ms"))
    several = {
        "devices": asked.get("devices"),
        "budgets": asked.get("budgets_ms"),
        "weights": asked.get("fairness_weights"),
    }
    whose = "" if budget else ", by default" if command == "search" else ", the search's"
    taken = [] if budget_ms is None else [f"{budget_ms:g} ms{whose}"]
    if several["budgets"]:
        taken = [f"each of {several['budgets'].replace(',', ', ')} ms that a device can keep"]
    taken += [_UNITS[cost].format(amount(limit)) for cost, limit in limits_of(asked).items()]
    taken += [f"{_UNITS[cost].format(amount(limit))}, the search's" for cost, limit in (limits or {}).items()]
    methods = asked.get("fairness_method", "gap").split(",")
    known = [METHODS[name] for name in methods if name in METHODS]
    held = [method.meaning for method in known if not method.penalty]
    for penalty in (method.meaning for method in known if method.penalty):
        if cap is not None:
            held.append(f"{penalty}, whose weight keeps the soft gap under a cap of {cap:g}")
        else:
            held.append(f"{penalty}, weight {weight:g}" if weight else "nothing: the penalty's weight is 0")
    effort = _effort(asked)
    told = {
        "device": str(several["devices"] or asked["device"]).replace(",", ", "),
        "budget": "; ".join(taken) or "none",
        "data": asked["data"]
        + "".join(f", training mix {mix}" for mix in (asked["group_mix"], asked.get("class_mix")) if mix),
        "fairness": f"{plain(notion)}: {notion_meaning(notion)}",
        "fairness is held by": "; ".join(held),
        "effort": f"{effort}, batches of {asked['batch_size']}",
    }
    if command == "train":
        if distilled(asked):
            told["learns"] = f"the outputs of {asked['teacher']}, in place of the labels"
        return {"architecture": asked["arch"], **told}
    if asked.get("teacher"):
        short = f"{counted(asked['distil_steps'], 'step')} towards the teacher for each compared network"
        told["effort"] = (
            f"{short}, batches of {asked['batch_size']}"
            if asked["strategy"] in FROM_TEACHER
            else f"{told['effort']}; {short}"
        )
    if asked["strategy"] in FROM_TEACHER:
        told["fairness is held by"] = "the choice: cross-entropy and distance to the teacher are means over groups" + (
            "" if cap is None else f"; those above a gap of {cap:g} come last"
        )
    how = {
        "differentiable": f"{asked['relaxation']} relaxation" + (", from a teacher" if asked.get("teacher") else ""),
        "blockwise": "from a teacher",
        "uniform": "from a teacher",
        "one-shot": (f"{asked['trained']} networks trained alone" if asked.get("trained") else "one supernet")
        + " for every device and budget"
        + (f", weights of the predicted gap {several['weights'].replace(',', ', ')}" if several["weights"] else ""),
        "score": f"{asked.get('score')}, training-free",
        "halving": "networks trained alone",
    }.get(asked["strategy"], "by ask/tell")
    return {**told, "strategy": f"{asked['strategy']}, {how}, space {asked['space']}"}


def _effort(asked: Mapping[str, Any]) -> str:
    """Epochs, and what comes before them or makes their steps other ones."""
    effort = counted(asked["epochs"], "epoch")
    if asked.get("strategy") == "halving":
        return f"{counted(asked['epochs'] + asked['warmup_epochs'], 'epoch')} in the last round"
    if asked.get("warmup_epochs"):
        effort += f" after {asked['warmup_epochs']} of warm-up"
    if asked.get("ssl_epochs"):
        effort += f", after {asked['ssl_epochs']} of predicting rotations without labels"
    if asked.get("qat_epochs"):
        effort += f", then {asked['qat_epochs']} with int8 in the loop"
    if asked.get("sam"):
        effort += f", sharpness-aware steps of {asked['sam']:g}" + (" of each weight" if asked.get("sam_adaptive") else "")  # fmt: skip
    return effort


def distilled(asked: Mapping[str, Any]) -> bool:
    """Whether a training learned a teacher's outputs in place of the labels; no run of before did."""
    return bool(asked.get("teacher")) and not asked.get("from_scratch")


def changed_options(command: str, asked: Mapping[str, Any], images: int) -> dict[str, Any]:
    """The options that differ from their defaults, some of which go by the space or the number of training images."""
    kind = _CONFIGS[command]
    usual = with_epochs(kind(**{name: asked[name] for name in ("space",) if name in asked}), images)
    defaults = {item.name: item.default if item.name == "space" else getattr(usual, item.name) for item in fields(kind)}
    return {name: value for name, value in asked.items() if name in defaults and value != defaults[name]}


def command_line(command: str, asked: Mapping[str, Any], images: int) -> str:
    """The command that asks the same again, into a new folder. An option without effect, such as one of --quick, is left out."""
    words, kind = ["supernet", command], _CONFIGS[command]
    known = kind(**{name: value for name, value in asked.items() if name in {item.name for item in fields(kind)}})
    for name, value in changed_options(command, asked, images).items():
        if name in ("out", "resume") or value is None or has_effect(known, name) is not None:
            continue
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return shlex.join(words)
