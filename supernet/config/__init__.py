"""The options of each command: one dataclass a command, each field with its text, range and effect."""

from supernet.config.epochs import with_epochs
from supernet.config.search import ASK_TELL, CONTROL, FROM_TEACHER, STORED, SearchConfig
from supernet.config.shared import (
    DATA,
    DENSE_TASKS,
    INHERITED,
    LIMITS,
    PENALTIES,
    RETIRED,
    CommonConfig,
    Config,
    limits_of,
)
from supernet.config.train import TrainConfig, is_file

__all__ = [
    "ASK_TELL", "CONTROL", "DATA", "DENSE_TASKS", "FROM_TEACHER", "INHERITED", "LIMITS", "PENALTIES", "RETIRED", "STORED",
    "CommonConfig", "Config", "SearchConfig", "TrainConfig", "is_file", "limits_of", "with_epochs",
]  # fmt: skip
