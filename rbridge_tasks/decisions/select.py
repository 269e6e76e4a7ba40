"""``select``: models of different families ranked by proxies, alone or combined, that order unseen benchmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.selection.population import Population, make_population
from rbridge_metrics.selection.results import ScorerTrials, Trial
from rbridge_metrics.selection.scorers import RBF, SCORERS
from rbridge_metrics.selection.select import select as try_scorers
from rbridge_tasks.decisions.candidates import as_names
from rbridge_tasks.decisions.decision import Decision, check_draws
from rbridge_tasks.decisions.model_table import (
    ModelTable,
    accuracies_of,
    check_models,
    default_metrics,
    left_out_notes,
    model_table,
)
from rbridge_tasks.decisions.ranked_models import ranked_by_saved, ranked_population
from rbridge_tasks.decisions.scorer_file import read_scorer, write_scorer
from rbridge_tasks.tables.directions import metric_called
from rbridge_tasks.tables.names import split_names
from rbridge_tasks.tables.score_table import as_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SelectError(RBridgeError, ValueError):
    """Arguments of ``select`` that do not fit together, or a result without a scorer to save."""


@dataclass(frozen=True, eq=False)
class Selection(Decision):
    """Scorers tried on a population, and its models ranked by one of them; or models ranked by a saved scorer.

    Attributes:
        ranked_by: name of the scorer of the ranking; None if no scorer is better than chance.
        ranking: a row for each model, best first: rank, name, run, model, params, tokens, judged (the scorer was
            trained on it), score, stderr, and a score for each benchmark. Empty without ``ranked_by``.
        notes: models, benchmarks and metrics left out, and assumptions, a line each.
        trials: results of every scorer tried; None if the models were ranked by a saved scorer.
        metrics, benchmarks: of the population, in the order of the places in ``trials``.
        target_metrics: metrics of the accuracies.
        judged_models: number of models with accuracies.
        scorer: path of the saved scorer, None without.
    """

    ranked_by: str | None
    ranking: pd.DataFrame
    notes: tuple[str, ...]
    trials: ScorerTrials | None = None
    metrics: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    target_metrics: tuple[str, ...] = ()
    judged_models: int = 0
    scorer: str | None = None

    def to_frame(self) -> pd.DataFrame:
        """The ranking: one row for each model, best first."""
        return self.ranking

    def trials_frame(self) -> pd.DataFrame:
        """One row for each scorer tried: Spearman's rho on benchmarks left out, chance, and p values."""
        trials = () if self.trials is None else self.trials.trials
        names = ("name", "mean", "spread", "stderr", "new_models", "p", "p_corrected")
        return pd.DataFrame([{name: getattr(trial, name) for name in names} for trial in trials], columns=[*names])

    def save(self, path: str | Path) -> None:
        """Write the scorer that the models are ranked by as ``scorer.json``.

        Raises:
            SelectError: no scorer ranked the models, or it was read from a file.
        """
        if self.trials is None or self.ranked_by is None:
            raise SelectError(
                "no scorer is better than chance, so there is none to save; name one with by=NAME"
                if self.scorer is None
                else f"the scorer was read from {self.scorer}; copy that file"
            )
        write_scorer(self.trials.trial(self.ranked_by), self.metrics, self.benchmarks, self.target_metrics, path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw each scorer's rho beside the range of chance, and the ranking."""
        from rbridge_tasks.charts.select import draw_ranking, draw_selection

        if self.trials is None:
            return draw_ranking(self.ranking, str(self.ranked_by), path)
        ranking = None if self.ranked_by is None else self.ranking
        return draw_selection(self.trials, self.benchmarks, ranking, self.ranked_by, path)

    def verdict(self, trial: Trial) -> str:
        """A scorer against chance, and against the best single proxy, in words."""
        if self.trials is None or trial.p_corrected > self.trials.alpha:
            return "not better than chance"
        if trial.gain is None:
            return "better than chance"
        single = self.metrics[self.trials.single.best]
        clearly = f"{'' if trial.gain.clear else 'not '}clearly"
        gain = f"{trial.gain.mean:+.3f}, stderr {trial.gain.stderr:.3f}"
        return f"better than chance, and {clearly} better than {single} alone on new models ({gain})"

    def weights(self, trial: Trial) -> dict[str, float]:
        """Weights of a scorer that is a weighted sum, by metric."""
        return {self.metrics[at]: float(w) for at, w in zip(trial.scorer.proxies, trial.scorer.weights, strict=True)}

    def _content(self) -> dict[str, Any]:
        rows = self.ranking.to_dict("records")
        if self.trials is None:
            return {"scorer": self.scorer, "name": self.ranked_by, "ranking": rows, "notes": self.notes}
        single = self.trials.single
        return {
            "benchmarks": self.benchmarks,
            "metrics": self.metrics,
            "judged_models": self.judged_models,
            "alpha": self.trials.alpha,
            "scorers": [self._trial(trial, self.trials.alpha) for trial in self.trials.trials],
            "skipped": self.trials.skipped,
            "best_single": {"metric": self.metrics[single.best], "p_corrected": single.p_corrected},
            "single": dict(zip(self.metrics, single.by_task.mean(axis=1).tolist(), strict=True)),
            "trusted": self.trials.trusted,
            "ranked_by": self.ranked_by,
            "ranking": rows,
            "notes": self.notes,
        }

    def _trial(self, trial: Trial, alpha: float) -> dict[str, Any]:
        chosen = None
        if trial.chosen is not None:
            counts = Counter(", ".join(self.metrics[at] for at in row) for row in trial.chosen)
            chosen = dict(counts.most_common())
        return {
            "name": trial.name,
            "mean": trial.mean,
            "spread": trial.spread,
            "stderr": trial.stderr,
            "by_benchmark": dict(zip(self.benchmarks, trial.by_task.tolist(), strict=True)),
            "new_models": trial.new_models,
            "chance_interval": trial.chance_interval(),
            "p": trial.p,
            "p_corrected": trial.p_corrected,
            "better_than_chance": trial.p_corrected <= alpha,
            "gain_over_best_single": None if trial.gain is None else trial.gain._asdict(),
            "verdict": self.verdict(trial),
            "weights": None if trial.name == RBF else self.weights(trial),
            "chosen_in_splits": chosen,
        }


def select(
    table: pd.DataFrame | str | Path,
    *,
    target: pd.DataFrame | str | Path | None = None,
    target_metric: str | Sequence[str] = (),
    metrics: str | Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    scorer: str | Path | None = None,
    by: str | None = None,
    permutations: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
    allow_incomparable: bool = False,
) -> Selection:
    """Learn which proxies order models on benchmarks left out of training, and rank all models by the best scorer.

    Args:
        table: a score table with the proxies of the models, as a DataFrame or a file.
        target: score table with accuracies of the same models. Default: ``table``.
        target_metric: the accuracy, default ``acc``. Of several, a benchmark takes the first that it has.
        metrics: proxies to combine. Default: those of ``rbridge proxies``, else all.
        benchmarks: only these; all if empty.
        scorer: rank by this file of ``Selection.save``; no accuracies are needed then, and nothing is learnt.
        by: rank by this scorer, whether or not it is better than chance: ``univariate``, ``sparse_linear``,
            ``linear_ranksvm`` or ``rbf_ranksvm``.
        permutations: permutations of the models, for the distribution under chance.
        alpha: probability of a false alarm, over all scorers.
        seed: seed of the permutations.
        allow_incomparable: use scores whose settings differ, and note the differences.

    Raises:
        SelectError: arguments that do not fit together.
        ModelTableError, SelectionError: the tables lack models, benchmarks or metrics.
        ScorerFileError: ``scorer`` is not a file of ``Selection.save``.
        DirectionError: the direction of the target metric is unknown.
        IncomparableError: scores were measured under different settings.
    """
    if by is not None and by not in SCORERS:
        raise SelectError(f"--by {by!r} is no scorer; expected one of {', '.join(SCORERS)}")
    check_draws(seed=seed)
    scores, benchmarks = as_scores(table), as_names(benchmarks)
    if scorer is not None:
        given = {"--target": target is not None, "--target-metric": target_metric, "--metrics": metrics, "--by": by}
        if clash := [name for name, value in given.items() if value]:
            raise SelectError(
                f"--scorer ranks by a scorer trained before, {', '.join(clash)} trains a new one; give one of them"
            )
        return _ranked_by_file(scores, scorer, benchmarks, allow=allow_incomparable)
    targets = None if target is None else as_scores(target)
    target_names = as_names(target_metric) or ["acc"]
    models, population, names, notes = _population(
        scores, targets, target_names, as_names(metrics), benchmarks, allow=allow_incomparable
    )
    trials = try_scorers(population, permutations=permutations, alpha=alpha, seed=seed)
    chosen = by or trials.trusted
    return Selection(
        ranked_by=chosen,
        ranking=ranked_population(models, population, trials.trial(chosen).scorer) if chosen else pd.DataFrame(),
        notes=tuple(notes),
        trials=trials,
        metrics=tuple(models.metrics[at] for at in population.proxies),
        benchmarks=tuple(models.benchmarks[at] for at in population.tasks),
        target_metrics=tuple(names),
        judged_models=len(population.judged),
    )


def _ranked_by_file(scores: pd.DataFrame, scorer: str | Path, benchmarks: Sequence[str], *, allow: bool) -> Selection:
    saved = read_scorer(scorer)
    models = model_table(scores, saved.metrics, benchmarks=benchmarks)
    ranking, notes = ranked_by_saved(models, saved)
    notes += check_models(scores, models.metrics, models.benchmarks, allow=allow)
    return Selection(saved.scorer.name, ranking, tuple(notes), scorer=str(scorer))


def _population(
    scores: pd.DataFrame,
    target: pd.DataFrame | None,
    target_metrics: Sequence[str],
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    allow: bool,
) -> tuple[ModelTable, Population, list[str], list[str]]:
    """Models with proxies and accuracies; names of the target metrics; and notes."""
    truths = [metric_called(name) for name in target_metrics]
    names = [truth.name for truth in truths]
    wanted = split_names(metrics, set(scores["metric"])) if metrics else default_metrics(scores, names)
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise SelectError(f"--metrics names {', '.join(twice)} more than once; name each once")
    if both := [name for name in wanted if name in names and target is None]:
        raise SelectError(f"{', '.join(both)} is the accuracy itself; leave it out of --metrics")
    models = model_table(scores, wanted, benchmarks=benchmarks)
    targets = scores if target is None else target
    accuracies, notes = accuracies_of(models, targets, truths)
    for rows, chosen in ((scores, models.metrics), (targets, names)):
        lines = check_models(rows, chosen, models.benchmarks, allow=allow)
        notes += [line for line in lines if line not in notes]
    population = make_population(models.features, accuracies)
    return models, population, names, notes + left_out_notes(models, population.left_out)
