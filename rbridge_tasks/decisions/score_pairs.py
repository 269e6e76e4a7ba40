"""Pairs of proxy score and target accuracy from a score table, joined on run, benchmark and training tokens."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_tasks.decisions.pairing import Group, PairError, Pairs, ScoresSource, Values, in_percent
from rbridge_tasks.tables.names import check_metrics, listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.run_names import count
from rbridge_tasks.tables.table_settings import check_rows, shared_settings

# Models are called by rounded sizes: "1b" has 1.2 or 1.5 billion parameters, "13b" 13.7.
SIZE_WITHIN = 1.6


def pairs_from_scores(
    table: pd.DataFrame,
    proxy_metric: str,
    target_metrics: Sequence[str],
    proxy: str,
    target: str,
    unit: str = "auto",
    *,
    allow_incomparable: bool = False,
    at_proxy: bool = False,
) -> Pairs:
    """Pairs of a small model's score and a large model's accuracy, one group per benchmark.

    Rows are joined on benchmark, run and tokens. Where both sides have a checkpoint at the same tokens, both values are
    measured. Elsewhere the points are the checkpoints of the side that has fewer of them in the tokens that both cover
    (the target's, if equal): the other side, which has more, is interpolated linearly between its checkpoints before
    and after, and the point is marked. So there are never more points than measurements of either side. Nothing is
    extrapolated. If each side has a single run and the names differ, these two runs are joined.

    Args:
        table: a checked score table.
        proxy_metric: metric of the small model.
        target_metrics: accuracies of the large one: each benchmark takes the first it has.
        proxy, target: size, name or run of the two models, see :func:`rows_of_model`.
        unit, allow_incomparable: see ``fit``.
        at_proxy: the points are always the proxy's checkpoints, and accuracies are interpolated: the paper's way.

    Raises:
        IncomparableError: scores of one model on one benchmark had different settings, such as other shots.
        PairError: a model or metric is not in the table, or nothing can be joined.
    """
    if not target_metrics:
        raise PairError("no metric of the target is given; name one with --target-metric")
    check_metrics(table, [proxy_metric], option="--proxy-metric")
    if not set(target_metrics) & set(table["metric"]):
        check_metrics(table, target_metrics, option="--target-metric")
    small = rows_of_model(table[table["metric"] == proxy_metric], proxy, f"with {proxy_metric}")
    large = rows_of_model(table[table["metric"].isin(target_metrics)], target, f"with {' or '.join(target_metrics)}")
    notes: list[str] = []
    benchmarks = [name for name in dict.fromkeys(small["benchmark"]) if name in set(large["benchmark"])]
    for rows, side, opposite in ((small, "proxy", "target"), (large, "target", "proxy")):
        if alone := [name for name in dict.fromkeys(rows["benchmark"]) if name not in benchmarks]:
            number = counted(len(alone), "benchmark")
            notes.append(f"{number} of the {side} skipped, the {opposite} has none: {listed(alone)}")
    for rows in (small, large):
        notes += check_rows(rows[rows["benchmark"].isin(benchmarks)], allow=allow_incomparable)
    groups = []
    for benchmark in benchmarks:
        accuracies = large[large["benchmark"] == benchmark]
        metric = next(name for name in target_metrics if name in set(accuracies["metric"]))
        accuracies = accuracies[accuracies["metric"] == metric]
        group = _joined(small[small["benchmark"] == benchmark], accuracies, notes, at_proxy=at_proxy)
        if group is not None:
            groups.append(group)
    if not groups:
        raise PairError(f"no score of {proxy} can be joined to an accuracy of {target}; {'; '.join(notes)}")
    percent, unit_notes = in_percent([(group.name, group.y) for group in groups], unit, target_metrics[0])
    source = ScoresSource(
        proxy_metric=proxy_metric,
        target_metrics=[*target_metrics],
        proxy=proxy,
        target=target,
        proxy_params=sorted({float(size) for size in small["params"].dropna()}),
        runs=sorted({run for group in groups for run in group.run or []}),
        proxy_settings=shared_settings(small[small["benchmark"].isin(benchmarks)]),
    )
    groups = [replace(group, y=part) for group, part in zip(groups, percent, strict=True)]
    return Pairs(groups, source, [*_together(notes, benchmarks), *unit_notes])


def rows_of_model(table: pd.DataFrame, text: str, what: str) -> pd.DataFrame:
    """Rows of one model of a score table: by name of run or model, else by size, else by a part of the name.

    A size such as ``1b`` stands for the nearest in the table, within a factor of ``SIZE_WITHIN``. Two different sizes
    within that factor are an error, unless one is exactly the size given.

    Raises:
        PairError: no model or several models match; lists what the table has.
    """
    exact = (table["run"] == text) | (table["model"] == text)
    if exact.any():
        return table[exact]
    try:
        wanted = count(text)
    except ValueError:
        wanted = math.nan
    sizes = np.unique(table["params"].dropna())
    near = sizes[(sizes <= wanted * SIZE_WITHIN) & (wanted <= sizes * SIZE_WITHIN)]
    if len(near) > 1 and wanted not in near:
        raise PairError(
            f"{text} may be {' or '.join(f'{size:g}' for size in near)} parameters {what}; give one of them"
        )
    if len(near):
        return table[table["params"] == (wanted if wanted in near else near[0])]
    word = re.compile(rf"(?<![a-z0-9]){re.escape(text.lower())}(?![a-z0-9])")
    named = table["model"].map(lambda model: bool(word.search(str(model).lower())))
    if named.any():
        return table[named]
    known_sizes = ", ".join(f"{size:g}" for size in sizes) or "none known"
    models = listed(filter(None, table["model"])) or "none named"
    raise PairError(f"no model {text!r} {what} in the score table; parameters there: {known_sizes}; models: {models}")


def interpolated(
    tokens: npt.ArrayLike, at: npt.ArrayLike, values: npt.ArrayLike
) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Values at other token counts, linearly between neighbours: NaN outside, and whether each was interpolated.

    >>> interpolated(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5]), np.array([10.0, 40.0]))
    (array([10., 30., nan]), array([False,  True, False]))
    """
    wanted, at, values = (np.asarray(column, dtype=np.float64) for column in (tokens, at, values))
    along = np.argsort(at)
    result = np.interp(wanted, at[along], values[along], left=math.nan, right=math.nan)
    return result, np.isfinite(result) & ~np.isin(wanted, at)


def _joined(small: pd.DataFrame, large: pd.DataFrame, notes: list[str], *, at_proxy: bool) -> Group | None:
    """Pairs of one benchmark, all runs together; None, with a note, if no score has an accuracy."""
    benchmark = str(small["benchmark"].iloc[0])
    runs = _runs_joined(small, large, notes)
    lost: Counter[str] = Counter()
    lost["of runs that the target lacks"] = int((~small["run"].isin([*runs])).sum())
    parts = [
        _run_pairs(small[small["run"] == run], large[large["run"] == target_run], benchmark, lost, at_proxy=at_proxy)
        for run, target_run in runs.items()
    ]
    notes.extend(f"{benchmark}: {counted(n, 'score')} {why} left out" for why, n in lost.items() if n)
    pairs = pd.concat(parts) if parts else small[:0]
    if pairs.empty:
        notes.append(f"{benchmark} skipped: no score of the proxy has an accuracy of the target beside it")
        return None
    order = pairs["tokens"].to_numpy(np.float64)
    for side in ("scores", "accuracies"):
        if count := int((pairs["interpolated"] == side).sum()):
            notes.append(f"{benchmark}: {count} of {len(pairs)} {side} interpolated in tokens")
    return Group(
        key={"benchmark": benchmark},
        x=pairs["value"].to_numpy(np.float64),
        y=pairs["accuracy"].to_numpy(np.float64),
        order=order if np.isfinite(order).all() else None,
        run=pairs["run"].tolist(),
        interpolated=(pairs["interpolated"] != "").to_numpy(bool),
    )


def _runs_joined(small: pd.DataFrame, large: pd.DataFrame, notes: list[str]) -> dict[str, str]:
    """Name of the target's run for each run of the proxy that has one."""
    target_runs = set(large["run"])
    runs = {run: run for run in dict.fromkeys(small["run"]) if run in target_runs}
    if runs or small["run"].nunique() > 1 or len(target_runs) > 1:
        return runs
    proxy_run, target_run = small["run"].iloc[0], large["run"].iloc[0]
    line = f"the runs {proxy_run} and {target_run} are joined: their names differ, but each model has only one"
    if line not in notes:
        notes.append(line)
    return {proxy_run: target_run}


def _run_pairs(
    small: pd.DataFrame, large: pd.DataFrame, benchmark: str, lost: Counter[str], *, at_proxy: bool
) -> pd.DataFrame:
    """Points of one run: tokens, value, accuracy and which of the two was ``interpolated``; counts the rows lost."""
    if len(small) == len(large) == 1 and small["tokens"].isna().all() and large["tokens"].isna().all():
        return small.assign(accuracy=large["value"].to_numpy(), interpolated="")
    lost["without tokens"] += int(small["tokens"].isna().sum())
    small, large = small[small["tokens"].notna()], large[large["tokens"].notna()]
    for rows, side in ((small, "proxy"), (large, "target")):
        repeated = rows["tokens"][rows["tokens"].duplicated()]
        if len(repeated):
            models = ", ".join(dict.fromkeys(rows["model"][rows["tokens"] == repeated.iloc[0]]))
            raise PairError(
                f"{benchmark}: the {side} has several scores of run {rows['run'].iloc[0]} at {repeated.iloc[0]:g} "
                f"tokens (models {models}); keep one of them, or give the runs different names"
            )
    inside_target = small["tokens"].between(large["tokens"].min(), large["tokens"].max())
    lost["outside the target's tokens"] += int((~inside_target).sum())
    inside_proxy = large["tokens"].between(small["tokens"].min(), small["tokens"].max())
    if at_proxy or inside_target.sum() < inside_proxy.sum():
        accuracy, between = interpolated(small["tokens"], large["tokens"], large["value"])
        points = small.assign(accuracy=accuracy, interpolated=np.where(between, "accuracies", ""))[inside_target]
    else:
        score, between = interpolated(large["tokens"], small["tokens"], small["value"])
        sides = np.where(between, "scores", "")
        points = large.assign(accuracy=large["value"], value=score, interpolated=sides, run=small["run"].iloc[0])
        points = points[inside_proxy]
    return points


def _together(notes: Sequence[str], benchmarks: Sequence[str]) -> list[str]:
    """Notes on single benchmarks, ``gsm8k: ...``, with those that say the same as one line."""
    named: dict[str, list[str]] = {}
    for line in notes:
        name, _, text = line.partition(": ")
        about_one = name in benchmarks
        named.setdefault(text if about_one else line, []).append(name if about_one else "")
    return [f"{listed(names)}: {text}" if names[0] else text for text, names in named.items()]
