"""quality.json: the loss that each group has on search-val, foretold for every architecture by one (L, K, G) table.

    link(loss_g) = base_G[g] + Σ_l added_LKG[l, k(l), g]

The link is the logarithm where the table was fitted to a supernet's paths, and the identity where blocks were replaced one at a time in
a trained network. The table knows no device and no budget: any later one is answered from it (answers.py).

Shapes: N architectures, L layers, K operations, G groups of all attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from supernet.errors import UserError
from supernet.intervals import TOO_FEW
from supernet.schema import read_json, write_json
from supernet.spaces import SearchSpace, get_space

QUALITY = "quality.json"
SUPERNET, TRAINED = "paths of a supernet, shared weights", "networks trained alone"  # sources of a table
GAP_TRUST = 0.1  # how much a gap that a supernet foretells counts: fully counted it made the trained networks' gaps larger (one_search.json)
Link = Literal["log", "identity"]
UNITS: dict[Link, str] = {
    "log": "log of nats of cross-entropy on search-val",
    "identity": "nats: KL divergence from the teacher (added), its cross-entropy on search-val (base)",
}


def gaps(loss: np.ndarray, attributes: Sequence[str]) -> np.ndarray:
    """(…, G) losses of groups, each of the attribute named → (…,) the largest difference of two groups of one attribute, the worst over these."""
    members = [[own == name for own in attributes] for name in dict.fromkeys(attributes)]
    return np.max([np.ptp(loss[..., own], axis=-1) for own in members], axis=0)


@dataclass(frozen=True)
class Quality:
    """The table of one run.

    groups:      "attribute: group" of each of the G
    attributes:  the attribute of each of the G; a gap is between groups of one attribute
    link:        of the sum with the loss, nats of cross-entropy
    base_G, added_LKG: see above; 0 where an operation is not allowed
    error_G:     how far the link of the loss is off on paths that were left out (root of the mean square); None if not known
    teacher_sha256: of the weights of the trained network that blocks were replaced in, if it was so
    fit:         how it was fitted, for people: paths, images, those of each group, Kendall's τ on what was left out …
    fingerprint: of the data
    space:       of L layers and K options
    """

    space: SearchSpace
    groups: tuple[str, ...]
    attributes: tuple[str, ...]
    link: Link
    base_G: np.ndarray
    added_LKG: np.ndarray
    error_G: np.ndarray | None
    fit: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    teacher_sha256: str | None = None

    @property
    def gap_trust(self) -> float:
        """What a weight of the predicted gap is multiplied with."""
        return GAP_TRUST if self.fit.get("source") == SUPERNET else 1.0

    def linked_NG(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, G) the link of the loss of architectures (N, L)."""
        index_NL = np.asarray(index_NL)
        return self.base_G + self.added_LKG[np.arange(index_NL.shape[1]), index_NL].sum(axis=1)

    def loss_NG(self, index_NL: np.ndarray) -> np.ndarray:
        """(N, G) predicted loss, nats of cross-entropy."""
        linked_NG = self.linked_NG(index_NL)
        return np.exp(linked_NG) if self.link == "log" else linked_NG

    def gaps(self, loss: np.ndarray) -> np.ndarray:
        """`gaps` of this table's groups."""
        return gaps(loss, self.attributes)

    def gap(self, loss_G: np.ndarray) -> float:
        """`gaps` of one architecture."""
        return float(self.gaps(loss_G))

    def few(self) -> dict[str, int]:
        """Images of the groups whose loss rests on fewer than `TOO_FEW` of search-val; none where an earlier version did not count."""
        counts: dict[str, int] = self.fit.get("group_images", {})
        return {name: number for name, number in counts.items() if number < TOO_FEW}

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_json(path, {
            "schema_version": 1, "space": self.space.name, "ops": list(self.space.ops), "teacher_sha256": self.teacher_sha256,
            "fingerprint": self.fingerprint, "groups": list(self.groups), "attributes": list(self.attributes),
            "link": self.link, "unit": UNITS[self.link],
            "base_G": self.base_G.tolist(), "added_LKG": np.round(self.added_LKG, 6).tolist(),
            "error_G": None if self.error_G is None else self.error_G.tolist(), "fit": self.fit,
        })  # fmt: skip

    @classmethod
    def load(cls, run: Path) -> Quality:
        """Of a run's folder, or the file. Raises UserError for one that is missing, or wrong, by the field's name."""
        path = run / QUALITY if run.is_dir() else run
        if not path.exists():
            raise UserError(
                f"{path} is missing: a finished supernet search (differentiable or blockwise) leaves it in its folder."
            )
        content = read_json(path, "table of losses", _SCHEMA)
        where = f"table of losses {path}"
        space, groups = get_space(content["space"]), tuple(content["groups"])
        if content["ops"] != list(space.ops):
            raise UserError(f"{where}: ops: not those of {space.name}.")
        attributes = tuple(content.get("attributes") or (name.partition(": ")[0] for name in groups))
        error_G = content.get("error_G")
        shape = (*space.valid_LK.shape, len(groups))
        numbers = {"added_LKG": (content["added_LKG"], shape), "base_G": (content["base_G"], shape[2:])}
        numbers |= {} if error_G is None else {"error_G": (error_G, shape[2:])}
        for name, (value, expected) in numbers.items():
            if np.array(value, dtype=object).shape != expected:
                raise UserError(f"{where}: {name}: not {' × '.join(map(str, expected))} numbers.")
        link: Link = content.get("link", "identity")
        if len(attributes) != len(groups):
            raise UserError(f"{where}: attributes: not one for each of the {len(groups)} groups.")
        return cls(
            space, groups, attributes, link, np.array(content["base_G"], float),
            np.array(content["added_LKG"], float), None if error_G is None else np.array(error_G, float),
            content.get("fit", {}), content["fingerprint"], content.get("teacher_sha256"),
        )  # fmt: skip


_NUMBER = {"type": "number", "minimum": -1e6, "maximum": 1e6}
_NUMBERS = {"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": 1000}
_NAMES = {"type": "array", "items": {"type": "string", "maxLength": 2000}, "minItems": 1, "maxItems": 1000}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema_version", "space", "ops", "fingerprint", "groups", "base_G", "added_LKG"],
    "properties": {
        "schema_version": {"const": 1},
        "space": {"type": "string", "maxLength": 500},
        "ops": _NAMES,
        "fingerprint": {"type": "string", "maxLength": 500},
        "groups": _NAMES,
        "attributes": _NAMES,
        "link": {"enum": ["log", "identity"]},
        "base_G": _NUMBERS,
        "added_LKG": {
            "type": "array",
            "items": {"type": "array", "items": _NUMBERS, "maxItems": 100},
            "maxItems": 1000,
        },
        "teacher_sha256": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 500}]},
        "unit": {"type": "string", "maxLength": 500},
        "error_G": {"anyOf": [{"type": "null"}, _NUMBERS]},
        "fit": {
            "type": "object",
            "properties": {
                "group_images": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
            },
        },
    },
}
