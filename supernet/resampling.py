"""Predictions as tables of sums, and the same statistics of many bootstrap resamples at once.

Every statistic here is a function of sums over samples: the confusion counts by group, the signed calibration error by
group and confidence bin, the loss by group. A resample draws units (samples, or whole clusters) with replacement, which
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
_CHUNK = 4_000_000  # weights held at once


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

    def bootstrap(self, n_boot: int, seed: int) -> dict[str, Array]:
        """``statistics`` of n_boot resamples; the same seed and units draw the same resamples."""
        rng = np.random.default_rng(seed)
        parts, left = [], n_boot
        while left > 0:
            rows = min(left, max(1, _CHUNK // self.num_units))
            drawn_RU = rng.integers(self.num_units, size=(rows, self.num_units))
            drawn_RU += np.arange(rows)[:, None] * self.num_units
            weights_RU = np.bincount(drawn_RU.ravel(), minlength=drawn_RU.size).reshape(drawn_RU.shape)
            parts.append(self.statistics(weights_RU.astype(np.float64)))
            left -= rows
        # confusion tables are many and large, and nobody asks for their intervals
        names = [name for name in parts[0] if not name.endswith("/confusion")] if parts else []
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def statistics(self, weights_RU: Array | None = None) -> dict[str, Array]:
        """Name → statistic of every resample, NaN where undefined; without weights that of the data itself, R = 1.

        accuracy, cross_entropy, ece: (R,). Of each attribute, named "attribute/…": accuracy, cross_entropy, ece (R, G),
        selection_rate, recall, false_positive_rate (R, G, C), confusion (R, G, C, C), mean_group_accuracy (mean over
        groups), worst_group_accuracy, pqd (min / max of group accuracies), gap/NOTION (R,).
        """
        if weights_RU is None:
            weights_RU = np.ones((1, self.num_units))
        confidence_N, predicted_N = self.prob_NC.max(1), self.predicted_N
        bin_N = np.minimum((confidence_N * ECE_BINS).astype(int), ECE_BINS - 1)
        excess_N = confidence_N - (predicted_N == self.label_N)
        loss_N = -np.log(self.prob_NC[np.arange(len(self.label_N)), self.label_N].clip(1e-12))
        num_classes = self.prob_NC.shape[1]
        cell_N = self.label_N * num_classes + predicted_N
        found: dict[str, Array] = {}
        everyone_N = np.zeros(len(self.label_N), int)
        columns = [("", everyone_N, 1), *((f"{n}/", self.group_NA[:, a], len(g)) for a, (n, g) in self._numbered())]
        with np.errstate(invalid="ignore", divide="ignore"):  # empty groups become NaN
            for prefix, group_N, num_groups in columns:
                table_RGP = self._sums(weights_RU, group_N, num_groups, cell_N, num_classes**2)
                confusion_RGCC = table_RGP.reshape(*table_RGP.shape[:2], num_classes, num_classes)
                count_RG = table_RGP.sum(2)
                excess_RGb = self._sums(weights_RU, group_N, num_groups, bin_N, ECE_BINS, excess_N)
                loss_RG = self._sums(weights_RU, group_N, num_groups, everyone_N, 1, loss_N)[..., 0]
                by_group = {
                    "accuracy": np.trace(confusion_RGCC, axis1=2, axis2=3) / count_RG,
                    "cross_entropy": loss_RG / count_RG,
                    "ece": np.abs(excess_RGb).sum(2) / count_RG,
                }
                if not prefix:
                    found |= {name: value_RG[:, 0] for name, value_RG in by_group.items()}
                    continue
                accuracy_RG = by_group["accuracy"]
                lowest_R, highest_R = np.fmin.reduce(accuracy_RG, 1), np.fmax.reduce(accuracy_RG, 1)
                of_class_RGC, selected_RGC = confusion_RGCC.sum(3), confusion_RGCC.sum(2)
                right_RGC = np.diagonal(confusion_RGCC, axis1=2, axis2=3)
                of_attribute = by_group | {
                    "confusion": confusion_RGCC,
                    "selection_rate": selected_RGC / count_RG[..., None],
                    "recall": right_RGC / of_class_RGC,
                    "false_positive_rate": (selected_RGC - right_RGC) / (count_RG[..., None] - of_class_RGC),
                    "mean_group_accuracy": np.nansum(accuracy_RG, 1) / np.isfinite(accuracy_RG).sum(1),
                    "worst_group_accuracy": lowest_R,
                    "pqd": lowest_R / highest_R,
                    **{
                        f"gap/{name}": self._gap(notion, weights_RU, table_RGP, group_N)
                        for name, notion in self.notions.items()
                    },
                }
                found |= {prefix + name: value for name, value in of_attribute.items()}
        return found

    def _numbered(self) -> enumerate[tuple[str, Sequence[str]]]:
        return enumerate(self.attributes.items())

    def _sums(
        self,
        weights_RU: Array,
        group_N: Array,
        num_groups: int,
        cell_N: Array,
        num_cells: int,
        value_N: Array | None = None,
    ) -> Array:
        """Σ of value_N (or the count) over the samples of each group and cell, (R, num_groups, num_cells)."""
        known_N = group_N >= 0
        value_N = np.ones(len(group_N)) if value_N is None else value_N
        place_N = group_N * num_cells + cell_N
        sums_FU = sparse.csr_array(
            (value_N[known_N], (place_N[known_N], self.unit_N[known_N])), shape=(num_groups * num_cells, self.num_units)
        )
        return (sums_FU @ weights_RU.T).T.reshape(len(weights_RU), num_groups, num_cells)

    def _gap(self, notion: Notion, weights_RU: Array, table_RGP: Array, group_N: Array) -> Array:
        """The notion's gap of every resample: from the confusion table, or for a soft notion from the scores."""
        num_groups, num_classes = table_RGP.shape[1], self.prob_NC.shape[1]
        if notion.hard:  # a cell of the confusion table is a sample of label y with a one-hot prediction
            label_P, predicted_P = np.divmod(np.arange(num_classes**2), num_classes)
            one_hot_PC = torch.from_numpy(np.eye(num_classes)[predicted_P])
            score_PE, mask_PE = (x.double() for x in notion.scores(one_hot_PC, torch.from_numpy(label_P)))
            table = torch.from_numpy(np.ascontiguousarray(table_RGP))
            sums = GroupSums(table @ (score_PE * mask_PE), table @ mask_PE)
        else:
            score_NE, mask_NE = self.scores(notion)
            sums = GroupSums(
                *(
                    torch.from_numpy(np.stack([self._dense(weights_RU, v, group_N == g) for g in range(num_groups)], 1))
                    for v in (score_NE * mask_NE, mask_NE.astype(float))
                )
            )
        gap = gap_of_sums(sums, notion)
        return torch.where(gap.defined, gap.value, torch.nan).numpy()

    def _dense(self, weights_RU: Array, value_NE: Array, chosen_N: Array) -> Array:
        """Σ over the chosen samples of each column, (R, E)."""
        samples = np.flatnonzero(chosen_N)
        return weights_RU[:, self.unit_N[samples]] @ value_NE[samples]
