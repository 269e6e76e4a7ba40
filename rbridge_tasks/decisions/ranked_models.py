"""Models in the order of a scorer: over all benchmarks, and on each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import SelectionError
from rbridge_metrics.ranking import ranks
from rbridge_metrics.selection.population import Population, new_features
from rbridge_metrics.selection.scorers import Scorer
from rbridge_tasks.decisions.model_table import ModelTable, ModelTableError
from rbridge_tasks.decisions.scorer_file import SavedScorer
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]


def ranked_population(table: ModelTable, population: Population, scorer: Scorer) -> pd.DataFrame:
    """All models of the population that a scorer was trained on, best first; see ``_ranked`` for the columns."""
    scores = scorer(population.features[:, :, list(scorer.proxies)])
    judged = np.zeros(len(population.models), dtype=bool)
    judged[population.judged] = True
    benchmarks = [table.benchmarks[at] for at in population.tasks]
    return _ranked(table.models.iloc[population.models], benchmarks, scores, judged)


def ranked_by_saved(table: ModelTable, saved: SavedScorer) -> tuple[pd.DataFrame, list[str]]:
    """Models of another population, best first, and notes on what was left out.

    Left out are benchmarks on which a proxy is unknown for all models, or equal for all of them; then models without a
    score of a proxy on a benchmark that is left.

    Raises:
        ModelTableError: no benchmark, or fewer than 3 models, are left.
    """
    values = table.features
    lacking = np.asarray(~np.isfinite(values).any(axis=0).all(axis=-1))
    equal = ~lacking & np.array([_constant(values[:, at]) for at in range(values.shape[1])], dtype=np.bool_)
    notes = []
    for mask, why in ((lacking, "a proxy of the scorer is lacking"), (equal, "a proxy is equal for all models")):
        if mask.any():
            names = ", ".join(np.array(table.benchmarks)[mask])
            notes.append(f"{counted(int(mask.sum()), 'benchmark')} left out, {why}: {names}")
    kept = np.flatnonzero(~(lacking | equal))
    if not kept.size:
        raise ModelTableError(f"no benchmark can be scored; {'; '.join(notes)}")
    try:
        features, models = new_features(values[:, kept])
    except SelectionError as error:
        raise ModelTableError(str(error)) from error
    if lost := len(values) - len(models):
        notes.append(f"{counted(lost, 'model')} left out: a proxy of the scorer is unknown on some benchmark")
    benchmarks = [table.benchmarks[at] for at in kept]
    if unseen := [name for name in benchmarks if name not in saved.benchmarks]:
        notes.append(f"the scorer was not trained on {', '.join(unseen)}")
    judged = np.zeros(len(models), dtype=bool)
    return _ranked(table.models.iloc[models], benchmarks, saved.scorer(features), judged), notes


def _constant(task: Values) -> bool:
    """Whether a proxy is equal for all models that have it: (models, proxies)."""
    return any(np.unique(column[np.isfinite(column)]).size == 1 for column in task.T)


def _ranked(models: pd.DataFrame, benchmarks: list[str], scores: Values, judged: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Rank, name, run, model, params, tokens, judged, score and stderr over benchmarks, and a score for each benchmark.

    Scores are in standard deviations of this population. ``score`` is their mean over benchmarks.
    """
    spread = scores.std(axis=1, keepdims=True)
    scaled = (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    mean = scaled.mean(axis=0)
    table = models.reset_index(drop=True)
    table.insert(0, "rank", ranks(mean, lower_is_better=False))
    table["judged"] = judged
    table["score"] = mean
    table["stderr"] = scaled.std(axis=0, ddof=1) / np.sqrt(len(benchmarks)) if len(benchmarks) > 1 else np.nan
    for benchmark, values in zip(benchmarks, scaled, strict=True):
        table[f"score_{benchmark}"] = values
    return table.sort_values("rank", kind="stable").reset_index(drop=True)
