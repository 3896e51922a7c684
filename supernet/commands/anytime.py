"""Early exits of a finished training → the anytime part of its report: thresholds from search-val, figures from test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from timm.models.efficientnet import EfficientNet
from torch import nn

from supernet.anytime import NEVER, answered, grid, leaves
from supernet.blocks.ops import arch_string
from supernet.commands.trained import Training
from supernet.costs.analytic import count
from supernet.costs.latency import load_table
from supernet.data import Batches
from supernet.data.grouped import Split
from supernet.engine.evaluate import predict_exits
from supernet.errors import UserError
from supernet.exits import Exits, UpTo
from supernet.fairness import NOTIONS, get_notion
from supernet.figures import NONE, figure, rates
from supernet.gap_intervals import gap_interval
from supernet.intervals import Cells, cells
from supernet.metrics import evaluate_predictions
from supernet.paired import paired_differences
from supernet.report.facts import Anytime, Difference, Exit, Figure, Gap, LeftEarly, OperatingPoint, TrainFacts, read
from supernet.spaces import get_space
from supernet.transfer.kernel_model import estimate_network, features, kernel_model
from supernet.transfer.kernels import kernels_of

SHARES = (0.8, 0.6, 0.4, 0.2)  # of the way from the first exit's cost to the full network's: the budgets of the table
BY_TABLE = "the latency table's layers up to the exit, and its stem; the exits' own heads and the last head are estimated by their kernels"
WITHOUT_HEADS = (
    "the latency table's layers up to the exit; stem and last head count in full at every exit, its own head does not"
)
BY_KERNELS = "estimated from the times of other networks' blocks, with the heads of the exits on the way"
BY_MACS = "multiply-adds, with the heads of the exits on the way; no latency is known here"


class Costs(NamedTuple):
    """What an image costs that leaves at each exit, the end last, in a unit; and how that is known."""

    cost_N: list[float]
    unit: str
    counted: str


def anytime_facts(trained: Training, exits: Exits, facts: TrainFacts) -> Anytime:
    """The exits' part of the report."""
    data, network = trained.data, trained.network
    assert isinstance(network, EfficientNet)
    costs = exit_costs(trained, network, exits, facts)
    val_NSC, test_NSC = (predict_exits(network, exits, _shown(trained, part).epoch()) for part in (data.val, data.test))
    found = grid(val_NSC, data.val.label_N, costs.cost_N)
    measured = _Measured(trained, test_NSC, costs.cost_N)
    full, notes, points = costs.cost_N[-1], [], []
    budgets = [costs.cost_N[0] + share * (full - costs.cost_N[0]) for share in SHARES]
    asked = facts.arch.budget_ms if costs.unit == "ms" else None
    if asked is not None and asked < full:
        budgets.append(asked)
    for budget in sorted(budgets, reverse=True):
        threshold_E = found.best(budget)
        if threshold_E is not None:
            points.append(measured.point(budget, threshold_E))
        elif budget == asked:
            notes.append(f"No thresholds keep {budget:g} ms: the first exit alone takes {costs.cost_N[0]:.4g} ms.")
    places = [*exits.stages, None]
    everyone = [
        Exit(stage=stage, cost=cost, accuracy=measured.accuracy(prob_SC))
        for stage, cost, prob_SC in zip(places, costs.cost_N, test_NSC, strict=True)
    ]
    return Anytime(exits=everyone, unit=costs.unit, counted=costs.counted, points=points, notes=notes)


def exit_costs(trained: Training, network: EfficientNet, exits: Exits, facts: TrainFacts) -> Costs:
    """In milliseconds by the device's table, or by what its kernels cost; in multiply-adds where neither is known."""
    arch, spec = trained.arch, trained.data.preprocessing
    up_to = [UpTo(network, exits, last).eval() for last in range(len(exits.stages))]
    if arch is not None and facts.layers is not None and facts.base_ms is not None:
        placed = get_space(arch.space).placed(arch.ops)
        built = list(dict.fromkeys(layer.stage for op, layer in placed if arch_string(op, *layer.shape) is not None))
        below = [sum(own.ms or 0.0 for own in facts.layers if own.stage <= built[stage]) for stage in exits.stages]
        full = facts.base_ms + sum(layer.ms or 0.0 for layer in facts.layers)
        heads_E, told = _head_ms(trained, network, exits, up_to)
        return Costs(
            [*(min(facts.base_ms + a + b, full) for a, b in zip(below, heads_E, strict=True)), full], "ms", told
        )
    if arch is None and facts.arch.predicted_ms is not None:
        try:
            table = load_table(trained.config.device)
            below = [estimate_network(table, one, spec.channels, spec.size).ms for one in up_to]
            return Costs([*below, facts.arch.predicted_ms], "ms", BY_KERNELS)
        except UserError:
            pass  # an exit has what the table never timed
    below = [float(count(one, 1, spec.channels, spec.size, spec.size)[0]) for one in up_to]
    return Costs([*below, float(facts.arch.macs)], "MACs", BY_MACS)


def _head_ms(trained: Training, network: EfficientNet, exits: Exits, up_to: Sequence[UpTo]) -> tuple[list[float], str]:
    """(E,) what the heads up to each exit take more than the full network's own head, and how that is known."""
    spec = trained.data.preprocessing
    try:
        model = kernel_model(load_table(trained.config.device))
    except UserError:
        return [0.0] * len(up_to), WITHOUT_HEADS

    def priced(module: nn.Module) -> float:
        return float(features(kernels_of(module, spec.channels, spec.size)) @ model.price_F)

    def body(stages: int) -> nn.Module:
        return nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:stages])

    last = priced(network) - priced(body(len(network.blocks)))
    own_E = [priced(one) - priced(body(stage + 1)) for one, stage in zip(up_to, exits.stages, strict=True)]
    return [own - last for own in own_E], BY_TABLE


def _shown(trained: Training, part: Split) -> Batches:
    spec = trained.data.preprocessing
    return Batches(part, 256, shuffle=False, mean=spec.mean, std=spec.std, device=trained.device)


class _Measured:
    """Operating points on the test images. trained: whose.  prob_NSC: of each output.  cost_N: of leaving there."""

    def __init__(self, trained: Training, prob_NSC: np.ndarray, cost_N: Sequence[float]) -> None:
        config, data = trained.config, trained.data
        self.data, self.prob_NSC, self.cost_N = data, prob_NSC, np.asarray(cost_N)
        self.asked, self.intervals = config.fairness, config.bootstrap > 0
        test = data.test
        self.unit_N = np.arange(len(test)) if test.cluster_N is None else test.cluster_N
        self.named: dict[str, Any] = {
            "label_N": test.label_N,
            "group_NA": test.group_NA,
            "classes": data.classes,
            "attributes": data.attributes,
        }
        self.how: dict[str, Any] = {
            "cluster": test.cluster_N, "notions": {self.asked: get_notion(self.asked)}, "margin": config.margin, "seed": config.seed,
        }  # fmt: skip
        self.draws = config.bootstrap

    def accuracy(self, prob_SC: np.ndarray) -> Figure:
        return read(Figure, rates(self._cells(prob_SC.argmax(-1) == self.data.test.label_N), self.intervals)[0][0])

    def point(self, budget: float, threshold_E: np.ndarray) -> OperatingPoint:
        """What these thresholds give."""
        left_S = leaves(self.prob_NSC, threshold_E)
        prob_SC = answered(self.prob_NSC, left_S)
        # no resampled figure of the first is told: one draw stands for "with intervals"
        metrics = evaluate_predictions(prob_SC, **self.named, n_boot=min(self.draws, 1), **self.how)
        change = paired_differences(prob_SC, self.prob_NSC[-1], **self.named, n_boot=self.draws, **self.how)
        shares = [rates(self._cells(left_S == output), self.intervals)[0][0] for output in range(len(self.cost_N))]
        cost = self._cells(self.cost_N[left_S], is_rate=False)
        return OperatingPoint(
            budget=budget,
            thresholds=[None if threshold == NEVER else float(threshold) for threshold in threshold_E],
            leaving=[read(Figure, share) for share in shares],
            cost=read(Figure, rates(cost, self.intervals)[0][0]),
            accuracy=self.accuracy(prob_SC),
            change=read(Difference, change["accuracy"]),
            attributes={
                name: self._left_early(name, column, left_S, metrics, change)
                for column, name in enumerate(self.data.attributes)
            },
        )

    def _left_early(
        self, name: str, column: int, left_S: np.ndarray, metrics: dict[str, Any], change: dict[str, Any]
    ) -> LeftEarly:
        names, found = self.data.attributes[name], metrics["attributes"][name]
        group_S = self.data.test.group_NA[:, column]
        early = self._cells(left_S < len(self.cost_N) - 1, group_S, len(names))
        shares = [row[0] for row in rates(early, self.intervals)]
        ends = gap_interval(early, NOTIONS["accuracy_parity"]) if self.intervals else NONE
        apart = float(np.nanmax(early.rate_GE) - np.nanmin(early.rate_GE))
        return LeftEarly(
            early={group: read(Figure, share) for group, share in zip(names, shares, strict=True)},
            early_gap=read(Figure, figure(apart, *ends)),
            accuracy={group: read(Figure, own["accuracy"]) for group, own in found["groups"].items()},
            gap=read(Gap, found["gaps"][self.asked]),
            change=read(Difference, change["attributes"][name]["gaps"][self.asked]),
        )

    def _cells(
        self, score_S: np.ndarray, group_S: np.ndarray | None = None, groups: int = 1, is_rate: bool = True
    ) -> Cells:
        score_S1 = score_S.astype(float)[:, None]
        group_S = np.zeros(len(score_S), int) if group_S is None else group_S
        return cells(score_S1, np.ones_like(score_S1), group_S, groups, self.unit_N, is_rate)
