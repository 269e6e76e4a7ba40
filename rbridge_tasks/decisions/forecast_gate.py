"""A checkpoint against the forecast that the earlier checkpoints of its own run give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law
from rbridge_metrics.forecast_gate import ForecastChange, detectable_forecast_change, forecast_change
from rbridge_tasks.decisions.gate_judgement import GateError, Judgement, Settings, corrected
from rbridge_tasks.decisions.training_runs import TrainingRun, training_runs
from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.comparable import OPTION
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.score_table import READ, read_scores
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.table_settings import check_rows

_GROUPS = "rbridge"  # what our groups of tasks are called; their members are judged one by one
_SAME_SIZE = 5e-3  # relative; as of a training run


@dataclass(frozen=True)
class Which:
    """Which checkpoint is judged, where a file holds several or does not say.

    Attributes:
        run: its run, and that of the past.
        params: its size, a count.
        tokens: how far it was trained.
    """

    run: str | None = None
    params: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class _Checkpoint:
    """Scores of one checkpoint on each benchmark."""

    run: str
    params: float
    tokens: float
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.run} at {count_text(self.tokens)} tokens"


def judge_by_forecast(
    current: str | Path,
    past: str | Path,
    metric: Metric,
    settings: Settings,
    *,
    which: Which | None = None,
    benchmarks: Sequence[str] = (),
    allow_incomparable: bool = False,
) -> Judgement:
    """Compare a checkpoint with what its run's earlier checkpoints let expect, on every benchmark that they have.

    Args:
        current: results of lm-eval (folder or file) or a score table: its last checkpoint is judged.
        past: the same of the run so far; what was trained as far as the checkpoint or further is left out.
        metric: any in a score table.
        settings: of the test; nothing is resampled.
        which: checkpoint, where names do not say.
        benchmarks: compare these alone; all of the past's where empty.
        allow_incomparable: compare with a past of other settings, and note it.

    Raises:
        IncomparableError: checkpoint and past were scored under different settings, such as other shots.
        GateError: the checkpoint cannot be told, lacks a benchmark, or was scored on other items than the past.
        ForecastError: the past is too short, or cannot be fitted.
        CandidatesError: the past holds no such run.
        ResultsError, ScoreTableError: a file that cannot be read.
    """
    which = which or Which()
    now_scores, notes = _scores(current, metric)
    now = _checkpoint(now_scores, which, metric, current)
    past_scores, more = _scores(past, metric)
    run = which.run or now.run
    known = not np.isnan(now.params) and bool(past_scores["params"].notna().any())
    runs, left_out = training_runs(
        past_scores, metric.name, runs=[run], benchmarks=benchmarks, params=now.params if known else None
    )
    runs = [one for one in runs if benchmarks or not one.benchmark.startswith(_GROUPS)] or runs
    if len({one.benchmark for one in runs}) < len(runs):
        raise GateError(f"{past} holds {run} in several sizes; name the checkpoint's with --params")
    used = past_scores[(past_scores["run"] == run) & (past_scores["metric"] == metric.name)]
    if known:
        used = used[np.isclose(used["params"], now.params, rtol=_SAME_SIZE)]
    compared = pd.concat([used[used["tokens"] < now.tokens * (1 - 1e-9)], now.rows.reset_index()], ignore_index=True)
    compared = compared[compared["benchmark"].isin([one.benchmark for one in runs])]
    notes += check_rows(compared, allow=allow_incomparable)
    laws = [_law(one, now) for one in runs]
    changes, detectable = [], []
    for one, law in zip(runs, laws, strict=True):
        changes.append(_change(one, law, now, past_scores, metric, settings, allow_incomparable=allow_incomparable))
        detectable.append(
            detectable_forecast_change(
                law,
                now.tokens,
                lower_is_better=metric.lower_is_better,
                alpha=settings.alpha,
                power=settings.power,
                tests=len(runs),
            )
        )
    against = f"the forecast from {run} up to {count_text(max(float(law.tokens[-1]) for law in laws))} tokens in {past}"
    judged = corrected([one.benchmark for one in runs], changes, detectable, settings)
    return Judgement(judged, now.name, against, "forecast", "checkpoints", tuple(notes + more + left_out))


def _scores(path: str | Path, metric: Metric) -> tuple[pd.DataFrame, list[str]]:
    """A score table: read, or collected from results of lm-eval."""
    if Path(path).suffix.lower() in READ:
        return read_scores(path), []
    found = collect([path], metrics=[metric.name], include_sample=True)
    return found.table, [note.text for note in found.notes if note.kind not in ("replaced", "settings differ")]


def _checkpoint(scores: pd.DataFrame, which: Which, metric: Metric, path: str | Path) -> _Checkpoint:
    """The checkpoint asked for, else the last of the only run."""
    rows = scores[scores["metric"] == metric.name]
    if rows.empty:
        raise GateError(f"{path} holds no scores of {metric.name}; there are {', '.join(sorted({*scores['metric']}))}")
    if which.run in set(rows["run"]):
        rows = rows[rows["run"] == which.run]
    if which.params is not None and rows["params"].notna().any():
        sizes = ", ".join(map(count_text, sorted({*rows["params"].dropna()})))
        rows = rows[np.isclose(rows["params"], which.params, rtol=_SAME_SIZE)]
        if rows.empty:
            raise GateError(f"{path} holds no {metric.name} at {count_text(which.params)} params; sizes are {sizes}")
    names = sorted({(run, count_text(params)) for run, params in zip(rows["run"], rows["params"], strict=True)})
    if len(names) != 1:
        there = ", ".join(f"{run} ({params} params)" for run, params in names[:6])
        raise GateError(f"{path} holds {len(names)} runs: {there}; name the checkpoint's with --run and --params")
    if rows["tokens"].isna().all() and which.tokens is not None:
        rows = rows.assign(tokens=which.tokens)
    rows = rows[rows["tokens"].notna()]
    if rows.empty:
        raise GateError(
            f"nothing in {path} says how far {names[0][0]} was trained; a forecast needs that: give --tokens, "
            "for example 4T"
        )
    tokens = float(rows["tokens"].max() if which.tokens is None else which.tokens)
    here = rows[np.isclose(rows["tokens"], tokens, rtol=1e-9, atol=0)]
    if here.empty:
        found = ", ".join(map(count_text, sorted({*rows["tokens"]})[-6:]))
        raise GateError(f"{path} has no checkpoint at {count_text(tokens)} tokens; the last are at {found}")
    if here.duplicated("benchmark").any():
        models = ", ".join(sorted({*here["model"]})[:3])
        raise GateError(f"{path} has several checkpoints at {count_text(tokens)} tokens ({models}); give one of them")
    return _Checkpoint(str(here["run"].iloc[0]), float(here["params"].iloc[0]), tokens, here.set_index("benchmark"))


def _law(run: TrainingRun, now: _Checkpoint) -> PowerLaw:
    before = run.tokens < now.tokens * (1 - 1e-9)
    try:
        return fit_power_law(run.tokens[before], run.values[before], bounds=run.bounds)
    except ForecastError as error:
        raise GateError(
            f"no forecast of {run.name} from what is before {count_text(now.tokens)} tokens: {error}; until there is "
            "one, compare with a baseline: rbridge gate CURRENT BASELINE"
        ) from error


def _change(
    run: TrainingRun,
    law: PowerLaw,
    now: _Checkpoint,
    past: pd.DataFrame,
    metric: Metric,
    settings: Settings,
    *,
    allow_incomparable: bool,
) -> ForecastChange:
    if run.benchmark not in now.rows.index:
        raise GateError(
            f"{now.name} was not scored on {run.benchmark}, which its past was; score it there too, or name the "
            "benchmarks to compare with --benchmark"
        )
    score = now.rows.loc[run.benchmark]
    of_past = past[(past["run"] == run.run) & (past["benchmark"] == run.benchmark) & (past["metric"] == metric.name)]
    sizes = {float(n) for n in of_past["n"].dropna()}
    if not np.isnan(score["n"]) and sizes - {float(score["n"])} and not allow_incomparable:
        raise GateError(
            f"{now.name} was scored on {score['n']:g} items of {run.benchmark} and its past on "
            f"{', '.join(f'{n:g}' for n in sorted(sizes))}; a forecast holds for the same items: use the same traces "
            f"and --limit, or insist with {OPTION}"
        )
    value = float(score["value"])
    if not run.bounds[0] <= value <= run.bounds[1]:
        raise GateError(f"{now.name} has a {metric.name} of {value:g} on {run.benchmark}, outside {run.bounds}")
    return forecast_change(
        law,
        now.tokens,
        value,
        lower_is_better=metric.lower_is_better,
        tolerated=settings.max_regression,
        level=settings.level,
    )
