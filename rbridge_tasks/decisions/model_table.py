"""Models x benchmarks x metrics from a score table, and the accuracies of the same models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.proxy_names import PROXIES
from rbridge_metrics.selection.population import LeftOut
from rbridge_tasks.decisions.candidates import first_metric
from rbridge_tasks.tables.directions import Metric, check_one_unit
from rbridge_tasks.tables.names import check_benchmarks, check_metrics, listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.settings import TOKENIZER
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.table_settings import check_rows

Values = npt.NDArray[np.float64]
ModelKey = tuple[object, ...]


class ModelTableError(RBridgeError, ValueError):
    """A score table without models to compare, or with several scores for one cell."""


@dataclass(frozen=True)
class ModelTable:
    """Scores of models.

    Attributes:
        models: a row for each, with the columns name, run, model, params and tokens.
        benchmarks, metrics: names.
        features: shape (models, benchmarks, metrics), NaN if the table has no score.
    """

    models: pd.DataFrame
    benchmarks: list[str]
    metrics: list[str]
    features: Values


def model_table(scores: pd.DataFrame, metrics: Sequence[str], *, benchmarks: Sequence[str] = ()) -> ModelTable:
    """Arrange a checked score table by model, benchmark and metric.

    A model is a checkpoint: a run at a size and a number of tokens; if one of these is unknown, also its name.

    Raises:
        UnknownNameError: a metric or benchmark is missing.
        ModelTableError: a model has two scores of one metric and benchmark.
    """
    check_metrics(scores, metrics, option="--metrics, or write proxies with rbridge proxies")
    rows = scores[scores["metric"].isin(metrics)]
    names = sorted(set(rows["benchmark"]))
    check_benchmarks(rows, benchmarks)
    names = [name for name in names if not benchmarks or name in benchmarks]
    rows = rows[rows["benchmark"].isin(names)]
    models = _models(rows)
    cells = pd.DataFrame(
        {
            "model": _places(models.index, _keys(rows)),
            "benchmark": _places(names, rows["benchmark"]),
            "metric": _places(metrics, rows["metric"]),
        },
        index=rows.index,
    )
    if (twice := cells.duplicated()).any():
        row = rows[twice].iloc[0]
        raise ModelTableError(
            f"run {row['run']!r} has several {row['metric']} of {row['benchmark']} at one size (one of model "
            f"{row['model']}); keep one, or give the runs different names"
        )
    features = np.full((len(models), len(names), len(metrics)), math.nan)
    features[cells["model"], cells["benchmark"], cells["metric"]] = rows["value"]
    return ModelTable(models.reset_index(drop=True), names, [*metrics], features)


def check_models(scores: pd.DataFrame, metrics: Sequence[str], benchmarks: Sequence[str], *, allow: bool) -> list[str]:
    """Refuse scores of models that were measured under different settings; see ``table_settings.check_rows``.

    Tokenizers may differ: models of different families have different ones.
    """
    rows = scores[scores["metric"].isin(metrics) & scores["benchmark"].isin(benchmarks)]
    return check_rows(rows, allow=allow, but=(TOKENIZER,))


def default_metrics(scores: pd.DataFrame, targets: Sequence[str]) -> list[str]:
    """The proxies over expert trajectories if the table has any, else every metric that is no target."""
    in_table = [*dict.fromkeys(scores["metric"])]
    return [name for name in PROXIES if name in in_table] or [name for name in in_table if name not in targets]


def accuracies_of(table: ModelTable, targets: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[Values, list[str]]:
    """Accuracies of the models of a table: (models, benchmarks), higher is better, NaN where unknown; and notes.

    Models are matched by run if every run has one model on both sides; else by run, size and tokens. A benchmark takes
    the first of ``metrics`` that it has in ``targets``, a checked score table.

    Raises:
        UnknownNameError: none of the metrics.
        ModelTableError: no shared benchmark or model, or several accuracies of a model.
        DirectionError: fractions and per cent are mixed in a benchmark.
    """
    names = [metric.name for metric in metrics]
    rows = targets[targets["metric"].isin(names)]
    if rows.empty:
        check_metrics(targets, names, where="the target table", option="--target-metric")
    of_targets = set(rows["benchmark"])
    shared = [name for name in table.benchmarks if name in of_targets]
    if not shared:
        raise ModelTableError(
            f"the targets are of {listed(of_targets)}, the scores of {listed(table.benchmarks)}; give targets of the "
            "same benchmarks, or one name to both with rbridge collect --rename TASK=BENCHMARK"
        )
    notes = []
    if foreign := of_targets - set(shared):
        notes.append(f"{counted(len(foreign), 'benchmark')} of the targets without proxies: {listed(foreign)}")
    rows = rows[rows["benchmark"].isin(shared)]
    by_run = bool(table.models["run"].is_unique and _models(rows)["run"].is_unique)
    places = {key: place for place, key in enumerate(_keys(table.models, by_run=by_run))}
    known = np.array([key in places for key in _keys(rows, by_run=by_run)])
    if not known.any():
        raise ModelTableError(
            f"no model has both proxies and accuracies: proxies of {listed(table.models['name'])}, accuracies of the "
            f"runs {listed(set(rows['run']))}; name runs alike in both"
        )
    if lost := len(set(_keys(rows[~known]))):
        notes.append(f"{counted(lost, 'checkpoint')} of the targets without proxies left out")
    rows = rows[known]
    accuracies = np.full((len(table.models), len(table.benchmarks)), math.nan)
    for benchmark in dict.fromkeys(rows["benchmark"]):
        part, metric = first_metric(rows[rows["benchmark"] == benchmark], metrics)
        check_one_unit(metric.name, part["value"].tolist(), f"the targets of {benchmark}")
        keys = pd.Series(_keys(part, by_run=by_run), index=part.index)
        if (twice := keys.duplicated()).any():
            raise ModelTableError(
                f"run {part['run'][twice].iloc[0]!r} has several {metric.name} of {benchmark} in the targets; keep "
                "one, or give its checkpoints the params and tokens that they have in the scores"
            )
        sign = -1.0 if metric.lower_is_better else 1.0
        accuracies[keys.map(places), table.benchmarks.index(benchmark)] = sign * part["value"]
    return accuracies, notes


def left_out_notes(table: ModelTable, left_out: Sequence[LeftOut]) -> list[str]:
    """Names of what a population leaves out."""
    names = {"proxy": table.metrics, "task": table.benchmarks, "model": table.models["name"].tolist()}
    nouns = {"proxy": "metric", "task": "benchmark", "model": "model"}
    return [
        f"{counted(len(part.at), nouns[part.kind])} left out, {part.reason}: "
        f"{listed([names[part.kind][at] for at in part.at])}"
        for part in left_out
    ]


def _models(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each model, with a unique name; the index holds their keys."""
    models = rows[["run", "model", "params", "tokens"]].copy()
    models.index = pd.Index(_keys(models), tupleize_cols=False)
    models = models[~models.index.duplicated()].sort_index()
    unique = [column for column in ("run", "model") if models[column].is_unique and (models[column] != "").all()]
    names = (
        models[unique[0]]
        if unique
        else [f"{row.run} {count_text(row.params)}:{count_text(row.tokens)}" for row in models.itertuples()]
    )
    models.insert(0, "name", list(names))
    return models


def _keys(rows: pd.DataFrame, *, by_run: bool = False) -> list[ModelKey]:
    """The run alone, or the checkpoint: run, params, tokens (-1 if unknown) and, if one is unknown, the model."""
    if by_run:
        return [(run,) for run in rows["run"]]
    sizes = rows[["params", "tokens"]].fillna(-1.0)
    return [
        (run, params, tokens, model if min(params, tokens) < 0 else "")
        for run, params, tokens, model in zip(rows["run"], sizes["params"], sizes["tokens"], rows["model"], strict=True)
    ]


def _places(names: Sequence[object] | pd.Index, values: Sequence[object] | pd.Series) -> list[int]:
    places = {name: place for place, name in enumerate(names)}
    return [places[value] for value in values]
