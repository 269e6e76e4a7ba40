"""A checkpoint against the forecast from the earlier checkpoints of its own run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law
from rbridge_metrics.forecast_gate import detectable_forecast_change, forecast_change
from rbridge_tasks.decisions.gate_result import GateError, GateResult, GateSettings, tested
from rbridge_tasks.decisions.training_runs import Array, TrainingRun, as_count, training_runs
from rbridge_tasks.tables.averaging import average_blocks, checked_count
from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.comparable import OPTION
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.names import check_metrics
from rbridge_tasks.tables.score_table import as_scores, is_score_table
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.table_settings import check_rows

_GROUPS = "rbridge"  # names of our groups of tasks start so; their members are tested one by one
_SAME_SIZE = 5e-3  # relative; as of a training run


@dataclass(frozen=True)
class _Scores:
    """A score table, its name, and notes on how it was collected."""

    table: pd.DataFrame
    name: str
    notes: list[str]


@dataclass(frozen=True)
class _Checkpoint:
    """Scores of one checkpoint, a row per benchmark, which is the index."""

    run: str
    params: float
    tokens: float
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.run} at {count_text(self.tokens)} tokens"

    def follows(self, tokens: Array | pd.Series) -> npt.NDArray[np.bool_]:
        """Which of these tokens are below the checkpoint's, shape of ``tokens``."""
        return np.asarray(tokens < self.tokens * (1 - 1e-9))


def gate_by_forecast(
    current: pd.DataFrame | str | Path,
    past: pd.DataFrame | str | Path,
    metric: Metric,
    settings: GateSettings,
    benchmarks: Sequence[str] = (),
    *,
    run: str | None = None,
    params: float | str | None = None,
    tokens: float | str | None = None,
    average_last: int | str | None = None,
    allow_incomparable: bool = False,
) -> GateResult:
    """Compare a checkpoint with the forecast from its run's earlier checkpoints, on every benchmark that these have.

    Checkpoints of the past that are not earlier than this one are left out. See ``gate`` for arguments and errors.
    """
    scores, history = _scores(current, metric), _scores(past, metric)
    size, at = (None if count is None else as_count(count) for count in (params, tokens))
    checkpoint = _checkpoint(scores, metric, run, size, at)
    run = run or checkpoint.run
    sizes_known = not np.isnan(checkpoint.params) and bool(history.table["params"].notna().any())
    size = checkpoint.params if sizes_known else None
    table = history.table
    before = table[(table["run"] == run) & (table["metric"] == metric.name) & checkpoint.follows(table["tokens"])]
    if size is not None:
        before = before[np.isclose(before["params"], size, rtol=_SAME_SIZE)]
    averaged: list[str] = []
    if checked_count(average_last) != 1:
        before, checkpoint, averaged = _averaged(before, checkpoint, run, average_last)
        table = before
    runs, _, left_out = training_runs(table, metric.name, runs=[run], benchmarks=benchmarks, params=size)
    runs = [one_run for one_run in runs if benchmarks or not one_run.benchmark.startswith(_GROUPS)] or runs
    names = [one_run.benchmark for one_run in runs]
    if len(set(names)) < len(names):
        raise GateError(f"{history.name} holds {run} in several sizes; name the checkpoint's with --params")
    compared = pd.concat([before, checkpoint.rows.reset_index()], ignore_index=True)
    notes = check_rows(compared[compared["benchmark"].isin(names)], allow=allow_incomparable)
    laws = [_law(one_run, checkpoint) for one_run in runs]
    changes, detectable = [], []
    for one_run, law in zip(runs, laws, strict=True):
        change = forecast_change(
            law,
            checkpoint.tokens,
            _score(one_run, checkpoint, before, allow=allow_incomparable),
            lower_is_better=metric.lower_is_better,
            tolerated=settings.max_regression,
            level=settings.level,
        )
        size_found = detectable_forecast_change(
            law,
            checkpoint.tokens,
            lower_is_better=metric.lower_is_better,
            alpha=settings.alpha,
            power=settings.power,
            tests=len(runs),
        )
        changes.append(change)
        detectable.append(size_found)
    last = count_text(max(float(law.tokens[-1]) for law in laws))
    against = f"the forecast from {run} up to {last} tokens in {history.name}"
    rows = tested(names, changes, detectable, settings)
    all_notes = (*scores.notes, *averaged, *notes, *history.notes, *left_out)
    return GateResult(rows, metric, checkpoint.name, against, "forecast", settings, all_notes)


def _scores(source: pd.DataFrame | str | Path, metric: Metric) -> _Scores:
    """A score table as it is or read from a file, or collected from results of lm-eval."""
    if isinstance(source, pd.DataFrame):
        return _Scores(as_scores(source), "the score table", [])
    if is_score_table(source):
        return _Scores(as_scores(source), str(source), [])
    collected = collect([source], metrics=[metric.name], include_sample=True)
    notes = [note.text for note in collected.notes if note.kind not in ("replaced", "settings differ")]
    return _Scores(collected.table, str(source), notes)


def _averaged(
    before: pd.DataFrame, checkpoint: _Checkpoint, run: str, count: int | str | None
) -> tuple[pd.DataFrame, _Checkpoint, list[str]]:
    """Past and checkpoint as means of successive checkpoints; the checkpoint's mean reaches back into the past."""
    current = checkpoint.rows.reset_index().assign(run=run, tokens=checkpoint.tokens)
    if before["params"].isna().all():
        current["params"] = np.nan
    means, notes = average_blocks(pd.concat([before, current], ignore_index=True), count)
    last = means["tokens"] == checkpoint.tokens
    rows = checkpoint.rows.assign(value=means[last].set_index("benchmark")["value"])
    return means[~last], replace(checkpoint, rows=rows), notes


def _checkpoint(
    scores: _Scores, metric: Metric, run: str | None, params: float | None, tokens: float | None
) -> _Checkpoint:
    """The checkpoint of this run, size and tokens; by default the last of the only run."""
    path, rows = scores.name, scores.table[scores.table["metric"] == metric.name]
    check_metrics(scores.table, [metric.name], where=path)
    if run in set(rows["run"]):
        rows = rows[rows["run"] == run]
    if params is not None and rows["params"].notna().any():
        sizes = ", ".join(map(count_text, sorted({*rows["params"].dropna()})))
        rows = rows[np.isclose(rows["params"], params, rtol=_SAME_SIZE)]
        if rows.empty:
            raise GateError(f"{path} holds no {metric.name} at {count_text(params)} params; sizes are {sizes}")
    runs = sorted({(name, count_text(size)) for name, size in zip(rows["run"], rows["params"], strict=True)})
    if len(runs) != 1:
        names = ", ".join(f"{name} ({size} params)" for name, size in runs[:6])
        raise GateError(f"{path} holds {len(runs)} runs: {names}; name the checkpoint's with --run and --params")
    return _at_tokens(rows, tokens, runs[0][0], path)


def _at_tokens(rows: pd.DataFrame, tokens: float | None, run: str, path: str) -> _Checkpoint:
    if rows["tokens"].isna().all() and tokens is not None:
        rows = rows.assign(tokens=tokens)
    rows = rows[rows["tokens"].notna()]
    if rows.empty:
        raise GateError(
            f"nothing in {path} says how far {run} was trained; a forecast needs that: give --tokens, for example 4T"
        )
    at = float(rows["tokens"].max() if tokens is None else tokens)
    scores = rows[np.isclose(rows["tokens"], at, rtol=1e-9, atol=0)]
    if scores.empty:
        last = ", ".join(map(count_text, sorted({*rows["tokens"]})[-6:]))
        raise GateError(f"{path} has no checkpoint at {count_text(at)} tokens; the last are at {last}")
    if scores.duplicated("benchmark").any():
        models = ", ".join(sorted({*scores["model"]})[:3])
        raise GateError(f"{path} has several checkpoints at {count_text(at)} tokens ({models}); give one of them")
    first = scores.iloc[0]
    return _Checkpoint(str(first["run"]), float(first["params"]), at, scores.set_index("benchmark"))


def _law(run: TrainingRun, checkpoint: _Checkpoint) -> PowerLaw:
    before = checkpoint.follows(run.tokens)
    try:
        return fit_power_law(run.tokens[before], run.values[before], bounds=run.bounds)
    except ForecastError as error:
        raise GateError(
            f"no forecast of {run.name} from what is before {count_text(checkpoint.tokens)} tokens: {error}; until "
            "there is one, compare with a baseline: rbridge gate CURRENT BASELINE"
        ) from error


def _score(run: TrainingRun, checkpoint: _Checkpoint, past: pd.DataFrame, *, allow: bool) -> float:
    """The checkpoint's score on the run's benchmark, which has to be over as many items as the past's."""
    if run.benchmark not in checkpoint.rows.index:
        raise GateError(
            f"{checkpoint.name} was not scored on {run.benchmark}, which its past was; score it there too, or name the "
            "benchmarks to compare with --benchmark"
        )
    score = checkpoint.rows.loc[run.benchmark]
    counts = {float(n) for n in past.loc[past["benchmark"] == run.benchmark, "n"].dropna()}
    if not np.isnan(score["n"]) and counts - {float(score["n"])} and not allow:
        raise GateError(
            f"{checkpoint.name} was scored on {score['n']:g} items of {run.benchmark} and its past on "
            f"{', '.join(f'{n:g}' for n in sorted(counts))}; a forecast holds for the same items: use the same traces "
            f"and --limit, or insist with {OPTION}"
        )
    value = float(score["value"])
    if not run.bounds[0] <= value <= run.bounds[1]:
        raise GateError(f"{checkpoint.name} has a {run.metric} of {value:g} on {run.benchmark}, outside {run.bounds}")
    return value
