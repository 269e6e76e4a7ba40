"""What ``rbridge select`` prints: how each scorer did, what it chose, and the models in order; as tables or as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import typer

from rbridge_metrics.selection.results import Selection, Trial
from rbridge_metrics.selection.scorers import RBF
from rbridge_tasks.cli.output import note, print_table
from rbridge_tasks.tables.sizes import count_text

_MOST_WEIGHTS = 3


def show_trials(selection: Selection, metrics: Sequence[str], benchmarks: Sequence[str], judged: int) -> None:
    """A line a scorer, what each chose, and the best proxy by itself."""
    columns = ["scorer", "mean", "spread", "stderr", "chance, 90 %", "p", "p corrected", "new models"]
    rows = []
    for trial in selection.trials:
        low, high = trial.chance_interval()
        rows.append(
            [
                trial.name, f"{trial.mean:.3f}", f"{trial.spread:.3f}", f"{trial.stderr:.3f}",
                f"{low:.2f} to {high:.2f}", f"{trial.p:.3f}", f"{trial.p_corrected:.3f}", f"{trial.new_models:.3f}",
            ]
        )  # fmt: skip
    splits = len(selection.trials[0].by_split)
    title = f"Spearman's rho with accuracy on two benchmarks left out: {len(benchmarks)} benchmarks, {splits} splits"
    print_table(f"{title}, {judged} models with accuracies", columns, rows)
    for trial in selection.trials:
        typer.echo(f"{trial.name}: {verdict(selection, trial, metrics)}; {_formula(trial, metrics)}")
    for name, reason in selection.skipped.items():
        typer.echo(f"{name}: not tried, {reason}")
    single = selection.single
    rho = float(single.by_task[single.best].mean())
    typer.echo(
        f"best single proxy, with hindsight: {metrics[single.best]}, {rho:.3f} (p {single.p_corrected:.3f}, corrected "
        f"for {len(metrics)} proxies)"
    )
    if selection.trusted is None:
        typer.echo("no scorer is better than chance: the models are not ranked")
    note(
        "the stderr is over benchmarks: splits overlap and share their models, so it says nothing of other models; "
        '"new models" leaves models out as well'
    )


def verdict(selection: Selection, trial: Trial, metrics: Sequence[str]) -> str:
    """In words: against chance, and against the best single proxy."""
    if trial.p_corrected > selection.alpha:
        return "not better than chance"
    if trial.gain is None:
        return "better than chance"
    alone = (
        f"{metrics[selection.single.best]} alone on new models ({trial.gain.mean:+.3f}, stderr {trial.gain.stderr:.3f})"
    )
    return f"better than chance, and {'' if trial.gain.clear else 'not '}clearly better than {alone}"


def show_ranking(ranking: pd.DataFrame, title: str) -> None:
    """The models, best first; whether the scorer saw their accuracies, where it did of some."""
    some = bool(ranking["judged"].any())
    rows = [
        [
            f"{row.rank:g}", row.name_, count_text(row.params), count_text(row.tokens), f"{row.score:.3f}",
            "-" if math.isnan(row.stderr) else f"{row.stderr:.3f}", *(["yes" if row.judged else "no"] if some else []),
        ]
        for row in ranking.rename(columns={"name": "name_"}).itertuples()
    ]  # fmt: skip
    columns = ["rank", "model", "params", "tokens", "score", "stderr", *(["trained on"] if some else [])]
    print_table(f"{title}; score in standard deviations of this population, mean over benchmarks", columns, rows)


def payload(
    selection: Selection,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    judged: int,
    chosen: str | None,
    ranking: pd.DataFrame | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything, for ``print_json``."""
    single = selection.single
    return {
        "benchmarks": [*benchmarks],
        "metrics": [*metrics],
        "judged_models": judged,
        "alpha": selection.alpha,
        "scorers": [_trial(selection, trial, metrics, benchmarks) for trial in selection.trials],
        "skipped": selection.skipped,
        "best_single": {"metric": metrics[single.best], "p_corrected": single.p_corrected},
        "single": dict(zip(metrics, single.by_task.mean(axis=1).tolist(), strict=True)),
        "trusted": selection.trusted,
        "ranked_by": chosen,
        "ranking": [] if ranking is None else ranking_rows(ranking),
        "notes": [*notes],
    }


def ranking_rows(ranking: pd.DataFrame) -> list[dict[str, Any]]:
    """The ranking, a dict a model."""
    rows: list[dict[str, Any]] = ranking.to_dict("records")
    return rows


def _trial(selection: Selection, trial: Trial, metrics: Sequence[str], benchmarks: Sequence[str]) -> dict[str, Any]:
    few = None
    if trial.chosen is not None:
        counts = Counter(", ".join(metrics[at] for at in row) for row in trial.chosen)
        few = dict(counts.most_common())
    return {
        "name": trial.name,
        "mean": trial.mean,
        "spread": trial.spread,
        "stderr": trial.stderr,
        "by_benchmark": dict(zip(benchmarks, trial.by_task.tolist(), strict=True)),
        "new_models": trial.new_models,
        "chance_interval": trial.chance_interval(),
        "p": trial.p,
        "p_corrected": trial.p_corrected,
        "better_than_chance": trial.p_corrected <= selection.alpha,
        "gain_over_best_single": None if trial.gain is None else trial.gain._asdict(),
        "verdict": verdict(selection, trial, metrics),
        "weights": None if trial.name == RBF else _weights(trial, metrics),
        "chosen_in_splits": few,
    }


def _weights(trial: Trial, metrics: Sequence[str]) -> dict[str, float]:
    return {metrics[at]: float(w) for at, w in zip(trial.scorer.proxies, trial.scorer.weights, strict=True)}


def _formula(trial: Trial, metrics: Sequence[str]) -> str:
    """What it is, trained on all benchmarks: its largest weights, and how often it chose these in the splits."""
    if trial.name == RBF:
        return f"compares with {len(trial.scorer.weights)} models on benchmarks"
    weights = _weights(trial, metrics)
    largest = sorted(weights, key=lambda name: -abs(weights[name]))[:_MOST_WEIGHTS]
    terms = " ".join(f"{weights[name]:+.3g} {name}" for name in largest)
    if trial.chosen is None:
        return f"{terms} and {len(weights) - len(largest)} more" if len(weights) > len(largest) else terms
    same = int((np.sort(trial.chosen, axis=1) == np.array(trial.scorer.proxies)).all(axis=1).sum())
    return f"{terms} (chosen in {same} of {len(trial.chosen)} splits)"
