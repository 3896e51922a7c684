"""NSGA-II (Deb et al., 2002), multi-objective TPE (Ozaki et al., GECCO 2020) and a Gaussian process with expected (hypervolume) improvement:
all Optuna's, by its ask/tell interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from supernet.errors import UserError
from supernet.strategies.driver import Setting

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

POPULATION = 20  # of NSGA-II, and random trials before TPE begins: Optuna's 50 are for thousands of evaluations


class OptunaStrategy:
    """A layer with a choice is a categorical parameter. What the sampler asks for outside the budgets is told as failed,
    and one repaired to be inside is asked for instead: samplers learn from architectures that were evaluated only.

    Raises UserError where Optuna is missing, or its storage cannot be opened or holds another study of that name.
    """

    def __init__(self, setting: Setting, sampler: str) -> None:
        try:
            import optuna
            from optuna.distributions import BaseDistribution, CategoricalDistribution
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError:
            raise UserError(
                f"--strategy {sampler} needs Optuna, which is not installed: pip install 'supernet[optuna]' (or optuna)."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.region, self.objectives = setting.region, setting.objectives
        self.rng = np.random.default_rng(setting.seed)
        choices = [np.flatnonzero(valid_K).tolist() for valid_K in setting.region.valid_LK]
        self.fixed_L = np.array([ops[0] for ops in choices])
        self.distributions: dict[str, BaseDistribution] = {
            f"layer{layer}": CategoricalDistribution(ops) for layer, ops in enumerate(choices) if len(ops) > 1
        }
        try:
            self.study: Study = optuna.create_study(
                storage=setting.storage,
                sampler=_sampler(sampler, setting.seed),
                study_name=setting.study,
                directions=["minimize"] * len(setting.objectives),
                load_if_exists=True,
            )
        except (SQLAlchemyError, ImportError, optuna.exceptions.OptunaError, ValueError) as error:
            raise UserError(f"--storage: Optuna cannot use it: {str(error).splitlines()[0]}") from error
        if len(self.study.directions) != len(setting.objectives):
            raise UserError(f'--storage: its study "{setting.study}" has other objectives than this search.')

    def ask(self) -> np.ndarray:
        """An architecture inside the budgets. Raises UserError where the database cannot be written (a full disk)."""
        with _database_errors():
            return self._ask()

    def _ask(self) -> np.ndarray:
        from optuna.trial import TrialState

        self.trial = self.study.ask(self.distributions)
        while not self.region.keeps(wish_L := self._index_L()):
            repaired_L = self.region.repair(wish_L, self.rng)
            self.study.tell(self.trial, state=TrialState.FAIL)
            self.study.enqueue_trial({name: int(repaired_L[int(name[5:])]) for name in self.distributions})
            self.trial = self.study.ask(self.distributions)  # in a shared database another run may have been given it
        return wish_L

    def tell(self, index_L: np.ndarray, objectives: dict[str, float]) -> None:
        assert np.array_equal(index_L, self._index_L()), "Optuna is told of the trial that it asked for"
        with _database_errors():
            self.study.tell(self.trial, [objectives[name] for name in self.objectives])

    def _index_L(self) -> np.ndarray:
        index_L = self.fixed_L.copy()
        for name, op in self.trial.params.items():
            index_L[int(name[5:])] = op
        return index_L


def _sampler(name: str, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

    samplers: dict[str, Callable[[], BaseSampler]] = {
        "nsga2": lambda: NSGAIISampler(population_size=POPULATION, seed=seed),
        "motpe": lambda: TPESampler(n_startup_trials=POPULATION, seed=seed),
        "gp": lambda: GPSampler(seed=seed),
    }
    return samplers[name]()


@contextmanager
def _database_errors() -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(
            f"Optuna's database cannot be used ({str(error).splitlines()[0]}). Every evaluation so far stays; go on with --resume."
        ) from error
