"""The tasks whose output is a picture, by the name of --task."""

from __future__ import annotations

from supernet.commands.denoise import DENOISE
from supernet.commands.dense import DenseTask
from supernet.commands.segment import SEGMENT
from supernet.config import DENSE_TASKS

TASKS: dict[str, DenseTask] = {task.name: task for task in (DENOISE, SEGMENT)}
assert tuple(TASKS) == DENSE_TASKS
