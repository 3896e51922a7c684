"""The page of `supernet front`: predicted loss and gap against latency, and against each other, with every figure below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from supernet.report import plots, words
from supernet.report.script import SCRIPT, SCRIPT_POLICY
from supernet.report.svg import tag


def front_page(device: str, rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> str:
    """One self-contained page, nothing fetched; its table can be sorted and filtered."""
    style = (resources.files("supernet.report") / "style.css").read_text(encoding="utf-8")
    axes = (
        ("Mean predicted loss, nats, against latency, ms", ms, mean_loss),
        ("Predicted gap, nats, against latency, ms", ms, gap),
        ("Predicted gap against mean predicted loss, nats", mean_loss, gap),
    )
    pictures = [tag("figure", tag("figcaption", title), picture(title, rows, x, y)) for title, x, y in axes]
    heads = ["#", "latency, ms", "mean loss", "gap", *groups, "asked for", "operations"]
    table = tag(
        "table",
        tag("thead", tag("tr", *(tag("th", head) for head in heads))),
        tag("tbody", *(table_row(number, row, groups) for number, row in enumerate(rows, 1))),
        cls="sortable",
    )
    title = f"Front on {device}, as one search foretells it"
    lead = "Predicted, not measured: losses are from the search's table, latency from the device's. Retrain to know."
    body = tag("main", tag("h1", title), tag("p", lead, cls="lead"), tag("div", *pictures, cls="grid"),
               tag("div", table, cls="scroll", tabindex=0, role="group", aria_label="Table"))  # fmt: skip
    policy = f'<meta http-equiv="Content-Security-Policy" content="{SCRIPT_POLICY}">'
    head = f'<meta charset="utf-8">{policy}<meta name="viewport" content="width=device-width, initial-scale=1"><title>{Markup.escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{style}</style></head><body>{body}<script>{SCRIPT}</script></body></html>\n'


def ms(row: Mapping[str, Any]) -> float:
    return float(row["costs"]["latency"])


def mean_loss(row: Mapping[str, Any]) -> float:
    return float(row["predicted_mean_loss"])


def gap(row: Mapping[str, Any]) -> float:
    return float(row["predicted_gap"])


def picture(title: str, rows: Sequence[Mapping[str, Any]], x: Any, y: Any) -> Markup:
    """A mark for each architecture."""
    marks = [
        {
            "x": x(row), "y": y(row), "label": number,
            "told": f"{number}: {words.milliseconds(ms(row))} ms, loss {mean_loss(row):.4f}, gap {gap(row):.4f}",
            "kind": "front" if row["non_dominated"] else "dominated",
        }
        for number, row in enumerate(rows, 1)
    ]  # fmt: skip
    return plots.scatter(title, marks, None)


def table_row(number: int, row: Mapping[str, Any], groups: Sequence[str]) -> Markup:
    asked = "; ".join(f"{one['goal']} within {one['budget_ms']:.4g} ms" for one in row["asked"])
    losses = [f"{row['predicted_loss'][name]:.4f}" for name in groups]
    numbers = [str(number), words.milliseconds(ms(row)), f"{mean_loss(row):.4f}", f"{gap(row):.4f}", *losses]
    return tag("tr", *(tag("td", value, cls="num") for value in numbers), tag("td", asked), tag("td", " ".join(row["ops"])))  # fmt: skip
