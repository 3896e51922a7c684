"""What the figures of a training say that one should do next, in words. Each line follows from figures on the same page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from supernet.report import words

Content = Mapping[str, Any]
WIDE, LOSS, MOST_NAMES = (
    0.1,
    0.01,
    4,
)  # a gap's interval that tells little; accuracy that int8 may lose; names in a line


def advice(content: Content) -> list[str]:
    """In the order of weight; none where the figures ask for nothing."""
    return [line for part in (_majority, _few_images, _wide_gaps, _int8, _baseline) for line in part(content)]


def _majority(content: Content) -> Iterator[str]:
    metrics = content["metrics"]
    if metrics.get("majority", {"exceeded": True})["exceeded"]:
        return
    found, area = metrics["majority"], metrics.get("auc")
    if area is not None and area["low"] is not None and area["low"] > 0.5 and "too_few" not in area:
        yield (
            f'The network ranks "{metrics["positive"]}" better than chance (AUC) and still names "{found["class"]}" too often: take '
            f"another threshold on its probability, chosen on search-val, or train with --class-weight balanced."
        )
    else:
        yield (
            f'Do not ship it: naming "{found["class"]}" every time does as well. Train longer, with --class-weight balanced, or with more '
            "images of the rare classes."
        )


def _few_images(content: Content) -> Iterator[str]:
    """Cells of class and group whose recall rests on fewer than 10 images: the fewest first."""
    for attribute, found in content["metrics"]["attributes"].items():
        cells = [
            (own["recall"][name]["too_few"], f'"{name}" with {attribute} {group}')
            for group, own in found["groups"].items()
            for name in own["recall"]
            if "too_few" in own["recall"][name]
        ]
        named = ", ".join(f"{told} ({number})" for number, told in sorted(cells)[:MOST_NAMES])
        more = f" and {len(cells) - MOST_NAMES} more" if len(cells) > MOST_NAMES else ""
        if cells:
            yield f"Too few test images to say how many are found: {named}{more}. Collect more of them."


def _wide_gaps(content: Content) -> Iterator[str]:
    notion = content["asked"]["fairness"]
    for attribute, found in content["metrics"]["attributes"].items():
        gap = found["gaps"][notion]
        if gap["low"] is None or words.verdict(notion, gap) != words.NOT_SHOWN or gap["high"] - gap["low"] < WIDE:
            continue
        yield (
            f"The {words.number_name(notion)} by {attribute} is open: it may be 0 and may be {gap['high']:.2f}. An interval "
            "half as wide takes some four times as many test images of the groups and classes it is about."
        )


def _int8(content: Content) -> Iterator[str]:
    if not content.get("int8"):
        return
    float32, int8 = (content["int8"]["test"][name]["accuracy"] for name in ("float32", "int8"))
    if float32 is not None and int8 is not None and float32 - int8 > LOSS:
        yield f"The int8 file loses {100 * (float32 - int8):.1f} points of test accuracy: ship model.onnx, unless that is little to you."


def _baseline(content: Content) -> Iterator[str]:
    found, notion = content.get("baseline"), content["asked"]["fairness"]
    if not found or found["accuracy"]["low"] is None:
        return
    gaps = {name: own["gap"]["verdict"] for name, own in found["as_trained"].items()}
    verdicts = {found["accuracy"]["verdict"], *gaps.values()}
    if verdicts == {words.NOT_SHOWN}:
        yield f"Neither the accuracy nor the {words.number_name(notion)} is shown to differ from {found['folder']}: ship the cheaper one."
    elif verdicts <= {"B", words.NOT_SHOWN}:
        yield f"{found['folder']} is better where a difference is shown, and worse in nothing that is: ship that one."
