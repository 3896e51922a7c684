"""Search strategies, each behind the same call: (config, problem) → outcome."""

from collections.abc import Callable

from supernet.config import SearchConfig
from supernet.strategies import differentiable
from supernet.strategies.problem import Outcome, Problem

STRATEGIES: dict[str, Callable[[SearchConfig, Problem], Outcome]] = {
    "differentiable": differentiable.search,
}
