"""What a report says of the data, the device's table and the layers, and the terminal of energy and utilisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supernet.config import CommonConfig
from supernet.costs.factors import Cost
from supernet.costs.latency import LatencyTable
from supernet.costs.systolic import Utilisation
from supernet.data import GroupedData
from supernet.report.facts import Data, Layer, Table
from supernet.report.words import percent
from supernet.spaces import SearchSpace

LICENCES = {
    "writers": "CC BY-SA 3.0",
    "mnist": "CC BY-SA 3.0",
    "fashion": "MIT",
}  # of the data sets whose sources state one


def data_facts(config: CommonConfig, data: GroupedData) -> Data:
    """Names, licence if known, images in each split, of each group and each class there."""
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return Data(
        name=data.name,
        licence=LICENCES.get(config.data.partition(":")[0]),
        fingerprint=data.fingerprint,
        classes=data.classes,
        groups=data.attributes,
        images={split: len(part) for split, part in splits.items()},
        counts={
            split: {
                attribute: {group: int((part.group_NA[:, column] == code).sum()) for code, group in enumerate(groups)}
                for column, (attribute, groups) in enumerate(data.attributes.items())
            }
            for split, part in splits.items()
        },
        class_counts={
            split: dict(zip(data.classes, np.bincount(part.label_N, minlength=len(data.classes)).tolist(), strict=True))
            for split, part in splits.items()
        },
        positive=data.positive,
        by_class=data.by_class,
    )


def table_facts(table: LatencyTable) -> Table:
    """The device's table: whose times, from where, and how good."""
    names = ("device", "provenance", "source", "licence", "validation", "notes")
    return Table(**{name: table.content[name] for name in names}, hash=table.hash, error=table.error)


def energy_mj(table: LatencyTable, ms: float | None) -> float | None:
    """Of an image that takes so long; None where the table states no power."""
    power = table.content.get("power_watts")
    return None if power is None or ms is None else power * ms


def energy_words(mj: float | None, limit: float | None) -> str:
    """A line on the energy of an image, where the device's power is known."""
    budget = "" if limit is None else f" of {limit:g} mJ{', OVER the budget' if mj is not None and mj > limit else ''}"
    return "" if mj is None else f"Predicted energy of an image: {mj:.4g} mJ{budget} (power × time).\n"


def utilisation_words(share: float | None) -> str:
    """How much of a modelled array a network uses, as a line for the terminal; nothing on another device."""
    return (
        ""
        if share is None
        else f"Modelled utilisation of the array: {percent(share)} of its cells, over the whole network.\n"
    )


def layer_facts(
    space: SearchSpace, sized: Cost, ops: Sequence[str], p_LK: np.ndarray | None, used: Utilisation | None
) -> list[Layer]:
    """Each layer's shapes, operation and milliseconds (of the other cost, bit operations); the probability of each operation and the use of an array where there is one."""
    added_L = sized.by_decision(space.index_L(ops))
    return [
        Layer(
            layer=number,
            stage=layer.stage,
            c_in=layer.c_in,
            c_out=layer.c_out,
            stride=layer.stride,
            resolution=layer.resolution,
            op=op,
            ms=float(added_L[number]) if sized.name == "latency" else None,
            bops=float(added_L[number]) if sized.name == "bops" else None,
            probabilities=None if p_LK is None else _by_operation(space, number, p_LK[number]),
            utilisation=None if used is None else used.by_layer[number],
        )
        for number, (op, layer) in enumerate(space.placed(ops))
    ]


def _by_operation(space: SearchSpace, layer: int, p_K: np.ndarray) -> dict[str, float]:
    """The probability of each operation of the space at a layer, its widths together; 0 where it may not stand."""
    found = dict.fromkeys(space.operations, 0.0)
    for option, p in zip(space.choices.decisions[layer].options, p_K, strict=True):
        if option is not None:
            found[space.operation(option)] += float(p)
    return found
