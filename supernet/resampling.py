"""Predictions as tables of sums, and the same statistics of many bootstrap resamples at once.

Every statistic here is a function of sums over samples: the right ones by group, the signed calibration error by group and
confidence bin, the loss by group, a notion's scores by group and event. A resample draws units (samples, or whole clusters) with replacement, which
gives each unit a weight; weights_RU @ sums_UF are the sums of R resamples, without touching a sample again.

Shapes: N samples, C classes, A attributes, G groups, E events, R resamples, U units, F sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import sparse

from supernet.errors import UserError
from supernet.fairness import NOTIONS, GroupSums, Notion, gap_of_sums

Array = np.ndarray
ECE_BINS = 15  # Guo et al. 2017
_CHUNK = 4_000_000  # numbers held at once, weights and sums


@dataclass(frozen=True)
class Predictions:
    """Checked predictions; ``attributes``: name → names of its groups, in the order of group_NA's columns.

    prob_NC: rows sum to 1.  label_N: class numbers.  unit_N: what is drawn together, `num_units` of them.  notions: by name.
    """

    prob_NC: Array
    label_N: Array
    group_NA: Array
    attributes: Mapping[str, Sequence[str]]
    unit_N: Array
    num_units: int
    notions: Mapping[str, Notion] = field(default_factory=lambda: NOTIONS)

    @classmethod
    def checked(
        cls,
        prob_NC: Array,
        label_N: Array,
        group_NA: Array,
        classes: Sequence[str],
        attributes: Mapping[str, Sequence[str]],
        cluster: Array | None = None,
        notions: Mapping[str, Notion] = NOTIONS,
    ) -> Predictions:
        """Raises UserError for shapes or values that do not fit, and for an attribute with fewer than two groups."""
        prob_NC, label_N, group_NA = np.asarray(prob_NC, np.float64), np.asarray(label_N), np.asarray(group_NA)
        size = len(prob_NC)
        if size == 0:
            raise UserError("There are no predictions to score: the data's part is empty.")
        shapes = {"prob_NC": (size, len(classes)), "label_N": (size,), "group_NA": (size, len(attributes))}
        for name, array in {"prob_NC": prob_NC, "label_N": label_N, "group_NA": group_NA}.items():
            if array.shape != shapes[name]:
                raise UserError(f"{name} has shape {array.shape}, not {shapes[name]}.")
        if not np.isfinite(prob_NC).all():
            raise UserError("Some predicted probabilities are not finite: the model has diverged.")
        if label_N.min() < 0 or label_N.max() >= len(classes):
            raise UserError(f"A label lies outside 0 to {len(classes) - 1}.")
        for column_N, (attribute, names) in zip(group_NA.T, attributes.items(), strict=True):
            if column_N.max() >= len(names):
                raise UserError(
                    f'A group of attribute "{attribute}" lies outside 0 to {len(names) - 1} (−1 = unknown).'
                )
            present = [names[g] for g in np.unique(column_N[column_N >= 0])]
            if len(present) < 2:
                seen = f'only the group "{present[0]}"' if present else "no known group"
                raise UserError(f'Attribute "{attribute}" has {seen} here; a fairness metric compares two or more.')
        if cluster is None:
            return cls(prob_NC, label_N, group_NA, attributes, np.arange(size), size, notions)
        if len(cluster) != size:
            raise UserError(f"{len(cluster)} cluster ids for {size} predictions.")
        ids, unit_N = np.unique(cluster, return_inverse=True)
        return cls(prob_NC, label_N, group_NA, attributes, unit_N, len(ids), notions)

    @property
    def predicted_N(self) -> Array:
        return self.prob_NC.argmax(1)

    def scores(self, notion: Notion) -> tuple[Array, Array]:
        """score_NE and mask_NE of a notion: at one-hot predictions, or at the probabilities where it speaks of them."""
        prob_NC = np.eye(self.prob_NC.shape[1])[self.predicted_N] if notion.hard else self.prob_NC
        score_NE, mask_NE = notion.scores(torch.from_numpy(prob_NC), torch.from_numpy(self.label_N).long())
        return score_NE.numpy(), mask_NE.numpy()

    def bootstrap(self, n_boot: int, seed: int, gaps: Sequence[str] = ()) -> dict[str, Array]:
        """Cross-entropy and ece as in ``statistics``, and gap/NOTION of the notions named, of n_boot resamples.

        The same seed and units draw the same resamples. Only what has its interval from them is kept: tables of R × G × C²
        are large, and without groups G is C.
        """
        rng = np.random.default_rng(seed)
        parts, left = [], n_boot
        while left > 0:
            rows = min(left, max(1, _CHUNK // self._width(gaps)))
            drawn_RU = rng.integers(self.num_units, size=(rows, self.num_units))
            drawn_RU += np.arange(rows)[:, None] * self.num_units
            weights_RU = np.bincount(drawn_RU.ravel(), minlength=drawn_RU.size).reshape(drawn_RU.shape).astype(float)
            parts.append(self._losses(weights_RU) | self._gaps(weights_RU, gaps))
            left -= rows
        return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}

    def _width(self, gaps: Sequence[str]) -> int:
        """Numbers that a resample takes: its weights, the sums of all groups, and a gap's weights of samples and sums."""
        sizes = [len(names) for names in self.attributes.values()]
        events = [len(self.notions[name].event_names(self.prob_NC.shape[1])) for name in gaps]
        of_gap = len(self.label_N) + 2 * max(sizes, default=0) * max(events, default=0) if gaps else 0
        return self.num_units + (1 + sum(sizes)) * (ECE_BINS + 2) + of_gap

    def statistics(self, weights_RU: Array | None = None) -> dict[str, Array]:
        """Name → statistic of every resample, NaN where undefined; without weights that of the data itself, R = 1.

        accuracy, cross_entropy, ece: (R,). Of each attribute, named "attribute/…": accuracy, cross_entropy, ece (R, G),
        mean_group_accuracy (mean over groups), worst_group_accuracy, pqd (min / max of group accuracies), gap/NOTION (R,).
        """
        if weights_RU is None:
            weights_RU = np.ones((1, self.num_units))
        right_N = (self.predicted_N == self.label_N).astype(float)
        found = self._losses(weights_RU) | self._gaps(weights_RU, tuple(self.notions))
        with np.errstate(invalid="ignore", divide="ignore"):  # empty groups become NaN
            for prefix, group_N, num_groups in self._columns():
                count_RG = self._sums(weights_RU, group_N, num_groups)[..., 0]
                accuracy_RG = self._sums(weights_RU, group_N, num_groups, right_N)[..., 0] / count_RG
                if not prefix:
                    found["accuracy"] = accuracy_RG[:, 0]
                    continue
                lowest_R, highest_R = np.fmin.reduce(accuracy_RG, 1), np.fmax.reduce(accuracy_RG, 1)
                of_attribute = {
                    "accuracy": accuracy_RG,
                    "mean_group_accuracy": np.nansum(accuracy_RG, 1) / np.isfinite(accuracy_RG).sum(1),
                    "worst_group_accuracy": lowest_R,
                    "pqd": lowest_R / highest_R,
                }
                found |= {prefix + name: value for name, value in of_attribute.items()}
        return found

    def confusion_GCC(self, group_N: Array, num_groups: int) -> Array:
        """Counts of the data itself; rows: true class, columns: predicted class. Group −1: left out."""
        found_GCC = np.zeros((num_groups, *2 * self.prob_NC.shape[1:]), int)
        known_N = group_N >= 0
        np.add.at(found_GCC, (group_N[known_N], self.label_N[known_N], self.predicted_N[known_N]), 1)
        return found_GCC

    def _losses(self, weights_RU: Array) -> dict[str, Array]:
        """Cross-entropy and ece, of all samples (R,) and of each attribute's groups (R, G)."""
        confidence_N = self.prob_NC.max(1)
        bin_N = np.minimum((confidence_N * ECE_BINS).astype(int), ECE_BINS - 1)
        excess_N = confidence_N - (self.predicted_N == self.label_N)
        loss_N = -np.log(self.prob_NC[np.arange(len(self.label_N)), self.label_N].clip(1e-12))
        found: dict[str, Array] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for prefix, group_N, num_groups in self._columns():
                count_RG = self._sums(weights_RU, group_N, num_groups)[..., 0]
                excess_RGb = self._sums(weights_RU, group_N, num_groups, excess_N, bin_N, ECE_BINS)
                by_group = {
                    "cross_entropy": self._sums(weights_RU, group_N, num_groups, loss_N)[..., 0] / count_RG,
                    "ece": np.abs(excess_RGb).sum(2) / count_RG,
                }
                found |= {prefix + name: value_RG if prefix else value_RG[:, 0] for name, value_RG in by_group.items()}
        return found

    def _gaps(self, weights_RU: Array, names: Sequence[str]) -> dict[str, Array]:
        """attribute/gap/NOTION (R,) of the notions named."""
        found = {}
        for name in names:
            notion, (score_NE, mask_NE) = self.notions[name], self.scores(self.notions[name])
            values = score_NE * mask_NE, mask_NE.astype(float)
            for prefix, group_N, num_groups in self._columns()[1:]:
                sums_RGE = (
                    np.stack([self._dense(weights_RU, value_NE, group_N == g) for g in range(num_groups)], 1)
                    for value_NE in values
                )
                gap = gap_of_sums(GroupSums(*map(torch.from_numpy, sums_RGE)), notion)
                found[f"{prefix}gap/{name}"] = torch.where(gap.defined, gap.value, torch.nan).numpy()
        return found

    def _columns(self) -> list[tuple[str, Array, int]]:
        """(prefix of names, group_N, number of groups): everyone, then each attribute."""
        everyone = ("", np.zeros(len(self.label_N), int), 1)
        return [everyone, *((f"{n}/", self.group_NA[:, a], len(g)) for a, (n, g) in enumerate(self.attributes.items()))]

    def _sums(
        self,
        weights_RU: Array,
        group_N: Array,
        num_groups: int,
        value_N: Array | None = None,
        cell_N: Array | None = None,
        num_cells: int = 1,
    ) -> Array:
        """Σ of value_N (or the count) over the samples of each group and cell, (R, num_groups, num_cells)."""
        known_N = group_N >= 0
        value_N = np.ones(len(group_N)) if value_N is None else value_N
        place_N = group_N * num_cells + (0 if cell_N is None else cell_N)
        sums_FU = sparse.csr_array(
            (value_N[known_N], (place_N[known_N], self.unit_N[known_N])), shape=(num_groups * num_cells, self.num_units)
        )
        return (sums_FU @ weights_RU.T).T.reshape(len(weights_RU), num_groups, num_cells)

    def _dense(self, weights_RU: Array, value_NE: Array, chosen_N: Array) -> Array:
        """Σ over the chosen samples of each column, (R, E)."""
        samples = np.flatnonzero(chosen_N)
        return weights_RU[:, self.unit_N[samples]] @ value_NE[samples]
