"""Facts into words: numbers with units, verdicts, where a latency comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from supernet.fairness import EVENT_WORDS, GROUP_WORDS, NOTIONS, get_notion
from supernet.report.facts import Derived, Difference, Figure, GapFigure, Table, Trained
from supernet.spaces.sensor import VIEWS

PROVENANCE = {
    "measured": "Each operation was measured on the device by itself.",
    "published": "The times of isolated operations, as published.",
    "fitted": "Times of operations fitted to whole networks that ran on the device.",
    "estimated": "Times estimated by a model of the device; nothing ran on it.",
    "adapted": "Another device's table, adapted by a few measurements on this one.",
    "interpolated": "Partly measured, partly interpolated from operations of other shapes.",
    "modelled": "Cycles by a formula from a few numbers of the device; nothing ran on it, and memory's time is not counted.",
    "host-proxy": "Measured on another machine that stands in for the device: trust the order at most.",
}
COSTS = {"latency": "latency", "bops": "bit operations"}  # that a network is sized by
BOPS_ONLY = "BOPS only, no measured time, since no runtime here executes these bits"
EACH_BITS = "each layer's own bits"
SHOWN, NOT_SHOWN = "shown", "not shown"


def plain(name: str) -> str:
    """A name without its underscores."""
    return name.replace("_", " ")


def capital(told: str) -> str:
    """With a capital letter at its start."""
    return told[:1].upper() + told[1:]


def told(value: float | None, digits: int = 4) -> str:
    """A number, or that it is unknown."""
    return "unknown" if value is None else f"{value:.{digits}f}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{100 * value:.{digits}f}%"


def interval(figure: Figure, digits: int = 1, unit: str = "%") -> str:
    """`95.1% (94.2 to 96.0)` of a share with its interval."""
    value, low, high = figure.value, figure.low, figure.high
    if value is None:
        return "unknown"
    if figure.too_few is not None:
        return too_few(figure.too_few)
    told = f"{100 * value:.{digits}f}{unit}"
    return told if low is None or high is None else f"{told} ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


POINTS = ("accuracy_parity", "demographic_parity", "equal_opportunity", "equalized_odds")  # gaps in points of a rate


def gap(found: Figure, notion: str) -> str:
    """A gap with its interval: a percentage of a rate's, else in its own unit, such as nats."""
    return interval(found) if notion in POINTS else estimate(found)


def gap_value(value: float | None, notion: str) -> str:
    """The same of a gap without an interval."""
    return percent(value) if notion in POINTS else told(value)


def too_few(images: int) -> str:
    """Instead of a rate that rests on fewer than 10 images."""
    return f"too few images ({images})"


def within(gap: GapFigure) -> str:
    """Whether a gap is shown to be within --margin; "" where none was asked for."""
    if gap.margin is None or gap.within_margin is None:
        return ""
    return f"within {gap.margin:g}: {shown_words(gap.within_margin)}"


def shown_words(shown: bool | None) -> str:
    """Of what the figures show, or do not; "" where that is no question."""
    return "" if shown is None else SHOWN if shown else NOT_SHOWN


def estimate(found: Figure, sign: str = "", digits: int = 4) -> str:
    """`0.0413 (0.0123 to 0.0600)`: a value with its interval, in its own unit; `sign` "+" of a difference."""
    value, low, high = found.value, found.low, found.high
    if value is None:
        return "unknown"
    if found.too_few is not None:
        return too_few(found.too_few)
    told = f"{value:{sign}.{digits}f}"
    if low is not None and high is not None:
        told += f" ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"
    return told.replace("-", "−")


def shown(key: str, gap: GapFigure) -> bool | None:
    """Whether there is any gap; None without an interval, and for the lowest group's accuracy: of 1 nobody asks."""
    return None if _known(key) and get_notion(key).groups == "worst" else gap.shown


def verdict(key: str, gap: GapFigure) -> str:
    """`shown`, in words."""
    return shown_words(shown(key, gap))


def not_worse(difference: Difference) -> str:
    """Whether a paired difference is shown to be no harm beyond --margin; "" where none was asked for."""
    if difference.margin is None or difference.low is None:
        return ""
    return f"not worse by more than {difference.margin:g}: {shown_words(difference.not_worse)}"


def estimate_and_verdict(key: str, gap: GapFigure) -> str:
    """`0.0413 (0.0000 to 0.0600), not shown`, and whether it is within the margin that was asked for."""
    return ", ".join(filter(None, (estimate(gap), verdict(key, gap), within(gap))))


def number_name(key: str) -> str:
    """What a notion's number is: a gap between groups, or what a worst group or a ratio lacks to 1."""
    groups = get_notion(key).groups if _known(key) else "difference"
    if groups not in ("worst", "ratio"):
        return f"{plain(key)} gap"
    return f"1 − {plain(key)}" if key in NOTIONS else f"{plain(key.split(':')[0])} ({GROUP_WORDS[groups]})"


def label(key: str) -> str:
    """A notion in a row of numbers: as `number_name`, and a gap by its notion alone."""
    return number_name(key).removesuffix(" gap")


def _known(key: str) -> bool:
    return key.split(":")[0] in NOTIONS


def amount(value: float | None, unit: str = "") -> str:
    """A large number with M or k, three digits: `12.3 M`."""
    if value is None:
        return "unknown"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:g} {unit}".rstrip()


def milliseconds(value: float, scale: float | None = None) -> str:
    """Two decimals; where the network (`scale`, or the value itself) takes less than a millisecond, its first three digits."""
    largest = abs(value if scale is None else scale)
    return f"{value:.{2 if largest >= 1 or largest == 0 else 2 - math.floor(math.log10(largest))}f}"


def duration(seconds: Mapping[str, float]) -> str:
    """`search 4 min 10 s, compare 12 s`."""

    def told(value: float) -> str:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s" if minutes else f"{value:.0f} s"

    return ", ".join(told(value) if name == "total" else f"{name} {told(value)}" for name, value in seconds.items())


def bops_words(bops: float, limit: float | None) -> str:
    """Bit operations of a network whose layers have bits of their own, and what nobody knows of it."""
    held = "" if limit is None else f" of {amount(limit)}"
    return f"{amount(bops)} bit operations{held}: {BOPS_ONLY}"


def latency_verdict(predicted_ms: float, error: float | None, budget_ms: float | None, device: str) -> str:
    """A prediction may fit a budget; only a measurement could meet it."""
    told = f"{milliseconds(predicted_ms)} ms on {device}"
    if budget_ms is None:
        return f"{told}, as predicted; no budget was set."
    room = budget_ms - predicted_ms
    if room < 0:
        return (
            f"{told}: predicted not to fit the budget of {budget_ms:g} ms, by {milliseconds(-room, predicted_ms)} ms."
        )
    told += f": predicted to fit the budget of {budget_ms:g} ms, with {milliseconds(room, predicted_ms)} ms to spare."
    if error is not None and predicted_ms * error > room:
        told += " The table's error is larger than that."
    return told


def table_words(table: Table) -> str:
    """Where the milliseconds come from, and how far to trust them."""
    found = table.validation
    told = PROVENANCE.get(table.provenance, f"Provenance: {table.provenance}.")
    told += " The prediction is their sum; this network was not measured end to end."
    if found and table.provenance == "estimated":
        return (
            f"{told} Such sums were off by {percent(found['mape'])} on average from the estimator's own times of {found['n']:,} whole networks "
            f"(rank correlation {found['spearman']:.2f}). How far these are from the device is unknown: measure before you rely on it."
        )
    if found:
        return (
            f"{told} On {found['n']:,} whole networks that were measured, such sums were off by "
            f"{percent(found['mape'])} on average (rank correlation {found['spearman']:.2f})."
        )
    if table.error is not None:
        return f"{told} It may be off by some {percent(table.error)}: measure before you rely on it."
    return told + " How far such sums are from whole networks on the device is unknown: measure before you rely on it."


def notion_meaning(key: str) -> str:
    """What a notion asks for, with its aggregations where they are not its own; nothing for an unknown one."""
    name, *changed = key.split(":")
    if not _known(key):
        return ""
    if not changed:
        return NOTIONS[name].meaning
    notion = get_notion(key)
    return f"{notion.meaning}; {GROUP_WORDS[notion.groups]}, {EVENT_WORDS[notion.events]}"


def model_facts(found: Derived | Trained) -> dict[str, str]:
    """Sizes of the network."""
    told = {"multiply-accumulates": amount(found.macs), "parameters": amount(found.params)}
    view = VIEWS.get(found.ops[0]) if found.ops else None
    if view is not None:
        told["from the sensor"] = view.words
    if found.peak_activation_bytes is not None:
        told["peak activation memory"] = f"{found.peak_activation_bytes / 1024:,.1f} KiB"
    if found.bops is not None:
        told[f"bit operations ({found.bits}, counted, no measured time)"] = amount(found.bops)
    if found.energy_mj is not None:
        told["energy of an image (power × predicted time)"] = f"{found.energy_mj:.4g} mJ"
    if found.utilisation is not None:
        told["utilisation of the array (modelled)"] = percent(found.utilisation)
    if isinstance(found, Derived) and found.log_probability is not None:
        told["log probability of the choice"] = f"{found.log_probability:.2f}".replace("-", "−")
    return told


def event_words(event: str | None, classes: Sequence[str]) -> str:
    """`class 3` with the class's own name; nothing for an event that is no class."""
    if event is None or "class" not in event:
        return ""
    return re.sub(r"class (\d+)$", lambda m: classes[int(m[1])] if int(m[1]) < len(classes) else m[0], event)
