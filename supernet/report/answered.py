"""What one search answers, as pictures: a front for each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supernet.report import plots, words
from supernet.report.facts import Answered


def answered_pictures(answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """Of each device its answers: predicted loss against latency, numbered as in the table; those no other answer beats in both are filled."""
    pictures = []
    for device in dict.fromkeys(one.device for one in answers):
        own = [(number, one) for number, one in enumerate(answers, 1) if one.device == device]
        places = [(one.costs["latency"], one.mean_loss) for _, one in own]
        best = [
            not any(other != place and other[0] <= place[0] and other[1] <= place[1] for other in places)
            for place in places
        ]
        marks = [
            {
                "x": one.costs["latency"], "y": one.mean_loss, "label": number, "kind": "front" if on else "dominated",
                "told": f"{number}: {one.budget_ms:g} ms asked, {words.milliseconds(one.costs['latency'])} ms, loss {one.mean_loss:.4f}, gap {one.gap:.4f}",
            }
            for (number, one), on in zip(own, best, strict=True)
        ]  # fmt: skip
        title = f"{device}: mean predicted loss, nats, against latency, ms"
        pictures.append({"title": title, "chart": plots.scatter(title, marks, None)})
    return pictures
