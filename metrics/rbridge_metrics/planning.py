"""Search in stages: its cost with small models, and the chance that it keeps the best of N candidates.

Every candidate is trained small, the k best by proxy are trained larger, the best of those at the target's size:
N * C1 + k * C2 + Ct FLOPs, against N * Ct for training every candidate at the target's size.

The chance assumes that candidates have independent standard normal latent values, and that a proxy shows them with
noise, so that shown and latent value are jointly normal with correlation r. Two candidates are then ordered right with
probability 1/2 + arcsin(r) / pi, hence r = sin(pi * (decision accuracy - 1/2)). Errors of different stages and
candidates are independent. If candidates form clusters, or one is far ahead, the true chance differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.compute import training_flops
from rbridge_metrics.errors import PlanError

_NODES = 160  # of the quadrature, in each of two dimensions
_TRIALS_AT_ONCE = 2_000_000  # random numbers in memory at a time


@dataclass(frozen=True)
class Stage:
    """Candidates trained at one size.

    Attributes:
        params, tokens: of each model (counts).
        models: how many candidates are trained.
    """

    params: float
    tokens: float
    models: int

    @property
    def flops_each(self) -> float:
        """FLOPs of one model, 6ND."""
        return float(training_flops(self.params, self.tokens))

    @property
    def flops(self) -> float:
        """FLOPs of the stage."""
        return self.models * self.flops_each


@dataclass(frozen=True)
class StagedSearch:
    """Stages of a search, and its target.

    Attributes:
        stages: in order; the first trains every candidate.
        target: the candidates left at the end, trained at the target's size.
    """

    stages: tuple[Stage, ...]
    target: Stage

    @property
    def flops(self) -> float:
        """FLOPs of all stages and the target."""
        return sum(stage.flops for stage in self.stages) + self.target.flops

    @property
    def flops_without(self) -> float:
        """FLOPs of training every candidate at the target's size."""
        return self.stages[0].models * self.target.flops_each

    @property
    def saving(self) -> float:
        """Fraction of ``flops_without`` that the search does not spend; negative if it costs more."""
        return 1 - self.flops / self.flops_without


def make_plan(
    candidates: int, keep: Sequence[int], stages: Sequence[tuple[float, float]], target: tuple[float, float]
) -> StagedSearch:
    """The stages of a search.

    Args:
        candidates: N.
        keep: number of candidates kept after each stage; after the last stage 1 by default.
        stages: (params, tokens) of each stage, counts.
        target: (params, tokens) of the target.

    Raises:
        PlanError: no candidates or stages, or an impossible number to keep; ComputeError: an impossible size.

    >>> plan = make_plan(25, [3], [(16e6, 1.6e9), (98e6, 9.8e9)], (1.2e9, 98e9))
    >>> [stage.models for stage in plan.stages], plan.target.models, round(plan.saving, 3)
    ([25, 3], 1, 0.959)
    """
    if any(number % 1 for number in (candidates, *keep)):  # infinity, too
        numbers = ", ".join(f"{number:g}" for number in (candidates, *keep))
        raise PlanError(f"{numbers} candidates; give whole numbers")
    if candidates < 2:
        raise PlanError(f"{candidates} candidates; a choice needs at least 2")
    if not stages:
        raise PlanError("no stage; give the size of at least one, e.g. --stage 16e6:1.6e9")
    if len(keep) not in (len(stages) - 1, len(stages)):
        raise PlanError(
            f"{len(keep)} numbers to keep for {len(stages)} stages; give one after each stage, or all but the last"
        )
    models = [candidates, *keep] if len(keep) == len(stages) else [candidates, *keep, 1]
    for before, after in pairwise(models):
        if not 1 <= after <= before:
            raise PlanError(f"{after} kept of {before}; keep at least 1 and at most as many as there are")
    sized = [Stage(params, tokens, count) for (params, tokens), count in zip([*stages, target], models, strict=True)]
    for stage in sized:
        training_flops(stage.params, stage.tokens)  # refuses impossible sizes here, not when the plan is read
    return StagedSearch(tuple(sized[:-1]), sized[-1])


def gpu_hours(flops: float, *, peak_flops: float, utilisation: float) -> float:
    """Hours of one GPU: FLOPs / (peak FLOP/s * utilisation * 3600).

    Raises:
        PlanError: a peak at or below 0, or a utilisation outside (0, 1].

    >>> gpu_hours(1.44e18, peak_flops=1e15, utilisation=0.4)
    1.0
    """
    if not (peak_flops > 0 and math.isfinite(peak_flops)):
        raise PlanError(f"a peak of {peak_flops:g} FLOP/s; give the GPU's, such as 989e12 (H100, bfloat16, dense)")
    if not 0 < utilisation <= 1:
        raise PlanError(f"a utilisation of {utilisation:g}; it is a fraction of the peak, such as 0.4")
    return flops / (peak_flops * utilisation * 3600)


def latent_correlation(decision_accuracy: float) -> float:
    """Correlation of proxy and target that gives a decision accuracy: sin(pi * (decision accuracy - 1/2)).

    Raises:
        PlanError: a decision accuracy outside [0, 1].

    >>> round(latent_correlation(0.5), 6), round(latent_correlation(2 / 3), 6), latent_correlation(1.0)
    (0.0, 0.5, 1.0)
    """
    if not 0 <= decision_accuracy <= 1:
        percent = f"; in per cent? then write {decision_accuracy / 100:g}" if 1 < decision_accuracy <= 100 else ""
        raise PlanError(f"a decision accuracy of {decision_accuracy:g}; it is a fraction from 0 to 1{percent}")
    return math.sin(math.pi * (decision_accuracy - 0.5))


def chance_to_keep_best(candidates: int, keep: int, decision_accuracy: float) -> float:
    """Chance that the best of N candidates is among the k best by a proxy, by quadrature (to about 1e-4).

    With z the latent value of the best and x its shown value, every other candidate is shown above x with probability
    q = P(X > x | Z < z), independently; the best is kept if fewer than k are. Integrated over x given z, and over z,
    the maximum of N. The module describes the model.

    Raises:
        PlanError: fewer than 2 candidates, an impossible number to keep, or a decision accuracy outside [0, 1].

    >>> round(chance_to_keep_best(25, 3, 0.8), 2), round(chance_to_keep_best(25, 3, 0.5), 4)
    (0.74, 0.12)
    """
    from scipy.special import bdtr, ndtr, ndtri

    r = latent_correlation(decision_accuracy)
    make_plan(candidates, [keep], [(1, 1)], (1, 1))
    if keep == candidates or r > 1 - 1e-9:
        return 1.0
    if r < -1 + 1e-9:
        return 0.0  # the proxy reverses the order: the best comes last
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    uniform, weights = (nodes + 1) / 2, weights / 2
    z = ndtri(uniform ** (1 / candidates))[:, None]  # quantiles of the maximum of N
    x = r * z + math.sqrt(1 - r * r) * ndtri(uniform)[None, :]
    shown_above = np.clip(1 - _bivariate_cdf(z, x, r) / ndtr(z), 0, 1)
    return float(weights @ bdtr(keep - 1, candidates - 1, shown_above) @ weights)


def chance_to_find_best(
    search: StagedSearch, decision_accuracy: Sequence[float], *, trials: int = 100_000, seed: int = 0
) -> FloatArray:
    """Chance that the best candidate is kept after each stage, by simulation (standard error at most 0.0016).

    Args:
        search: the stages; each orders the candidates left by its own proxy alone.
        decision_accuracy: of each stage's proxy, over all N candidates, not only those left.
        trials: number of simulations.
        seed: of the simulation.

    Returns:
        Shape (stages,).

    Raises:
        PlanError: not one decision accuracy for each stage, one outside [0, 1], or no trials.
    """
    if len(decision_accuracy) != len(search.stages):
        raise PlanError(f"{len(decision_accuracy)} decision accuracies for {len(search.stages)} stages; give one each")
    if trials < 1 or trials % 1:
        raise PlanError(f"{trials:g} trials; a whole number of at least 1 is needed")
    correlations = [latent_correlation(accuracy) for accuracy in decision_accuracy]
    kept = [stage.models for stage in search.stages[1:]] + [search.target.models]
    rng = np.random.default_rng(seed)
    step = max(1, _TRIALS_AT_ONCE // search.stages[0].models)
    kept_best = np.zeros(len(search.stages))
    for start in range(0, trials, step):
        size = min(step, trials - start)
        latent = rng.standard_normal((size, search.stages[0].models))
        best, left = latent.argmax(axis=1), np.ones(latent.shape, dtype=bool)
        for at, (r, count) in enumerate(zip(correlations, kept, strict=True)):
            shown = r * latent + math.sqrt(1 - r * r) * rng.standard_normal(latent.shape)
            shown[~left] = -np.inf
            left = shown >= np.partition(shown, -count, axis=1)[:, [-count]]
            kept_best[at] += left[np.arange(size), best].sum()
    return kept_best / trials


def _bivariate_cdf(h: FloatArray, k: FloatArray, r: float) -> FloatArray:
    """P(Z < h, X < k) of standard normals with correlation r, |r| < 1, by Owen's T (Owen 1956)."""
    from scipy.special import ndtr, owens_t

    h, k = np.broadcast_arrays(h, k)
    h, k = np.where(h == 0, 1e-12, h), np.where(k == 0, 1e-12, k)
    spread = math.sqrt(1 - r * r)
    both = (ndtr(h) + ndtr(k)) / 2 - owens_t(h, (k - r * h) / (h * spread)) - owens_t(k, (h - r * k) / (k * spread))
    cdf: FloatArray = both - np.where(h * k < 0, 0.5, 0.0)
    return cdf
