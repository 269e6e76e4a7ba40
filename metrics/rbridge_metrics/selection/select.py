"""How well scorers order models on tasks left out of training, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import SelectionError
from rbridge_metrics.selection.labels import Labels, labels_of, spearman_of, splits
from rbridge_metrics.selection.linear import single_left_out
from rbridge_metrics.selection.population import Population
from rbridge_metrics.selection.results import Gain, ScorerTrials, Single, Trial
from rbridge_metrics.selection.scorers import (
    SCORERS,
    SPARSE,
    UNIVARIATE,
    fit_scorer,
    left_out_scores,
    new_model_scores,
)

MODEL_FOLDS = 5


def select(
    population: Population,
    *,
    scorers: Sequence[str] = SCORERS,
    permutations: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> ScorerTrials:
    """Test scorers on every pair of tasks left out, against chance and against each other.

    **Chance**: the accuracies are permuted over the models, the same permutation on all tasks, and everything is
    repeated, including the choice of proxies and hyperparameters. The mean under chance may be above 0: if models are
    similar from task to task, a scorer that recognises a model does well on a left-out task, whatever the proxies mean.
    A scorer is better than chance if its mean rho, standardised by mean and deviation of its permutations, is in the
    highest ``alpha`` of the best scorer's under permutation.

    **New models**: each model is scored, on left-out tasks, by training on other models: the rho to expect for models
    without accuracies. Gains over single proxies are measured there, because recognising a model does not help.

    **Trusted** is, of the scorers better than chance, the one with the highest rho on new models; the univariate one
    unless another is clearly better than the best single proxy.

    Args:
        population: at least 3 tasks and 4 models with accuracies.
        scorers: names from ``SCORERS``.
        permutations: number; the smallest possible p value is 1 / (permutations + 1).
        alpha: see above.
        seed: of the permutations. Everything else is deterministic.

    Raises:
        SelectionError: an unknown scorer, or none that can be tried; too few permutations for ``alpha``.
    """
    if unknown := [name for name in scorers if name not in SCORERS]:
        raise SelectionError(f"no scorer {unknown[0]!r}; expected some of {', '.join(SCORERS)}")
    if not 0 < alpha < 1 or permutations < math.ceil(1 / alpha) - 1:
        raise SelectionError(
            f"{permutations} permutations cannot tell a probability of {alpha:g}; expected at least "
            f"{math.ceil(1 / alpha) - 1 if 0 < alpha < 1 else 19} and a probability between 0 and 1"
        )
    features = population.judged_features
    skipped = {}
    if features.shape[2] < 3 and SPARSE in scorers:
        skipped[SPARSE] = f"{features.shape[2]} proxies are left, and it takes 3"
    names = [name for name in SCORERS if name in scorers and name not in skipped]
    if not names:
        raise SelectionError(f"no scorer can be tried: {'; '.join(skipped.values()) or 'none was asked for'}")
    labels = labels_of(population.accuracies)
    permuted = labels.permuted(permutations, seed)
    rho, chosen = {}, {}
    for name in names:
        scores, taken = left_out_scores(name, features, permuted)
        rho[name] = spearman_of(scores, permuted.ranked[:, splits(features.shape[0])])
        chosen[name] = None if taken is None else taken.proxy[0]
    means = np.stack([rho[name].mean(axis=(1, 2)) for name in names])
    corrected = _corrected(means)
    single = _single(features, permuted)
    combined = sum(name != UNIVARIATE for name in names)
    trials = tuple(
        Trial(
            name=name,
            by_split=rho[name][0],
            by_task=_by_task(rho[name][0]),
            new_models_by_task=(new := _new_models(name, features, labels)),
            chance=means[at, 1:],
            p=_p(means[at]),
            p_corrected=corrected[at],
            gain=None if name == UNIVARIATE else _gain(new - single.by_task[single.best], combined, alpha),
            scorer=fit_scorer(name, features, labels),
            chosen=chosen[name],
        )
        for at, name in enumerate(names)
    )
    return ScorerTrials(trials, single, _trusted(trials, alpha), alpha, skipped)


def _new_models(name: str, features: FloatArray, labels: Labels) -> FloatArray:
    """Mean rho on each task by training on other tasks and models; neighbouring models are left out together."""
    models = features.shape[1]
    folds = np.array_split(np.arange(models), min(MODEL_FOLDS, models))
    scores = new_model_scores(name, features, labels, folds)
    return _by_task(spearman_of(scores, labels.ranked[0][splits(features.shape[0])]))


def _by_task(by_split: FloatArray) -> FloatArray:
    """Mean over the splits that leave each task out: (splits, 2) or (splits, 2, n) to (tasks,) or (tasks, n)."""
    tasks = round((1 + math.sqrt(1 + 8 * len(by_split))) / 2)
    pairs = splits(tasks)
    return np.stack([by_split[pairs == task].mean(axis=0) for task in range(tasks)])


def _p(statistic: FloatArray) -> float:
    """Share of values that are at least the first, up to rounding; the first counts itself."""
    return float((statistic >= statistic[0] - 1e-9).mean())


def _corrected(means: FloatArray) -> list[float]:
    """P value of each scorer by the max-statistic, from means of shape (scorers, draws), the observed first."""
    deviation = means.std(axis=1, keepdims=True)
    z = np.divide(means - means.mean(axis=1, keepdims=True), deviation, out=np.zeros_like(means), where=deviation > 0)
    highest = z.max(axis=0)
    return [float((highest >= row[0] - 1e-9).mean()) for row in z]


def _single(features: FloatArray, labels: Labels) -> Single:
    rho = single_left_out(features, labels)
    means = rho.mean(axis=(1, 2))
    by_task = _by_task(rho[0]).T
    return Single(by_task, int(by_task.mean(axis=1).argmax()), _p(means.max(axis=1)))


def _gain(differences: FloatArray, comparisons: int, alpha: float) -> Gain:
    from scipy.stats import t

    mean = float(differences.mean())
    stderr = float(differences.std(ddof=1) / math.sqrt(len(differences)))
    clear = mean > t.ppf(1 - alpha / comparisons, len(differences) - 1) * stderr
    return Gain(mean, stderr, bool(clear and mean > 0))


def _trusted(trials: Sequence[Trial], alpha: float) -> str | None:
    significant = [trial for trial in trials if trial.p_corrected <= alpha]
    if any(trial.name == UNIVARIATE for trial in significant):  # the univariate scorer has no gain, and stays
        significant = [trial for trial in significant if trial.gain is None or trial.gain.clear]
    return max(significant, key=lambda trial: trial.new_models).name if significant else None
