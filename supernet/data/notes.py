"""Lines about a data set that a person should read before believing a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import MonteCarloMethod, chi2_contingency

from supernet.data.decode import BLANK, Decoded
from supernet.data.grouped import UNKNOWN, ImageFile, Source
from supernet.schema import printable

SHARE_P, SHARE_DISTANCE = 0.01, 0.05  # significance of different class shares, and the least difference that is said
FEW_EXPECTED = 5  # below, the chi-square distribution does not hold
MOST_NAMES = 3
DARK = 16  # a picture whose values end so many times below white may have been stored with fewer bits


def unknown_notes(source: Source) -> tuple[str, ...]:
    """One line for each attribute with unknown groups: how many images, in which split."""
    lines = []
    for position, attribute in enumerate(source.attributes):
        counts = {split: int((part.group_NA[:, position] == UNKNOWN).sum()) for split, part in source.parts.items()}
        if any(counts.values()):
            text = ", ".join(f"{count} of {split}" for split, count in counts.items() if count)
            lines.append(f"Unknown {attribute}: {text}; trained on, but part of no group and no gap.")
    return tuple(lines)


def cluster_notes(source: Source) -> tuple[str, ...]:
    """A line for each pair of splits that share clusters, which flatters the later one."""
    own = {split: set(part.cluster_N.tolist()) for split, part in source.parts.items() if part.cluster_N is not None}
    shared = {pair: len(own[pair[0]] & own[pair[1]]) for pair in combinations(own, 2)}
    return tuple(f"{count} clusters are in both {a} and {b}." for (a, b), count in shared.items() if count)


def class_notes(source: Source) -> Iterator[str]:
    """Classes that a split lacks, and classes whose shares differ between splits more than chance would have it."""
    count_SC = np.array([np.bincount(part.label_N, minlength=len(source.classes)) for part in source.parts.values()])
    for split, count_C in zip(source.parts, count_SC, strict=True):
        absent = [source.classes[code] for code in np.flatnonzero(count_C == 0)]
        if absent:
            yield f"No image of {split} is of class {_few(absent)}: nothing can be said of it there."
    share_SC = count_SC / count_SC.sum(1, keepdims=True)
    if any(_differ(count_SC[list(pair)]) for pair in combinations(range(len(count_SC)), 2)):
        most_different = np.argsort(-np.ptp(share_SC, axis=0), kind="stable")[:MOST_NAMES].tolist()
        told = most_different if len(source.classes) > 2 else [1]  # of two, the other has the rest
        figures = "; ".join(f'"{source.classes[code]}" is ' + _shares(source, share_SC[:, code]) for code in told)
        yield f"Class shares differ between the splits: {figures}. Accuracies and gaps of two splits are of different mixes."


def group_notes(source: Source) -> Iterator[str]:
    """Groups whose share, or whose own share of a class, differs between splits more than chance would have it."""
    for column, (attribute, names) in enumerate(source.attributes.items()):
        groups, classes = len(names), len(source.classes)
        cells = [
            np.bincount(part.group_NA[known, column] * classes + part.label_N[known], minlength=groups * classes)
            for part in source.parts.values()
            for known in [part.group_NA[:, column] != UNKNOWN]
        ]
        count_SGC = np.array(cells).reshape(-1, groups, classes)
        count_SG = count_SGC.sum(2)
        pairs = [list(pair) for pair in combinations(range(len(count_SG)), 2) if count_SG[list(pair)].sum(1).all()]
        if any(_differ(count_SG[pair]) for pair in pairs):
            share_SG = count_SG / count_SG.sum(1, keepdims=True).clip(1)
            g = int(np.ptp(share_SG, axis=0).argmax())
            yield f'The splits have different mixes of groups: "{names[g]}" of {attribute} is {_shares(source, share_SG[:, g])}. An accuracy over all of them is of its own mix.'
        share_SGC = count_SGC / count_SGC.sum(2, keepdims=True).clip(1)
        odd = [
            g
            for g in range(groups)
            if any(count_SG[pair, g].all() and _differ(count_SGC[pair, g], groups) for pair in pairs)
        ]
        if odd:
            g = max(odd, key=lambda g: float(np.ptp(share_SGC[:, g], axis=0).max()))
            k = int(np.ptp(share_SGC[:, g], axis=0).argmax()) if classes > 2 else 1
            more = f" (so it is in {len(odd)} groups)" if len(odd) > 1 else ""
            yield (
                f'Class shares differ between the splits inside a group: of "{names[g]}" of {attribute}, "{source.classes[k]}" is '
                f"{_shares(source, share_SGC[:, g, k])}{more}. Gaps of two splits are of different mixes."
            )


def _shares(source: Source, share_S: np.ndarray) -> str:
    return ", ".join(f"{share:.1%} of {split}" for split, share in zip(source.parts, share_S, strict=True))


def _differ(count_2C: np.ndarray, questions: int = 1) -> bool:
    """Whether the shares of two splits differ: Pearson's χ² test, and a total variation distance worth saying.

    `questions` that are asked at once share the significance (Bonferroni).
    """
    count_2C = count_2C[:, count_2C.sum(0) > 0]
    expected_2C = count_2C.sum(1, keepdims=True) * count_2C.sum(0) / count_2C.sum()
    rare_C = (expected_2C < FEW_EXPECTED).any(axis=0)
    if rare_C.sum() > 1:  # rare classes count as one
        count_2C = np.column_stack([count_2C[:, ~rare_C], count_2C[:, rare_C].sum(1)])
        expected_2C = count_2C.sum(1, keepdims=True) * count_2C.sum(0) / count_2C.sum()
    share_2C = count_2C / count_2C.sum(1, keepdims=True)
    if count_2C.shape[1] < 2 or np.abs(share_2C[0] - share_2C[1]).sum() / 2 < SHARE_DISTANCE:
        return False
    drawn = (
        MonteCarloMethod(n_resamples=9999, rng=np.random.default_rng(0)) if expected_2C.min() < FEW_EXPECTED else None
    )
    return bool(chi2_contingency(count_2C, correction=False, method=drawn).pvalue < SHARE_P / questions)


def blank_notes(source: Source, mark_N: np.ndarray) -> Iterator[str]:
    """Pictures of one colour: of files that were misread, or exported without their content."""
    blank = np.flatnonzero(mark_N == BLANK)
    if len(blank):
        images = [image for part in source.parts.values() for image in part.images]
        first = images[blank[0]]
        named = f", such as {printable(first.row)}" if isinstance(first, ImageFile) else ""
        many = "All" if len(blank) == len(mark_N) else f"{len(blank)} of"
        yield f"{many} {len(mark_N)} pictures are constant: of a single colour, nothing to see{named}. Look at these files."


def picture_notes(files: Sequence[ImageFile], decoded: Decoded, channels: int | None) -> Iterator[str]:
    """Colour beside grey, and how values of more than 8 bits were read."""
    colour = np.flatnonzero(decoded.colour_N)
    if len(colour) and decoded.images_NCHW.shape[1] == 1:
        yield f"{len(colour)} of {len(files)} pictures are in colour and were read in grey (--channels 1)."
    elif 0 < len(colour) < len(files) and channels is None:
        yield (
            f"{len(colour)} of {len(files)} pictures {'is' if len(colour) == 1 else 'are'} in colour, such as {printable(files[colour[0]].row)}: all were read in "
            "colour. --channels 1 reads all in grey."
        )
    for position, what in enumerate(("whole numbers", "floating-point numbers")):
        bright_N, white = decoded.bright_N2[:, position], decoded.white[position]
        if bright_N.any():
            deep = np.flatnonzero(bright_N)
            dark = deep[bright_N[deep] * DARK <= white]
            doubt = f" {len(dark)} of them are darker than a {DARK}th of that, such as {printable(files[dark[0]].row)}: store all with the same scale." if len(dark) else ""  # fmt: skip
            yield f"{len(deep)} pictures have {what} of more than 8 bits; {white:g} was read as white.{doubt}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(f'"{name}"' for name in names[:MOST_NAMES]) + more
