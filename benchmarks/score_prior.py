"""What a training-free score (synflow) adds to networks that were trained, and to a search's own ranking of its candidates, on micro32's truth.

    python benchmarks/score_prior.py          # half a minute
    python benchmarks/score_prior.py --quick  # two draws; nothing written

*Table*: N of the 432 networks, drawn at random, by their first training. A table of losses is fitted to them (quality_fit.fit_table), alone or with the score as its
prior, and ranked are all others by their second training. *Candidates*: those of the recorded searches of `search_settings.py --record gumbel_settings`,
chosen by cross-entropy as a search does, by the score, or by the sum of both ranks; regret of error + gap as there (without luck).
`summary`: Kendall's τ, mean over the draws, and the prior's gain with its standard error; regrets in points, mean and standard deviation over searches.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from build_truth import data_of_truth
from micro_search import regret_without_luck
from results_io import RESULTS, read_records, write_results
from scipy.stats import kendalltau, rankdata
from truth_table import Truth

from supernet.data import Batches
from supernet.quality_fit import fit_table
from supernet.transfer.score_table import score_table

NUMBERS, DRAWS = (12, 25, 50, 100), 30


def synflow(truth: Truth) -> np.ndarray:
    """(L, K) the score's table."""
    data = data_of_truth()
    batch = Batches(data.train, 64, seed=0, stratify=True, mean=data.mean, std=data.std).at(0)
    return score_table(truth.space, "synflow", len(data.classes), batch.image, batch.label, 0).added_LK


def tables(truth: Truth, score_LK: np.ndarray, draws: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """τ of the mean over groups of predicted losses with the second training's, over networks that were left out."""
    valid_LK, index_NL, loss_NSG = truth.space.valid_LK, truth.index_NL, truth.arrays["loss_test"]
    rng, layers, records = np.random.default_rng(0), np.arange(len(score_LK)), []
    found: dict[str, float] = {}
    for number in NUMBERS:
        for _ in range(draws):
            rows = rng.choice(len(index_NL), number, replace=False)
            rest = np.setdiff1d(np.arange(len(index_NL)), rows)
            taus = {}
            for name, prior_LK in (("alone", None), ("prior", score_LK)):
                base_G, added_LKG = fit_table(valid_LK, index_NL[rows], loss_NSG[rows, 0], prior_LK)
                told_NG = np.exp(base_G + added_LKG[layers, index_NL[rest]].sum(axis=1))
                taus[name] = float(kendalltau(told_NG.mean(1), loss_NSG[rest, 1].mean(1)).statistic)
            records.append({"networks": number, **taus})
        own = [one for one in records if one["networks"] == number]
        gain = np.array([one["prior"] - one["alone"] for one in own])
        found |= {f"kendall_{number}": float(np.mean([one["alone"] for one in own])), f"kendall_{number}_prior": float(np.mean([one["prior"] for one in own])),
                  f"gain_{number}": float(gain.mean()), f"gain_{number}_se": float(gain.std(ddof=1) / len(gain) ** 0.5)}  # fmt: skip
    total_N = score_LK[layers, index_NL].sum(axis=1)
    return found | {"kendall_score": float(kendalltau(-total_N, loss_NSG[:, 1].mean(1)).statistic)}, records


def candidates(truth: Truth, score_LK: np.ndarray) -> dict[str, float]:
    """Regret of what each way would have chosen among the recorded searches' candidates."""
    layers, regrets = np.arange(len(score_LK)), dict[str, list[float]]()
    for search in read_records("gumbel_settings"):
        own = search["candidates"]
        index_NL = np.array([one["index_L"] for one in own])
        entropy_N, score_N = np.array([one["cross_entropy"] for one in own]), score_LK[layers, index_NL].sum(axis=1)
        ways = {"cross_entropy": entropy_N, "score": -score_N, "both": rankdata(entropy_N) + rankdata(-score_N)}
        for name, value_N in ways.items():
            regret = regret_without_luck(truth, search["device"], search["budget_ms"], index_NL[value_N.argmin()])
            regrets.setdefault(name, []).append(regret.total)
    found = {f"regret_by_{name}": float(np.mean(own)) for name, own in regrets.items()}
    return (
        found
        | {f"regret_by_{name}_sd": float(np.std(own, ddof=1)) for name, own in regrets.items()}
        | {"searches": len(regrets["score"])}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two draws; nothing is written")
    options = parser.parse_args()
    truth = Truth.load()
    score_LK = synflow(truth)
    found, records = tables(truth, score_LK, 2 if options.quick else DRAWS)
    if (RESULTS / "gumbel_settings.json").exists():
        found |= candidates(truth, score_LK)
    print(json.dumps(found, indent=1))
    if not options.quick:
        write_results("score_prior", found, records)


if __name__ == "__main__":
    main()
