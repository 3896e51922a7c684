"""Row of counterparts.py: the contract of `--strategy llm`, checked against a stub that knows nothing; no real model was asked.

On `micro32`, one budget: whatever the stub answers, what is evaluated is inside the budget, every request is counted, a resumed run is the same run and the key
is in no file. How good a model's proposals are, this cannot show.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from llm_stub import Answer, Stub, honest
from truth_table import Truth

from supernet.strategies.chat import TRANSCRIPT, Adviser, Chat
from supernet.strategies.driver import Run, Setting, drive
from supernet.strategies.endpoint import KEY, Endpoint, completions_url
from supernet.strategies.evaluators import table
from supernet.strategies.joint import JointRegion
from supernet.strategies.llm import Llm

SECRET, EVALUATIONS = "sk-stub-0123456789", 25


def answered(request: dict[str, Any], number: int) -> Answer:
    """Every third answer is honest; the others are wrong in one way each."""
    good = honest(request).body
    wrong = [
        Answer(b"busy", 429, (("Retry-After", "0"),)), Answer(b"broken", 503, (("Retry-After", "0"),)), Answer("no JSON"), Answer(b"not JSON"),
        Answer(f"your key is {SECRET}"), Answer(json.dumps({"architectures": ["rm -rf /", {"ops[0]": "__import__('os')"}]})),
    ]  # fmt: skip
    return Answer(good) if number % 3 == 0 else wrong[(number // 3 + number) % len(wrong)]


def searched(truth: Truth, folder: Path, evaluations: int) -> tuple[Run, Llm, int]:
    """One search, and the requests that the server saw."""
    folder.mkdir(parents=True, exist_ok=True)
    budget_ms = truth.budgets_ms("rpi4")[1]
    plain = truth.region("rpi4", budget_ms)
    region = JointRegion(plain.valid_LK, plain.costs, plain.budgets, ())
    evaluate = table(
        truth.index_NL, {"error": truth.error_N, "gap": truth.gap_N, "seconds": np.ones(len(truth.index_NL))}
    )
    path = folder / TRANSCRIPT
    before = len(path.read_text().splitlines()) if path.exists() else 0
    with Stub(lambda request, number: answered(request, before + number)) as stub:
        chat = Chat(Endpoint(completions_url(stub.url), "stub", 30.0, 500), folder / TRANSCRIPT)
        strategy = Llm(
            Setting(region, ("error", "gap"), 0, adviser=Adviser(chat, truth.space.choices, {"device": "rpi4"}))
        )
        run = drive(strategy, evaluate, region, max_evaluations=evaluations, journal=folder / "evaluations.jsonl")
        return run, strategy, len(stub.heard)


def stub_row(folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`llm_stub_ok`: every check holds."""
    truth, before = Truth.load(), os.environ.get(KEY)
    os.environ[KEY] = SECRET
    for path in folder.rglob("*.jsonl"):
        path.unlink()
    try:
        whole, strategy, heard = searched(truth, folder / "whole", EVALUATIONS)
        _, _, first = searched(truth, folder / "parts", EVALUATIONS // 2)
        rest, resumed, later = searched(truth, folder / "parts", EVALUATIONS)
    finally:
        os.environ.pop(KEY)
        if before is not None:
            os.environ[KEY] = before
    budget_ms = truth.budgets_ms("rpi4")[1]
    checks = {
        "inside the budget": all(record.objectives["latency"] <= budget_ms for record in whole.records),
        "all evaluations made": len(whole.records) == len(rest.records) == EVALUATIONS,
        "every request counted": strategy.adviser.chat.calls == heard,
        "a resumed run is the same run": rest.records == whole.records,
        "it asks nothing twice": heard == first + later == resumed.adviser.chat.calls,
        "wrong answers counted": strategy.counts["malformed"] > 0
        and strategy.counts["refused"] + strategy.counts["mended"] > 0,
        "key in no file": not any(SECRET in path.read_text() for path in folder.rglob("*.jsonl")),
    }
    figures = {"llm_stub_ok": all(checks.values()), "llm_stub_checks": len(checks), "llm_stub_requests": heard,
               "llm_stub_repaired": strategy.counts["over_budget"]}  # fmt: skip
    return figures, [{"check": name, "holds": bool(holds)} for name, holds in checks.items()]


ROWS = {"llm_stub": stub_row}
