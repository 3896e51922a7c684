"""Search strategies, each behind the same call: (config, problem) → outcome."""

from collections.abc import Callable
from functools import partial

from supernet.config import SearchConfig
from supernet.problem import Outcome, Problem
from supernet.strategies import asktell, blockwise, differentiable, halving, one_shot, score, uniform
from supernet.strategies.diffusion import Diffusion
from supernet.strategies.driver import Setting, Strategy
from supernet.strategies.evolution import Evolution
from supernet.strategies.exhaustive import Exhaustive
from supernet.strategies.llm import Llm
from supernet.strategies.optuna_samplers import OptunaStrategy
from supernet.strategies.progressive import Progressive
from supernet.strategies.random import Random
from supernet.strategies.reinforce import Reinforce

ASK_TELL: dict[str, Callable[[Setting], Strategy]] = {
    "random": Random,
    "evolution": Evolution,
    "nsga2": partial(OptunaStrategy, sampler="nsga2"),
    "motpe": partial(OptunaStrategy, sampler="motpe"),
    "gp": partial(OptunaStrategy, sampler="gp"),
    "reinforce": Reinforce,
    "progressive": Progressive,
    "diffusion": Diffusion,
    "llm": Llm,
    "exhaustive": Exhaustive,
}

STRATEGIES: dict[str, Callable[[SearchConfig, Problem], Outcome]] = {
    "differentiable": differentiable.search,
    "one-shot": one_shot.search,
    "score": score.search,
    "halving": halving.search,
    "blockwise": blockwise.search,
    "uniform": uniform.search,
    **{name: partial(asktell.search, make=make) for name, make in ASK_TELL.items()},
}
