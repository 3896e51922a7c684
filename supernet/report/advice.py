"""What the figures of a training say that one should do next, in words. Each line follows from figures on the same page."""

from __future__ import annotations

from collections.abc import Iterator

from supernet.report import words
from supernet.report.facts import Metrics, TrainFacts, Verdict
from supernet.report.int8 import int8_files

WIDE, OPEN, LOSS, SURE, MOST_NAMES = 0.1, 0.2, 0.01, 0.05, 4
# a gap's interval that tells little; an accuracy's; accuracy that int8 may lose; calibration error that matters; names in a line


def advice(facts: TrainFacts) -> list[str]:
    """In the order of weight; none where the figures ask for nothing."""
    notion = facts.asked["fairness"]
    return [
        *_majority(facts.metrics),
        *_over_budget(facts),
        *_shown_gaps(facts),
        *_open_accuracy(facts.metrics),
        *_few_images(facts.metrics),
        *_wide_gaps(facts.metrics, notion),
        *_too_sure(facts.metrics),
        *_int8(facts),
        *_baseline(facts),
    ]


def advice_on(metrics: Metrics, notion: str) -> list[str]:
    """The same of an evaluation, which knows the figures alone."""
    return [
        *_majority(metrics),
        *_open_accuracy(metrics),
        *_few_images(metrics),
        *_wide_gaps(metrics, notion),
        *_too_sure(metrics),
    ]


def _majority(metrics: Metrics) -> Iterator[str]:
    found, area = metrics.majority, metrics.auc
    if found is None or found.exceeded:
        return
    if area is not None and area.low is not None and area.low > 0.5 and area.too_few is None:
        yield (
            f'The network ranks "{metrics.positive}" better than chance (AUC) and still names "{found.name}" too often: take '
            f"another threshold on its probability, chosen on search-val, or train with --class-weight balanced."
        )
    elif (metrics.accuracy.value or 0.0) > found.share:
        yield (
            f'These test images do not show it to be better than always naming "{found.name}": test it on more of them before it '
            "is shipped."
        )
    else:
        yield (
            f'Do not ship it: naming "{found.name}" every time does as well. Train longer, with --class-weight balanced, or with more '
            "images of the rare classes."
        )


def _over_budget(facts: TrainFacts) -> Iterator[str]:
    predicted_ms, budget_ms = facts.network.predicted_ms, facts.network.budget_ms
    if predicted_ms is not None and budget_ms is not None and predicted_ms > budget_ms:
        yield (
            f"Its latency of {words.milliseconds(predicted_ms)} ms, as predicted, is over the budget of {budget_ms:g} ms: take a lower --resolution, a "
            "smaller network (supernet baseline), or search for one (supernet search)."
        )


def _open_accuracy(metrics: Metrics) -> Iterator[str]:
    """Where the test images are too few to tell the accuracy itself."""
    found = metrics.accuracy
    if found.low is not None and found.high is not None and found.high - found.low > OPEN:
        yield (
            f"Its accuracy on other such pictures may be {found.low:.0%} and may be {found.high:.0%}: {metrics.samples:,} test images tell no more. "
            "Test it on more before you rely on it."
        )


def _shown_gaps(facts: TrainFacts) -> Iterator[str]:
    """A gap whose interval leaves 0 out: who is worst off, with how many images in search-train, and what may help."""
    notion = facts.asked["fairness"]
    for attribute, found in facts.metrics.attributes.items():
        gap = found.gaps[notion]
        if gap.low is None or words.shown(notion, gap) is not True:
            continue
        own, images = facts.data.counts["train"][attribute][found.worst_group], facts.data.images["train"]
        yield (
            f'The {words.number_name(notion)} by {attribute} is shown, at least {gap.low:.3f}. "{found.worst_group}" has the lowest accuracy and is '
            f"{own:,} of {images:,} images of search-train: try more images of it, then --refit-classifier or --max-gap (docs/fairness.md)."
        )


def _too_sure(metrics: Metrics) -> Iterator[str]:
    """Where the calibration error is shown to be large."""
    if metrics.ece.low is not None and metrics.ece.low > SURE:
        yield (
            f"Its probabilities are off by {100 * (metrics.ece.value or 0.0):.0f} points on average (calibration error): do not read them as shares before "
            "they were calibrated, by a temperature fitted on search-val."
        )


def _few_images(metrics: Metrics) -> Iterator[str]:
    """Cells of class and group whose recall rests on fewer than 10 images: the fewest first."""
    for attribute, found in metrics.attributes.items():
        by_class = tuple(found.groups) == tuple(metrics.classes)  # data without groups
        cells = [
            (recall.too_few, f'"{name}"' if by_class else f'"{name}" with {attribute} {group}')
            for group, own in found.groups.items()
            for name, recall in own.recall.items()
            if recall.too_few is not None
        ]
        named = ", ".join(f"{told} ({number})" for number, told in sorted(cells)[:MOST_NAMES])
        more = f" and {len(cells) - MOST_NAMES} more" if len(cells) > MOST_NAMES else ""
        if cells:
            yield f"Too few test images to say how many are found: {named}{more}. Collect more of them."


def _wide_gaps(metrics: Metrics, notion: str) -> Iterator[str]:
    for attribute, found in metrics.attributes.items():
        gap = found.gaps[notion]
        if gap.low is None or gap.high is None or words.shown(notion, gap) is not False or gap.high - gap.low < WIDE:
            continue
        yield (
            f"The {words.number_name(notion)} by {attribute} is open: it may be 0 and may be {gap.high:.2f}. An interval "
            "half as wide takes some four times as many test images of the groups and classes it is about."
        )


def _int8(facts: TrainFacts) -> Iterator[str]:
    for title, source, found in int8_files(facts):
        float32, int8 = found.test.float32.accuracy, found.test.int8.accuracy
        if float32 is not None and int8 is not None and float32 - int8 > LOSS:
            yield f"{title} loses {100 * (float32 - int8):.1f} points of test accuracy: ship {source}, unless that is little to you."


def _baseline(facts: TrainFacts) -> Iterator[str]:
    found, notion = facts.baseline, facts.asked["fairness"]
    if found is None or found.accuracy.low is None:
        return
    verdicts = {found.accuracy.verdict, *(own.gap.verdict for own in found.as_trained.values())}
    if verdicts == {Verdict.OPEN}:
        yield f"Neither the accuracy nor the {words.number_name(notion)} is shown to differ from {found.folder}: ship the cheaper one."
    elif Verdict.FIRST not in verdicts:
        yield f"{found.folder} is better where a difference is shown, and worse in nothing that is: ship that one."
