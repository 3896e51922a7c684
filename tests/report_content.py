"""Facts for report pages, in the shapes of the search and train commands, made with the library on random numbers."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from supernet.blocks.ops import arch_strings
from supernet.config import SearchConfig, TrainConfig
from supernet.costs.latency import load_table
from supernet.derive import candidates
from supernet.metrics import evaluate_predictions
from supernet.spaces import get_space

BUDGET_MS = 15.0
WRITERS = {"writer": ("employee", "student")}
DIGITS = tuple("0123456789")


def shared(command: str, classes: tuple[str, ...], attributes: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    counts = {
        split: {
            attribute: {group: size // len(groups) + 7 * i for i, group in enumerate(groups)}
            for attribute, groups in attributes.items()
        }
        for split, size in (("train", 12000), ("val", 4000), ("test", 7000))
    }
    return {
        "schema_version": 1,
        "command": command,
        "name": f"{command}-rpi4-1",
        "date": "2026-11-22T07:30:00+00:00",
        "seconds": {"total": 312.4},
        "notes": [f"No --budget-ms was given: {BUDGET_MS} ms was taken.", "1024 of 12000 training images drawn."],
        "data": {
            "name": "writers",
            "fingerprint": "570aee5066dd5b92",
            "classes": list(classes),
            "groups": {name: list(groups) for name, groups in attributes.items()},
            "images": {split: sum(next(iter(by.values())).values()) for split, by in counts.items()},
            "counts": counts,
            "class_counts": {
                split: {name: size // len(classes) + 3 * k for k, name in enumerate(classes)}
                for split, size in (("train", 12000), ("val", 4000), ("test", 7000))
            },
            "positive": None,
        },
        "versions": {"python": "3.11.7", "supernet": "0.1.0", "torch": "2.14.1", "timm": "1.0.31"},
        "commit": "661a7c9841cd5433154ee98d708508bf56dbadc6",
        "machine": "x86_64 Linux, 2 threads",
    }


@lru_cache
def found(device: str, budget_ms: float) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Table facts with its base, layers and candidates of a random but decided α."""
    space, table = get_space("fbnet32"), load_table(device)
    cost, rng = table.cost(space), np.random.default_rng(3)
    alpha_LK = np.where(space.valid_LK, rng.gumbel(size=space.valid_LK.shape) * 1.5, -np.inf)
    p_LK, log_p_LK = softmax(alpha_LK, axis=1), log_softmax(alpha_LK, axis=1)
    index_NL = candidates(alpha_LK, space.valid_LK, [cost], {"latency": budget_ms}, 8, 0)
    ops = space.names(index_NL[0])
    layers = [
        {
            "layer": n, "stage": layer.stage, "c_in": layer.c_in, "c_out": layer.c_out, "stride": layer.stride,
            "resolution": layer.resolution, "op": ops[n], "ms": float(cost.unary_DK[n, space.ops.index(ops[n])]),
            "probabilities": dict(zip(space.ops, p_LK[n].tolist(), strict=True)),
        }
        for n, layer in enumerate(space.layers)
    ]  # fmt: skip
    rows = []
    for number, index_L in enumerate(index_NL):
        ms = cost.total(index_L)
        accuracy = float(0.965 - 0.25 / ms**0.9 + rng.normal(0, 0.006))
        rows.append(
            {
                "ops": list(space.names(index_L)),
                "costs": {"latency": ms, "macs": 2.4e6 * ms, "params": 4.1e4 * ms},
                "log_probability": float(log_p_LK[np.arange(len(index_L)), index_L].sum()),
                "accuracy": accuracy,
                "mean_group_accuracy": accuracy - 0.004,
                "cross_entropy": 0.1 + 0.02 * number,
                "gap": float(rng.uniform(0.005, 0.04)),
                "non_dominated": number % 3 == 0,
                "by_hand": number == 2,
                "derived": number == 0,
            }
        )
    content = table.content
    facts = {name: content[name] for name in ("device", "provenance", "source", "licence", "validation")}
    return {**facts, "hash": table.hash, "error": table.error, "base_ms": cost.base}, layers, rows


def search_content(device: str = "rpi4", budget_ms: float = BUDGET_MS, epochs: int = 5, **asked: Any) -> dict[str, Any]:
    """report.json of a search."""
    facts, layers, rows = found(device, budget_ms)
    config = SearchConfig(**{"device": device, "epochs": epochs, "warmup_epochs": 1, **asked})
    rng = np.random.default_rng(0)
    assert config.warmup_epochs is not None
    history = []
    for epoch in range(1, config.warmup_epochs + epochs + 1):
        warm = epoch <= config.warmup_epochs
        row = {
            "step": 188 * epoch, "epoch": epoch, "phase": "warm-up" if warm else "search",
            "loss": 2.3 * 0.75**epoch + 0.1, "cross_entropy": 2.3 * 0.75**epoch + 0.05 * rng.random(),
            "gap_writer": 0.05 * 0.8**epoch + 0.01 * rng.normal(),
            "expected_latency": 37.8 if warm else 37.8 * 0.8 ** (epoch - config.warmup_epochs),
            "entropy": 1.0000001 if warm else 0.9 ** (epoch - config.warmup_epochs),
            "lambda_latency": 0.1 * epoch, "lr": 1e-3,
        }  # fmt: skip
        history.append(row if warm else row | {"val_cross_entropy": row["cross_entropy"] + 0.04})
    best = rows[0]
    return {
        **shared("search", DIGITS, WRITERS),
        "asked": asdict(config),
        "table": {name: value for name, value in facts.items() if name != "base_ms"},
        "derived": {
            "ops": best["ops"],
            "arch_def": [list(stage) for stage in arch_strings(get_space("fbnet32"), best["ops"])],
            "predicted_ms": best["costs"]["latency"],
            "predicted_error": facts["error"],
            "budget_ms": budget_ms,
            "macs": best["costs"]["macs"],
            "params": best["costs"]["params"],
            "log_probability": best["log_probability"],
        },
        "base_ms": facts["base_ms"],
        "layers": layers,
        "candidates": rows,
        "history": history,
    }


@lru_cache
def random_metrics(
    classes: tuple[str, ...], attributes: tuple[tuple[str, tuple[str, ...]], ...], n_boot: int
) -> dict[str, Any]:
    """evaluate_predictions on random predictions: right nine times in ten, less often in later groups."""
    rng, size = np.random.default_rng(1), 1500
    label_N = rng.integers(len(classes), size=size)
    group_NA = np.stack([rng.integers(len(groups), size=size) for _, groups in attributes], axis=1)
    wrong_N = rng.random(size) < 0.05 + 0.04 * group_NA[:, 0] / (len(attributes[0][1]) - 1)
    taken_N = np.where(wrong_N, (label_N * 7 + 3) % len(classes), label_N)
    logit_NC = rng.normal(size=(size, len(classes)))
    logit_NC[np.arange(size), taken_N] += 6
    return evaluate_predictions(softmax(logit_NC, axis=1), label_N, group_NA, classes, dict(attributes), n_boot=n_boot)


FIGURES = ("accuracy", "mean_group_accuracy", "worst_group_accuracy", "gap")


def difference(value: float) -> dict[str, Any]:
    low, high = value - 0.01, value + 0.01
    return {
        "value": value,
        "low": low,
        "high": high,
        "verdict": "not shown" if low <= 0 <= high else "A" if value < 0 else "B",
    }


def adjusted(name: str, attributes: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """With a warning where there are other attributes."""
    others = {other: figures(groups) for other, groups in attributes.items() if other != name}
    return {
        "method": "a temperature and class offsets for each group",
        **figures(attributes[name]),
        "others": others,
        "warnings": [f"By {other} it became worse." for other in others],
    }


def figures(groups: tuple[str, ...]) -> dict[str, Any]:
    figure = {"value": 0.93, "low": 0.92, "high": 0.94}
    return {
        **dict.fromkeys(FIGURES, figure),
        "groups": dict.fromkeys(groups, figure),
        "against_as_trained": {name: difference(0.004) for name in FIGURES},
    }


def against(attributes: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    each = {attribute: {name: difference(-0.03) for name in FIGURES} for attribute in attributes}
    folder = "runs/before"
    return {
        "folder": folder,
        "accuracy": difference(0.0),
        "as_trained": each,
        "adjusted": each,
        "warnings": ["One gap for another."],
    }


def train_content(
    arch: str = "runs/search-rpi4-1/derived.json",
    classes: tuple[str, ...] = DIGITS,
    attributes: dict[str, tuple[str, ...]] | None = None,
    epochs: int = 8,
    n_boot: int = 100,
    device: str = "gold_6226",
    compared: bool = False,
    **asked: Any,
) -> dict[str, Any]:
    """report.json of a training; an `arch` without .json is a timm baseline; `compared`: with --baseline."""
    attributes = attributes or WRITERS
    facts, layers, rows = found(device, BUDGET_MS)
    baseline, best = not arch.endswith(".json"), rows[0]
    unknown = dict.fromkeys(("ops", "arch_def", "predicted_ms", "predicted_error", "device"))
    known = {
        "ops": best["ops"],
        "arch_def": [list(stage) for stage in arch_strings(get_space("fbnet32"), best["ops"])],
        "predicted_ms": best["costs"]["latency"],
        "predicted_error": facts["error"],
        "device": device,
    }
    latency = {
        "table": {name: value for name, value in facts.items() if name != "base_ms"},
        "base_ms": facts["base_ms"],
        "layers": [layer | {"probabilities": None} for layer in layers],
    }
    history = [
        {
            "step": 188 * e, "epoch": e, "loss": 2.3 * 0.6**e + 0.5, "cross_entropy": 2.3 * 0.6**e + 0.45,
            **{f"gap_{name}": 0.06 * 0.8**e for name in attributes}, "val_accuracy": 0.97 - 0.5 * 0.5**e,
            "val_mean_group_accuracy": 0.965 - 0.5 * 0.5**e, "val_gap": 0.05 * 0.8**e, "lr": 1e-3,
        }
        for e in range(1, epochs + 1)
    ]  # fmt: skip
    return {
        **shared("train", classes, attributes),
        "asked": asdict(TrainConfig(arch=arch, epochs=epochs, device=device, **asked)),
        "arch": {
            "name": arch if baseline else "fbnet32",
            **(unknown if baseline else known),
            "budget_ms": None if baseline else BUDGET_MS,
            "macs": 28_812_345,
            "params": 1_030_000,
        },
        "files": {"model.onnx": "float32, batch 1"},
        "metrics": random_metrics(classes, tuple(attributes.items()), n_boot),
        "adjusted": {name: adjusted(name, attributes) for name in attributes},
        "baseline": against(attributes) if compared else None,
        "history": history,
        **({} if baseline else latency),
    }
