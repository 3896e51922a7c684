"""How far are mini-batch estimates of a gap, and intervals of reported gaps, from the truth?

1. The mean soft gap of a classifier whose true gap is known (0: perfectly fair; .05: not), with 10% and 1% minority,
   for batches of 32 to 1024 drawn at random (50%: what stratified batches of 64 would do): the plain gap of each batch,
   our cross-fitted value (the training loss) and our estimate from the past (logs and constraints). ``plain_history``
   is the plain gap of the same running sums. Means over independent runs with their standard error; from the
   ``WARM``-th batch on every ``EVERY``-th is valued.
   ``kept``: by how much a step that would close the true gap lowers the mean loss, as a share of the gap. It is 1 where
   the loss always knows which group and class are worst, and negative where it knows them wrongly more often than not.
2. Coverage of the 95% bootstrap intervals of a reported gap: percentile against basic.

    python benchmarks/fairness_estimator.py      # 7 minutes of one core; writes results/fairness_estimator.json
    python benchmarks/fairness_estimator.py --quick   # a hundredth of the draws, nothing written
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from results_io import write_results

from supernet.fairness import GroupSums, RunningGap, gap_of_sums, get_notion
from supernet.metrics import interval

CLASSES, ACCURACY = 10, 0.9
WARM, EVERY = 100, 10  # the default decay remembers some 100 batches
NOTIONS = ("accuracy_parity", "equalized_odds", "demographic_parity")
HARD_PAIRS = np.divmod(np.arange(CLASSES**2), CLASSES)


def pair_probability(gap: float) -> np.ndarray:
    """P(label, predicted | group) of a 10-class classifier, (2, 100): group 1 is right less often, by ``gap``."""
    label, predicted = HARD_PAIRS
    rows = []
    for accuracy in (ACCURACY, ACCURACY - gap):
        rows.append(np.where(label == predicted, accuracy, (1 - accuracy) / (CLASSES - 1)) / CLASSES)
    return np.stack(rows)


def measure(notion_name: str, minority: float, gap: float, size: int, runs: int, steps: int) -> dict[str, Any]:
    """One line of the table. A batch is drawn as its (group, label, predicted) counts: no network is needed."""
    started = time.perf_counter()
    notion = get_notion(notion_name)
    label_P, predicted_P = (torch.from_numpy(x) for x in HARD_PAIRS)
    score_PE, mask_PE = notion.scores(torch.eye(CLASSES)[predicted_P], label_P)
    given_group_GP = pair_probability(gap)
    share_G = np.array([1 - minority, minority])
    truth = torch.from_numpy(given_group_GP).float()
    true_sums = GroupSums(truth @ (score_PE * mask_PE), truth @ mask_PE.float())
    true_gap = gap_of_sums(true_sums, notion).value.item()
    rate_GE = true_sums.numerator_GE / true_sums.denominator_GE
    count_GE = size * torch.from_numpy(share_G).float()[:, None] * true_sums.denominator_GE
    closing_GE = (rate_GE - rate_GE[:1]) * count_GE  # mean change of the batch's numerators when the gap opens
    means: dict[str, list[float]] = {key: [] for key in ("plain", "ours", "estimate", "plain_history", "kept")}
    for run in range(runs):
        rng = np.random.default_rng([run, size, int(1000 * minority), int(1000 * gap)])
        running = RunningGap(2, CLASSES, notion)
        counts = rng.multinomial(size, (share_G[:, None] * given_group_GP).ravel(), size=steps)
        values: dict[str, list[float]] = {key: [] for key in means}
        for step, table in enumerate(torch.from_numpy(counts).float().reshape(steps, 2, -1)):
            sums = GroupSums((table @ (score_PE * mask_PE)).requires_grad_(), table @ mask_PE.float())
            if step >= WARM and step % EVERY == 0:
                value = running.value(sums)
                (gradient_GE,) = torch.autograd.grad(value, sums.numerator_GE)
                values["plain"].append(gap_of_sums(sums, notion).value.item())
                values["ours"].append(value.item())
                values["estimate"].append(running.estimate().item())
                values["plain_history"].append(running.gap().value.item())
                if gap:
                    values["kept"].append((gradient_GE * closing_GE).sum().item() / true_gap)
            running.update(sums)
        for key, found in values.items():
            means[key].append(float(np.mean(found)) if found else 0.0)
    record: dict[str, Any] = {
        "part": "estimator", "notion": notion_name, "minority": minority, "true_gap": true_gap, "batch": size,
        "runs": runs, "steps": steps,
    }  # fmt: skip
    for key in ("plain", "ours", "estimate", "plain_history"):
        record[key] = float(np.mean(means[key]))
        record[f"{key}_standard_error"] = float(np.std(means[key], ddof=1) / runs**0.5)
    record["kept"] = float(np.mean(means["kept"])) if gap else None
    record["seconds"] = time.perf_counter() - started
    return record


def coverage(count_G: tuple[int, int], classes: int, gap: float, trials: int, resamples: int = 400) -> dict[str, Any]:
    """How often each interval holds the true worst-class gap of two groups with these numbers of samples."""
    rng = np.random.default_rng([*count_G, classes, int(1000 * gap)])
    recall_GK = np.full((2, classes), ACCURACY)
    recall_GK[1, 0] -= gap
    count_GK = np.array(count_G)[:, None] // classes * np.ones((2, classes), int)
    hits = {True: 0, False: 0}
    for _ in range(trials):
        rate_GK = rng.binomial(count_GK, recall_GK) / count_GK
        value = np.ptp(rate_GK, 0).max()
        draws_R = np.ptp(rng.binomial(count_GK, rate_GK, size=(resamples, 2, classes)) / count_GK, 1).max(1)
        for basic in hits:
            low, high = interval(value, draws_R, basic)
            hits[basic] += max(low, 0) <= gap + 1e-12 and gap <= high
    return {
        "part": "coverage", "count_per_group": list(count_G), "classes": classes, "true_gap": gap, "trials": trials,
        "percentile": hits[False] / trials, "basic": hits[True] / trials,
    }  # fmt: skip


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    at_64 = [r for r in records if r["part"] == "estimator" and r["batch"] == 64]
    summary: dict[str, Any] = {}
    for ending, of in {"": "ours", "_plain": "plain", "_estimate": "estimate"}.items():
        bias = [(r, abs(r[of] - r["true_gap"])) for r in at_64]
        rare = [(r, b) for r, b in bias if r["minority"] < 0.5]
        fair = [(r, b) for r, b in rare if r["true_gap"] < 1e-6]
        summary |= {
            f"bias_batch64{ending}": max(b for r, b in fair if r["notion"] == "accuracy_parity"),
            f"bias_batch64_all_notions{ending}": max(b for r, b in fair),
            f"bias_batch64_unfair{ending}": max(
                b for r, b in rare if r["true_gap"] > 1e-6 and r["notion"] == "accuracy_parity"
            ),
            f"bias_batch64_stratified{ending}": max(b for r, b in bias if r["minority"] == 0.5),
        }
    summary["bias_batch64_standard_error"] = max(
        r["ours_standard_error"] for r in at_64 if r["notion"] == "accuracy_parity" and r["true_gap"] < 1e-6
    )
    covers = [r for r in records if r["part"] == "coverage"]
    summary |= {f"lowest_coverage_{kind}": min(r[kind] for r in covers) for kind in ("percentile", "basic")}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="independent runs a line (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="batches a run (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=400, help="trials a coverage line (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two runs a line, few trials; nothing is written")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.steps, options.trials = 2, WARM + EVERY, 10
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    print(
        f"{'notion':20}{'minority':>9}{'batch':>6}{'true':>7}{'plain':>8}{'ours':>8}{'±':>6}{'estimate':>10}{'kept':>7}"
    )
    for notion in NOTIONS:
        for minority in (0.1, 0.01, 0.5):
            for gap in (0.0, 0.05):
                if notion == "demographic_parity" and gap:
                    continue  # fewer right answers alone do not change how often a class is predicted
                sizes = (32, 64, 128, 256, 512, 1024) if notion == "accuracy_parity" else (32, 64, 256, 1024)
                for size in (64,) if minority == 0.5 else sizes:
                    runs = options.runs * (6 if size <= 64 else 2 if size <= 256 else 1)
                    r = measure(notion, minority, gap, size, runs, options.steps)
                    records.append(r)
                    kept = "" if r["kept"] is None else f"{r['kept']:.2f}"
                    print(
                        f"{notion:20}{minority:9.0%}{size:6}{r['true_gap']:7.3f}{r['plain']:8.3f}{r['ours']:8.3f}"
                        f"{r['ours_standard_error']:6.3f}{r['estimate']:10.3f}{kept:>7}",
                        flush=True,
                    )
    print(f"\n{'count per group':>18}{'classes':>8}{'true gap':>9}{'percentile':>11}{'basic':>7}")
    for count_G in ((5000, 5000), (5000, 500), (900, 300)):
        for classes in (1, 10):
            for gap in (0.0, 0.05, 0.1):
                r = coverage(count_G, classes, gap, options.trials)
                records.append(r)
                print(f"{count_G!s:>18}{classes:8}{gap:9.2f}{r['percentile']:11.3f}{r['basic']:7.3f}", flush=True)
    summary = summarise(records)
    print("\n".join(f"{key} {value:.3f}" for key, value in summary.items()))
    if not options.quick:
        print(f"→ {write_results('fairness_estimator', summary, records).name}")


if __name__ == "__main__":
    main()
