"""A gap that the images do not define is unknown: not 0, not ranked by, not checked against a cap."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from supernet.commands.cap import derived_gap_notes, soft_gap_notes, trained_gap_notes, unknown_gap_notes
from supernet.config import SearchConfig
from supernet.data import GroupedData, load_data
from supernet.data.grouped import Split
from supernet.engine.evaluate import brief_scores, worst_gap
from supernet.errors import UserError
from supernet.metrics import evaluate_predictions
from supernet.objective import data_objective
from supernet.problem import Candidate, Outcome
from supernet.report.facts import Metrics, read
from supernet.scoring import marked, undefined_gaps
from supernet.strategies.asktell import require_gap

EQUAL = "equal_opportunity"


def halved(data: GroupedData) -> GroupedData:
    """Two classes, of which the second (positive) never comes from group 1 in search-val and test."""

    def part(split: Split, keep_positives: bool) -> Split:
        label_N = (split.label_N >= 5).astype(split.label_N.dtype)
        keep_N = keep_positives | ~((label_N == 1) & (split.group_NA[:, 0] == 1))
        return Split(split.images_NCHW[keep_N], label_N[keep_N], split.group_NA[keep_N])

    return replace(
        data,
        classes=("no", "yes"),
        train=part(data.train, True),
        val=part(data.val, False),
        test=part(data.test, False),
    )


@pytest.fixture(scope="module")
def data() -> GroupedData:
    return halved(load_data("writers", max_train=200, max_eval=200))


def candidate(error: float, gap: float | None, ms: float) -> Candidate:
    return Candidate(("skip",), {"latency": ms}, None, 1 - error, 1 - error, gap, True)


def test_an_undefined_gap_is_unknown_and_said_before(data: GroupedData) -> None:
    prob_VC = np.eye(2)[data.val.label_N]
    scores = brief_scores(prob_VC, data.val.label_N, data.val.group_NA, data, EQUAL)
    assert scores["gap"] is None and scores["accuracy"] == 1
    assert json.loads(json.dumps(scores, allow_nan=False))["gap"] is None
    assert undefined_gaps(data, EQUAL) == list(data.attributes) and undefined_gaps(data, "accuracy_parity") == []
    (note,) = unknown_gap_notes(SearchConfig(fairness=EQUAL), data)
    assert "does not define" in note and "unknown" in note


def test_the_worst_gap_is_unknown_where_one_is() -> None:
    assert worst_gap([0.1, 0.3]) == 0.3
    assert worst_gap([0.1, None]) is None and worst_gap([]) is None


def test_nothing_is_ranked_by_an_unknown_gap() -> None:
    known = marked([candidate(0.1, 0.3, 5.0), candidate(0.2, 0.1, 5.0)])
    assert [row.non_dominated for row in known] == [True, True]
    unknown = marked([candidate(0.1, None, 5.0), candidate(0.2, None, 5.0), candidate(0.3, None, 4.0)])
    assert [row.non_dominated for row in unknown] == [True, False, True]


def test_an_unknown_gap_is_no_objective(data: GroupedData) -> None:
    problem = SimpleNamespace(data=data)
    with pytest.raises(UserError, match="--objectives error,latency"):
        require_gap(SearchConfig(fairness=EQUAL), problem)  # type: ignore[arg-type]
    require_gap(SearchConfig(), problem)  # type: ignore[arg-type]


def test_a_cap_on_an_unknown_gap_was_not_checked(data: GroupedData) -> None:
    config = SearchConfig(fairness=EQUAL, max_gap=0.05)
    outcome = Outcome((candidate(0.1, None, 5.0),), None, {}, 0)
    (line,) = derived_gap_notes(config, outcome)
    assert line.startswith("--max-gap 0.05 was not checked") and "unknown" in line
    metrics = evaluate_predictions(
        np.eye(2)[data.test.label_N], data.test.label_N, data.test.group_NA, data.classes, data.attributes, n_boot=0
    )
    (line,) = trained_gap_notes(config, read(Metrics, metrics))
    assert line.startswith("--max-gap 0.05 was not checked on test")
    assert soft_gap_notes(config, data, [{"phase": "search", "gap_writer": None}]) == []


def test_the_running_soft_gap_is_unknown_too(data: GroupedData) -> None:
    objective = data_objective(SearchConfig(fairness=EQUAL), data, data.val)
    assert objective.estimate_A() == [None]
    on_train = data_objective(SearchConfig(fairness=EQUAL), data, data.train)
    gap = on_train.fairness[0].gap
    label_N, group_N = torch.from_numpy(data.train.label_N), torch.from_numpy(data.train.group_NA[:, 0])
    prob_NC = torch.full((len(label_N), 2), 0.5)
    for _ in range(2):
        gap.update(gap.sums(prob_NC, label_N, group_N))
    assert on_train.estimate_A() == [pytest.approx(0.0, abs=1e-6)]
