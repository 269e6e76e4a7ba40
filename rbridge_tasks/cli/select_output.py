"""Text output of ``rbridge select``: results of each scorer, and the models in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rbridge_metrics.selection.results import ScorerTrials, Trial
from rbridge_metrics.selection.scorers import RBF
from rbridge_tasks.cli.output import note, print_table, say
from rbridge_tasks.decisions.select import Selection
from rbridge_tasks.tables.sizes import count_text

_MOST_WEIGHTS = 3


def show_selection(selection: Selection) -> None:
    """Print the scorers that were tried, and the ranking."""
    if selection.trials is not None:
        _show_trials(selection, selection.trials)
    if selection.ranked_by is not None:
        of_file = "" if selection.scorer is None else f" of {selection.scorer}"
        _show_ranking(selection, f"ranked by {selection.ranked_by}{of_file}")


def noted_files(selection: Selection, files: Mapping[str, str | None]) -> Selection:
    """With a note on the files, by option, that are not written because no scorer ranked the models."""
    lost = ", ".join(option for option, path in files.items() if path)
    if selection.ranked_by is not None or not lost:
        return selection
    text = f"no scorer is better than chance, so nothing is written for {lost}; --by NAME ranks anyway"
    return replace(selection, notes=(*selection.notes, text))


def _show_trials(selection: Selection, trials: ScorerTrials) -> None:
    """A row and a sentence for each scorer, and the best proxy by itself."""
    columns = ["scorer", "mean", "spread", "stderr", "chance, 90 %", "p", "p corrected", "new models"]
    rows = []
    for trial in trials.trials:
        low, high = trial.chance_interval()
        rows.append(
            [
                trial.name, f"{trial.mean:.3f}", f"{trial.spread:.3f}", f"{trial.stderr:.3f}",
                f"{low:.2f} to {high:.2f}", f"{trial.p:.3f}", f"{trial.p_corrected:.3f}", f"{trial.new_models:.3f}",
            ]
        )  # fmt: skip
    splits, benchmarks = len(trials.trials[0].by_split), len(selection.benchmarks)
    title = f"Spearman's rho with accuracy on two benchmarks left out: {benchmarks} benchmarks, {splits} splits"
    print_table(f"{title}, {selection.judged_models} models with accuracies", columns, rows)
    for trial in trials.trials:
        say(f"{trial.name}: {selection.verdict(trial)}; {_formula(selection, trial)}")
    for name, reason in trials.skipped.items():
        say(f"{name}: not tried, {reason}")
    single = trials.single
    rho = float(single.by_task[single.best].mean())
    say(
        f"best single proxy, with hindsight: {selection.metrics[single.best]}, {rho:.3f} (p {single.p_corrected:.3f}, "
        f"corrected for {len(selection.metrics)} proxies)"
    )
    if trials.trusted is None:
        say("no scorer is better than chance: the models are not ranked")
    note(
        "the stderr is over benchmarks: splits overlap and share their models, so it says nothing of other models; "
        '"new models" leaves models out as well'
    )


def _formula(selection: Selection, trial: Trial) -> str:
    """The scorer trained on all benchmarks: its largest weights, and in how many splits it took the same proxies."""
    if trial.name == RBF:
        return f"compares with {len(trial.scorer.weights)} models on benchmarks"
    weights = selection.weights(trial)
    largest = sorted(weights, key=lambda name: -abs(weights[name]))[:_MOST_WEIGHTS]
    terms = " ".join(f"{weights[name]:+.3g} {name}" for name in largest)
    if trial.chosen is None:
        return f"{terms} and {len(weights) - len(largest)} more" if len(weights) > len(largest) else terms
    same = int((np.sort(trial.chosen, axis=1) == np.array(trial.scorer.proxies)).all(axis=1).sum())
    return f"{terms} (chosen in {same} of {len(trial.chosen)} splits)"


def _show_ranking(selection: Selection, title: str) -> None:
    """The models, best first; if the scorer was trained on some of them, on which."""
    ranking = selection.ranking
    trained = bool(ranking["judged"].any())
    rows = [
        [
            f"{row['rank']:g}", row["name"], count_text(row["params"]), count_text(row["tokens"]),
            f"{row['score']:.3f}", "-" if math.isnan(row["stderr"]) else f"{row['stderr']:.3f}",
            *(["yes" if row["judged"] else "no"] if trained else []),
        ]
        for row in ranking.to_dict("records")
    ]  # fmt: skip
    columns = ["rank", "model", "params", "tokens", "score", "stderr", *(["trained on"] if trained else [])]
    print_table(f"{title}; score in standard deviations of this population, mean over benchmarks", columns, rows)
