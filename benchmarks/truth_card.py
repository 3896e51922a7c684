"""The data card of the ground truth, written from the table itself: benchmarks/truth/README.md.

python benchmarks/truth_card.py
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import kendalltau, spearmanr
from truth_table import TABLE, Truth

from supernet.front import non_dominated

DEVICES = ("rpi4", "pixel3", "gold_6226", "titanxp_64")


def variance_shares(value_NS: np.ndarray) -> tuple[float, float]:
    """(share of the variance of a single run that the architecture explains, standard deviation between seeds).

    One-way random effects: between-architecture variance is that of the means less the noise that is left in them.
    """
    within = value_NS.var(axis=1, ddof=1).mean()
    between = max(0.0, value_NS.mean(1).var(ddof=1) - within / value_NS.shape[1])
    return float(between / (between + within)), float(np.sqrt(within))


def noise(truth: Truth) -> list[str]:
    """What two seeds tell, or that there is one only."""
    seeds = truth.arrays["seconds"].shape[1]
    if seeds < 2:
        return ["One seed so far: the noise between seeds is not known, so an oracle here is partly luck. "
                "`python benchmarks/build_truth.py` trains the second one."]  # fmt: skip
    lines = []
    for name, value_NS in (("error", truth.error_NS("test")), ("gap", truth.gap_NS("test"))):
        share, sd = variance_shares(value_NS)
        tau = kendalltau(value_NS[:, 0], value_NS[:, 1]).statistic
        lines.append(f"- {name}: standard deviation between seeds {100 * sd:.2f} points; the architecture explains {share:.0%} of the "
                     f"variance of a single run; Kendall τ between two seeds {tau:.2f}.")  # fmt: skip
    return lines


def front(truth: Truth, device: str) -> list[str]:
    """The oracle front in error, gap and latency: a row an architecture."""
    value_NM = np.column_stack([truth.error_N, truth.gap_N, truth.latency_N(device)])
    rows = np.flatnonzero(non_dominated(value_NM))
    rows = rows[np.argsort(value_NM[rows, 2])]
    return [
        f"| {truth.latency_N(device)[row]:.2f} | {100 * (1 - truth.error_N[row]):.1f} | {100 * truth.gap_N[row]:.1f} | "
        f"{' '.join(truth.space.names(truth.index_NL[row]))} |"
        for row in rows
    ]


def main() -> None:
    truth = Truth.load()
    card, seeds = truth.card, truth.arrays["seconds"].shape[1]
    quantiles = [0, 0.1, 0.5, 0.9, 1]
    lines = [
        "# Ground truth of `micro32` on `writers`",
        "",
        f"`writers_micro.npz`: {len(truth.index_NL)} of {math.prod(truth.space.valid_LK.sum(1))} architectures × {seeds} seed(s), each trained alike: {card['max_train']} images, "
        f"{card['group_mix']} (the same draw for all), {card['epochs']} epochs, batch {card['batch_size']}, {card['optimizer']}, learning rate "
        f"{card['lr']:g}, plain cross-entropy. Mean {np.nanmean(truth.arrays['seconds']):.1f} CPU seconds a training. Arrays: right answers "
        "by group and class (val, test), loss by group, one bit a test image, CPU seconds, predicted latency on eight devices, MACs, parameters. "
        "Made by `build_truth.py`, read by `truth_table.py`; this page by `truth_card.py`. Digits: MNIST (Y. LeCun, C. Cortes), CC BY-SA 3.0.",
        "",
        "The latencies are the devices' tables for the `fbnet32` network with these operations and skip elsewhere (see `spaces/micro.py`): differences are real "
        "entries, the constant is not this network's. Trained for seconds on few images: what holds here need not hold for networks trained to the end.",
        "",
        "| quantile | " + " | ".join(f"{q:.0%}" for q in quantiles) + " |",
        "|---|" + "---|" * len(quantiles),
        "| mean group accuracy, % | " + " | ".join(f"{100 * v:.1f}" for v in np.quantile(1 - truth.error_N, quantiles)) + " |",
        "| gap, points | " + " | ".join(f"{100 * v:.1f}" for v in np.quantile(truth.gap_N, quantiles)) + " |",
        "",
        "## Noise",
        "",
        *noise(truth),
        f"- Error and gap go together: Kendall τ {kendalltau(truth.error_N, truth.gap_N).statistic:.2f}. Spearman of the error with MACs "
        f"{spearmanr(truth.arrays['macs'], truth.error_N).statistic:.2f}, with parameters {spearmanr(truth.arrays['params'], truth.error_N).statistic:.2f}.",
        f"- Validation against test, same training: τ {kendalltau(truth.error_NS('val')[:, 0], truth.error_NS('test')[:, 0]).statistic:.2f} (error), "
        f"{kendalltau(truth.gap_NS('val')[:, 0], truth.gap_NS('test')[:, 0]).statistic:.2f} (gap).",
    ]  # fmt: skip
    for device in DEVICES:
        lines += [
            "",
            f"## Oracle front on {device}",
            "",
            "| ms | mean group accuracy, % | gap, points | operations |",
            "|---|---|---|---|",
        ]
        lines += front(truth, device)
    path = TABLE.with_name("README.md")
    path.write_text("\n".join(lines) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
