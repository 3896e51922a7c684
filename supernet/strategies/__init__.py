"""Search strategies, each behind the same call: (config, problem) → outcome."""

from collections.abc import Callable

from supernet.config import SearchConfig
from supernet.strategies import differentiable
from supernet.strategies.driver import Setting, Strategy
from supernet.strategies.evolution import Evolution
from supernet.strategies.exhaustive import Exhaustive
from supernet.strategies.problem import Outcome, Problem
from supernet.strategies.random import Random

ASK_TELL: dict[str, Callable[[Setting], Strategy]] = {
    "random": Random,
    "evolution": Evolution,
    "exhaustive": Exhaustive,
}

STRATEGIES: dict[str, Callable[[SearchConfig, Problem], Outcome]] = {
    "differentiable": differentiable.search,
}
