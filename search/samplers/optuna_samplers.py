"""Optuna's samplers as this search uses them: a suggestion follows from the finished trials, the
search's seed and the suggestion's number, and from nothing that a killed process takes with it.

    tpe     tree-structured Parzen estimators (Bergstra et al. 2011), multivariate
    gp      Gaussian process with expected improvement (Optuna's own; needs torch and scipy)
    cmaes   covariance matrix adaptation (Hansen 2016, arXiv 1604.00772); ranges only
    qmc     scrambled Sobol sequence: a grid's coverage without its gaps (Bousquet et al. 2017,
            arXiv 1706.03200); learns nothing
    random  the baseline
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.space.axes import AXES, CHOICES, LOG
from minigpt_search.search.space.space import Space

Distributions = Mapping[str, BaseDistribution]
START_OF_GP = 10
"""Random suggestions before the Gaussian process is fitted: Optuna 5's default."""


def distribution(space: Space, name: str) -> BaseDistribution:
    """What Optuna may suggest for an axis; the ends of a range are included."""
    values, kind = space.axes[name], space.kind(name)
    if kind == CHOICES:
        return CategoricalDistribution(values)
    if not AXES[name].integer:
        return FloatDistribution(values[0], values[1], log=kind == LOG)
    low, high = int(values[0]), int(values[1])
    if kind == LOG:
        return IntDistribution(low, high, log=True)
    return IntDistribution(low, high, step=space.step(name))


def make_sampler(
    name: str, seed: int, search_seed: int, sequence_index: int, distributions: Distributions
) -> BaseSampler:
    """The sampler called `name` for one suggestion. Options are Optuna 5's defaults, by name.

    Args:
        seed: of this suggestion.
        search_seed: the same for all suggestions of a search.
        sequence_index: of this suggestion in a Sobol sequence.
        distributions: of the parameters, by name.
    """
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=START_OF_GP)
    if name == "cmaes":
        return ReplayedCma(seed, distributions)
    if name == "qmc":
        with warnings.catch_warnings():  # QMCSampler itself is still called experimental
            warnings.simplefilter("ignore", ExperimentalWarning)
            return SobolAt(search_seed, sequence_index, distributions)
    assert name == "random", name
    return RandomSampler(seed=seed)


class SobolAt(QMCSampler):
    """One point of a scrambled Sobol sequence. Optuna's keeps its place in the study's system
    attributes, which a study rebuilt from the ledger hasn't, and draws the first at random."""

    def __init__(self, search_seed: int, sequence_index: int, distributions: Distributions) -> None:
        if not hasattr(QMCSampler, "_find_sample_id"):  # nobody would ask for the place below
            raise _not_with_this_optuna("qmc")
        super().__init__(qmc_type="sobol", scramble=True, seed=search_seed)
        self._index, self._distributions = sequence_index, dict(distributions)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._index


class ReplayedCma(BaseSampler):
    """CMA-ES whose state is worked out again from the finished trials, a generation at a time in
    the order of their ends. Optuna's keeps it pickled in the trials' system attributes, which a
    study rebuilt from the ledger hasn't; so also trials of other origin teach this one."""

    def __init__(self, seed: int, distributions: Distributions) -> None:
        self._seed, self._distributions = seed, dict(distributions)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        import cmaes  # only this sampler needs it

        try:
            from optuna._transform import _SearchSpaceTransform
        except ImportError:
            raise _not_with_this_optuna("cmaes") from None
        space = _SearchSpaceTransform(search_space, transform_0_1=True)
        n = len(search_space)
        optimizer = cmaes.CMA(  # as Optuna begins: in the middle, a sixth of the range wide
            mean=np.full(n, 0.5),
            sigma=1 / 6,
            bounds=np.array(space.bounds),
            seed=self._seed,
            n_max_resampling=10 * n,
        )
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        size = optimizer.population_size
        for start in range(0, len(complete) - size + 1, size):
            optimizer.tell(
                [(space.transform(t.params), _penalised(t)) for t in complete[start : start + size]]
            )
        return space.untransform(optimizer.ask())

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        raise AssertionError(f"{param_name} is not in the search space")


def _penalised(trial: FrozenTrial) -> float:
    """CMA-ES compares ranks only: what is above the limit comes after all else."""
    assert trial.value is not None
    violated = any(value > 0 for value in (trial.constraints or {}).values())
    return trial.value + 1e6 * violated


def _not_with_this_optuna(sampler: str) -> UserError:
    """Both samplers use parts that Optuna does not promise to keep; no other may take over, as its
    suggestions would be others."""
    return UserError(
        f"--search {sampler}: not with optuna {optuna.__version__}, which lacks a part of 5.0 that "
        'it needs: pip install "optuna==5.0.0", or take another sampler'
    )
