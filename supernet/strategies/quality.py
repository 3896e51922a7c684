"""quality.json: how far each operation alone leads from the teacher's outputs, by group, written once and read for other budgets.

Shapes: L layers, K operations, G groups of all attributes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from supernet.errors import UserError
from supernet.problem import Problem
from supernet.schema import read_json
from supernet.teacher import Teacher

QUALITY = "quality.json"


def facts(
    problem: Problem, teacher: Teacher, names: list[str], base_G: np.ndarray, added_LKG: np.ndarray
) -> dict[str, Any]:
    """quality.json: what any later budget or device can be answered from."""
    return {
        "schema_version": 1,
        "space": problem.space.name,
        "ops": list(problem.space.ops),
        "teacher": teacher.folder.name,
        "teacher_sha256": teacher.sha256,
        "fingerprint": problem.data.fingerprint,
        "groups": names,
        "unit": "nats: KL divergence from the teacher (added), its cross-entropy on search-val (base)",
        "base_G": base_G.tolist(),
        "added_LKG": np.round(added_LKG, 6).tolist(),
    }


_NUMBERS = {
    "type": "array",
    "items": {"type": "number", "minimum": -1e6, "maximum": 1e6},
    "minItems": 1,
    "maxItems": 1000,
}
_QUALITY: dict[str, Any] = {
    "type": "object",
    "required": [
        "schema_version",
        "space",
        "ops",
        "teacher_sha256",
        "fingerprint",
        "unit",
        "groups",
        "base_G",
        "added_LKG",
    ],
    "properties": {
        "schema_version": {"const": 1},
        "groups": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000},
        "base_G": _NUMBERS,
        "added_LKG": {
            "type": "array",
            "items": {"type": "array", "items": _NUMBERS, "maxItems": 100},
            "maxItems": 1000,
        },
    },
}


def read_quality(run: str, problem: Problem, teacher: Teacher) -> tuple[list[str], np.ndarray, np.ndarray]:
    """As `scores`, from an earlier run's folder. Raises UserError where it is of another space, teacher or data."""
    path = Path(run) / QUALITY if Path(run).is_dir() else Path(run)
    content = read_json(path, "table of losses", _QUALITY)
    expected = facts(problem, teacher, [], np.zeros(1), np.zeros((1, 1, 1)))
    for name in ("space", "ops", "teacher_sha256", "fingerprint", "unit"):
        if content[name] != expected[name]:
            raise UserError(f"table of losses {path}: {name}: it is of another run's: leave --quality out.")
    shape = (*problem.space.valid_LK.shape, len(content["groups"]))
    added_LKG = np.array(content["added_LKG"], dtype=object)
    if added_LKG.shape != shape or len(content["base_G"]) != shape[2]:
        raise UserError(
            f"table of losses {path}: added_LKG: not layers × operations × groups, {' × '.join(map(str, shape))}."
        )
    return content["groups"], np.array(content["base_G"]), added_LKG.astype(float)
