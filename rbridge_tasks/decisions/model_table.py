"""Models x benchmarks x metrics out of a score table, with the accuracies of the same models beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.proxy_names import PROXIES
from rbridge_metrics.selection.population import LeftOut
from rbridge_tasks.tables.directions import Metric, check_one_unit
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.settings import TOKENIZER
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.table_settings import check_rows

Values = npt.NDArray[np.float64]


class ModelTableError(RBridgeError, ValueError):
    """A score table that holds no models to compare, or leaves open which score is meant."""


@dataclass(frozen=True)
class ModelTable:
    """Scores of models.

    Attributes:
        models: a row each, with the columns name, run, model, params and tokens.
        benchmarks, metrics: names.
        features: shape (models, benchmarks, metrics), NaN where the table has no score.
        notes: what was left out or assumed, a line each.
    """

    models: pd.DataFrame
    benchmarks: list[str]
    metrics: list[str]
    features: Values
    notes: list[str] = field(default_factory=list)


def model_table(scores: pd.DataFrame, metrics: Sequence[str], *, benchmarks: Sequence[str] = ()) -> ModelTable:
    """Arrange a checked score table by model, benchmark and metric.

    A model is a checkpoint: a run at a size and a number of tokens; where those are not both known, also by its name.

    Raises:
        ModelTableError: a metric or benchmark is not there, or a model has two scores of one metric and benchmark.
    """
    there = set(scores["metric"])
    if lacking := [name for name in metrics if name not in there]:
        raise ModelTableError(
            f"the score table has no metric {_shortened(lacking)}; it has {_shortened(sorted(there))}. Write proxies "
            "with rbridge proxies, or name metrics with --metrics"
        )
    rows = scores[scores["metric"].isin(metrics)]
    names = sorted(set(rows["benchmark"]))
    if lacking := [name for name in benchmarks if name not in names]:
        raise ModelTableError(f"no score of {_shortened(lacking)} in the table; benchmarks there: {_shortened(names)}")
    names = [name for name in names if not benchmarks or name in benchmarks]
    rows = rows[rows["benchmark"].isin(names)]
    models = _models(rows)
    places = ({key: at for at, key in enumerate(part)} for part in (models.index, names, metrics))
    features = np.full((len(models), len(names), len(metrics)), math.nan)
    _fill(features, rows, *places)
    return ModelTable(models.reset_index(drop=True), names, [*metrics], features)


def check_models(scores: pd.DataFrame, metrics: Sequence[str], benchmarks: Sequence[str], *, allow: bool) -> list[str]:
    """Refuse scores of models that were measured under different settings; see ``table_settings.check_rows``.

    Tokenizers may differ: models of different families are what is ranked here.
    """
    rows = scores[scores["metric"].isin(metrics) & scores["benchmark"].isin(benchmarks)]
    return check_rows(rows, allow=allow, but=(TOKENIZER,))


def default_metrics(scores: pd.DataFrame, targets: Sequence[str]) -> list[str]:
    """The proxies over expert trajectories where there are any, else everything but the accuracies asked for."""
    there = [*dict.fromkeys(scores["metric"])]
    return [name for name in PROXIES if name in there] or [name for name in there if name not in targets]


def accuracies_of(table: ModelTable, targets: pd.DataFrame, metrics: Sequence[Metric]) -> Values:
    """What the models of a table scored: (models, benchmarks), higher is better, NaN where unknown.

    Models are found by run, where every run has one model on both sides; else by run, size and tokens.

    Args:
        table: of the models; notes are added to it.
        targets: a checked score table.
        metrics: in order of preference: the first that a benchmark has is taken.

    Raises:
        ModelTableError: no such metric, no shared benchmark or model, or several accuracies of a model.
        DirectionError: fractions and per cent are mixed in a benchmark.
    """
    names = [metric.name for metric in metrics]
    rows = targets[targets["metric"].isin(names)]
    if rows.empty:
        raise ModelTableError(
            f"no accuracies {' or '.join(names)} in the targets; they have "
            f"{_shortened(sorted(set(targets['metric'])))}: name one with --target-metric"
        )
    shared = [name for name in table.benchmarks if name in set(rows["benchmark"])]
    if not shared:
        raise ModelTableError(
            f"the targets are of {_shortened(sorted(set(rows['benchmark'])))}, the scores of "
            f"{_shortened(table.benchmarks)}; give targets of the same benchmarks, or one name to both with rbridge "
            "collect --rename TASK=BENCHMARK"
        )
    foreign = sorted(set(rows["benchmark"]) - set(shared))
    if foreign:
        table.notes.append(
            f"{counted(len(foreign), 'benchmark')} of the targets without proxies: {_shortened(foreign)}"
        )
    rows = rows[rows["benchmark"].isin(shared)]
    keys = _joined_by(table.models, _models(rows))
    own = _keys(table.models, keys)
    places = {key: at for at, key in enumerate(own)}
    known = pd.Series([key in places for key in _keys(rows, keys)], index=rows.index)
    if not known.any():
        raise ModelTableError(
            f"no model has both proxies and accuracies: proxies of {_shortened(table.models['name'].tolist())}, "
            f"accuracies of the runs {_shortened(sorted(set(rows['run'])))}; name runs alike in both"
        )
    if lost := len(set(_keys(rows[~known], ["checkpoint"]))):
        table.notes.append(f"{counted(lost, 'checkpoint')} of the targets without proxies left out")
    accuracies = np.full((len(table.models), len(table.benchmarks)), math.nan)
    for benchmark in shared:
        part = rows[known & (rows["benchmark"] == benchmark)]
        if part.empty:
            continue
        metric = next(metric for metric in metrics if metric.name in set(part["metric"]))
        part = part[part["metric"] == metric.name]
        check_one_unit(metric.name, part["value"].tolist(), f"the targets of {benchmark}")
        for key, run, value in zip(_keys(part, keys), part["run"], part["value"], strict=True):
            cell = places[key], table.benchmarks.index(benchmark)
            if not math.isnan(accuracies[cell]):
                raise ModelTableError(
                    f"run {run!r} has several {metric.name} of {benchmark} in the targets; keep one, or give its "
                    "checkpoints the params and tokens that they have in the scores"
                )
            accuracies[cell] = -value if metric.lower_is_better else value
    return accuracies


def _models(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model, with a name for people; the index holds their keys."""
    models = rows[["run", "model", "params", "tokens"]].copy()
    models.index = pd.Index(_keys(models, ["checkpoint"]), tupleize_cols=False)
    models = models[~models.index.duplicated()].sort_index()
    telling = [column for column in ("run", "model") if models[column].is_unique and (models[column] != "").all()]
    names = (
        [f"{row.run} {count_text(row.params)}:{count_text(row.tokens)}" for row in models.itertuples()]
        if not telling
        else models[telling[0]]
    )
    models.insert(0, "name", list(names))
    return models


def _keys(rows: pd.DataFrame, by: Sequence[str]) -> list[tuple[object, ...]]:
    """Run alone, or the checkpoint: run, params, tokens (-1 where unknown) and, where one is unknown, the model."""
    if by == ["run"]:
        return [(run,) for run in rows["run"]]
    sizes = rows[["params", "tokens"]].fillna(-1.0)
    return [
        (run, params, tokens, model if min(params, tokens) < 0 else "")
        for run, params, tokens, model in zip(rows["run"], sizes["params"], sizes["tokens"], rows["model"], strict=True)
    ]


def _joined_by(models: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    return ["run"] if models["run"].is_unique and others["run"].is_unique else ["checkpoint"]


def _fill(
    features: Values,
    rows: pd.DataFrame,
    model: Mapping[object, int],
    benchmark: Mapping[object, int],
    metric: Mapping[object, int],
) -> None:
    columns = (_keys(rows, ["checkpoint"]), rows["benchmark"], rows["metric"], rows["value"], rows["model"])
    for key, task, name, value, called in zip(*columns, strict=True):
        cell = model[key], benchmark[task], metric[name]
        if not math.isnan(features[cell]):
            raise ModelTableError(
                f"run {key[0]!r} has several {name} of {task} at one size (one of model {called}); keep one, or give "
                "the runs different names"
            )
        features[cell] = value


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def without(table: ModelTable, left_out: Sequence[LeftOut]) -> list[str]:
    """What a population leaves out, in words with names."""
    names = {"proxy": table.metrics, "task": table.benchmarks, "model": table.models["name"].tolist()}
    nouns = {"proxy": "metric", "task": "benchmark", "model": "model"}
    return [
        f"{counted(len(one.at), nouns[one.kind])} left out, {one.reason}: "
        f"{_shortened([names[one.kind][at] for at in one.at])}"
        for one in left_out
    ]
