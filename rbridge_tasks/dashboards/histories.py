"""A score table as a dashboard shows it: for each run and model size its metrics over training tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.names import listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

#: Dashboards read steps in JavaScript, whose exact integers end here.
LARGEST_STEP = 2**53

#: Name of the training tokens among the metrics.
TOKENS = "tokens"


class DashboardError(RBridgeError, ValueError):
    """Scores that cannot be logged, or a dashboard that cannot take them."""


@dataclass(frozen=True)
class RunHistory:
    """One run of a dashboard.

    Attributes:
        name: name of the run, with the model's size where it is known: ``dclm-97.9M``.
        run: as in the score table.
        params: parameters of the model (a count), NaN where unknown.
        values: metrics by name at each step, steps ascending. A step is the exact number of training tokens; names are
            ``benchmark/metric``, ``benchmark/metric_stderr``, and ``tokens``, which is the step again.
    """

    name: str
    run: str
    params: float
    values: dict[int, dict[str, float]]

    @property
    def config(self) -> dict[str, str | float]:
        """Properties of the run, for a dashboard's filters."""
        return _config(self.run, self.params)

    def over(self, held: dict[int, dict[str, float]]) -> RunHistory:
        """The same run with all values that a dashboard holds, replaced where the history has others."""
        steps = sorted({*held, *self.values})
        return self.with_values({step: held.get(step, {}) | self.values.get(step, {}) for step in steps})

    def with_values(self, values: dict[int, dict[str, float]]) -> RunHistory:
        """The same run with other values."""
        return RunHistory(self.name, self.run, self.params, values)


def run_histories(table: pd.DataFrame) -> tuple[list[RunHistory], list[str]]:
    """Histories of all runs of a checked score table, and a line on scores without a usable number of tokens.

    Raises:
        DashboardError: no row has tokens; two sizes of a run get one name; two models have one checkpoint.
    """
    known = table["tokens"].notna()
    usable = known & (table["tokens"] % 1 == 0) & (table["tokens"] < LARGEST_STEP)
    notes = []
    for rows, why in (
        (table[~known], "without tokens"),
        (table[known & ~usable], "whose tokens are no whole number below 2**53"),
    ):
        if len(rows):
            first = rows.iloc[0]
            notes.append(
                f"{counted(len(rows), 'score')} {why} not logged, such as {first['benchmark']}/{first['metric']} of "
                f"{first['model'] or first['run']}; give tokens with rbridge collect --runs FILE"
            )
    if not usable.any():
        raise DashboardError(f"nothing to log: {'; '.join(notes)}")
    histories: dict[str, RunHistory] = {}
    models: dict[tuple[str, int, str], str] = {}
    for row in table[usable].sort_values("tokens", kind="stable").itertuples(index=False):
        name = dashboard_name(row.run, row.params)
        history = histories.setdefault(name, RunHistory(name, row.run, row.params, {}))
        if history.config != _config(row.run, row.params):
            raise DashboardError(
                f"run {history.run!r} of {history.params:.15g} parameters and run {row.run!r} of {row.params:.15g} "
                f"would both be {name!r}; give them one size or different names with rbridge collect --runs FILE"
            )
        step, metric = int(row.tokens), f"{row.benchmark}/{row.metric}"
        model = models.setdefault((name, step, metric), row.model)
        if model != row.model:
            raise DashboardError(
                f"{model} and {row.model} both give {metric} of {name} at {step} tokens; tell the runs apart with "
                "rbridge collect --runs FILE"
            )
        values = history.values.setdefault(step, {TOKENS: float(step)})
        values[metric] = row.value
        if not math.isnan(row.stderr):
            values[stderr_name(row.benchmark, row.metric)] = row.stderr
    return [histories[name] for name in sorted(histories)], notes


def _config(run: str, params: float) -> dict[str, str | float]:
    return {"run": run} | ({} if math.isnan(params) else {"params": params})


def dashboard_name(run: str, params: float) -> str:
    """The name of a run in a dashboard. It does not depend on the other rows of the table.

    >>> dashboard_name("dclm", 97_912_345), dashboard_name("dclm", float("nan"))
    ('dclm-97.9M', 'dclm')
    """
    return run if math.isnan(params) else f"{run}-{count_text(params)}"


def stderr_name(benchmark: str, metric: str) -> str:
    """The name of a metric's standard error, formed as lm-eval does.

    >>> stderr_name("gsm8k", "rbridge_nll"), stderr_name("gsm8k", "exact_match,strict-match")
    ('gsm8k/rbridge_nll_stderr', 'gsm8k/exact_match_stderr,strict-match')
    """
    plain, comma, filter_name = metric.partition(",")
    return f"{benchmark}/{plain}_stderr{comma}{filter_name}"


def only_rows(table: pd.DataFrame, patterns: Sequence[str]) -> pd.DataFrame:
    """Rows whose ``benchmark/metric`` fits a pattern; a pattern without a slash fits a benchmark or a metric.

    Raises:
        DashboardError: a pattern fits nothing; lists benchmarks and metrics.

    >>> rows = [("gsm8k", "acc"), ("gsm8k", "trace_nll"), ("csqa", "acc")]
    >>> table = pd.DataFrame(rows, columns=["benchmark", "metric"])
    >>> only_rows(table, ["acc"]).index.to_list(), only_rows(table, ["gsm8k/*_nll"]).index.to_list()
    ([0, 2], [1])
    """
    if not patterns:
        return table
    pairs = list(zip(table["benchmark"], table["metric"], strict=True))
    kept = {pair for pair in set(pairs) if any(_fits(pattern, *pair) for pattern in patterns)}
    for pattern in patterns:
        if not any(_fits(pattern, *pair) for pair in kept):
            raise DashboardError(
                f"--only {pattern!r} fits none of the table's scores; its benchmarks are "
                f"{listed(sorted(set(table['benchmark'])))}, its metrics {listed(sorted(set(table['metric'])))}"
            )
    return table[[pair in kept for pair in pairs]]


def _fits(pattern: str, benchmark: str, metric: str) -> bool:
    texts = (f"{benchmark}/{metric}",) if "/" in pattern else (benchmark, metric, metric.partition(",")[0])
    return any(fnmatchcase(text, pattern) for text in texts)


def last_checkpoints(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at the last checkpoint of each run and size; all rows of a run without tokens."""
    most = table.groupby(["run", "params"], dropna=False)["tokens"].transform("max")
    return table[(table["tokens"] == most) | most.isna()]
