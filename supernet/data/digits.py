"""Handwritten digits: what `writers`, `mnist` and `qmnist` share.

NIST collected them from high-school students and from Census Bureau employees. The group therefore mixes age,
occupation and collection series: it is student/employee, not age.
"""

from __future__ import annotations

import numpy as np

from supernet.data.grouped import Augment, Part

CLASSES = tuple("0123456789")
ATTRIBUTES: dict[str, tuple[str, ...]] = {"writer": ("employee", "student")}
# A mirrored digit is no digit: no flip.
AUGMENT = Augment(shift=2, rotate=10.0, scale=0.1)


def part(images_NHW: np.ndarray, label_N: np.ndarray, student_N: np.ndarray, writer_N: np.ndarray | None) -> Part:
    """A split of digits; `student_N` is 1 for a student, 0 for an employee, −1 for unknown."""
    cluster_N = None if writer_N is None else writer_N.astype(np.int64)
    return Part(images_NHW, label_N.astype(np.int64), student_N.astype(np.int64)[:, None], cluster_N)
