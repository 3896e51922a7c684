"""What the terminal says of predictions that were measured."""

from __future__ import annotations

from supernet.report.classes import class_lines, other_class_words
from supernet.report.facts import Data, Evaluated, Metrics
from supernet.report.words import estimate, estimate_and_verdict, number_name


def metric_lines(what: str, metrics: Metrics, data: Data | Evaluated, notion: str) -> list[str]:
    """`what` it is ("Test accuracy"), each class, then a line an attribute."""
    spread = " (95% intervals)" if metrics.bootstrap.resamples else ""
    lines = [f"{what} {estimate(metrics.accuracy)} on {metrics.samples:,} images{spread}", *class_lines(metrics)]
    for attribute, found in metrics.attributes.items():
        groups = ", ".join(f"{name} {estimate(group.accuracy)}" for name, group in found.groups.items())
        lines.append(
            f"  {attribute}: {groups}; {number_name(notion)} {estimate_and_verdict(notion, found.gaps[notion])}"
            f"{other_class_words(found.gaps[notion], data, notion)}"
        )
    return lines
