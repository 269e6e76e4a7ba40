"""Pairs of proxy score and target accuracy, by group, from a table that has both in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.directions import DirectionError, metric_called
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]
UNITS = ("auto", "percent", "fraction")


class PairError(RBridgeError):
    """A table that does not yield pairs of a proxy score and an accuracy."""


@dataclass(frozen=True)
class Group:
    """Pairs that one curve is fitted to.

    Attributes:
        key: value by column, such as ``{"benchmark": "gsm8k"}``.
        x: proxy scores, shape (points,).
        y: accuracies in percent, shape (points,).
        order: position of each checkpoint in training, usually its tokens; None if unknown.
        run: name of the run of each point, or None.
        interpolated: whether the score or the accuracy was interpolated between two checkpoints of its model.
    """

    key: dict[str, str]
    x: Values
    y: Values
    order: Values | None = None
    run: list[str] | None = None
    interpolated: npt.NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """The values of the key."""
        return group_name(self.key)


@dataclass(frozen=True, kw_only=True)
class PairsSource:
    """A table of pairs: its columns of the proxy score, the accuracy, the groups and the order of checkpoints."""

    kind: Literal["pairs"] = "pairs"
    x: str
    y: str
    group: list[str]
    order: str | None
    proxy_params: ClassVar[Sequence[float]] = ()
    proxy_settings: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @property
    def score_name(self) -> str:
        """Name of the proxy score."""
        return self.x


@dataclass(frozen=True, kw_only=True)
class ScoresSource:
    """A score table: metrics and models of both sides, their sizes and runs, and the settings of the proxy scores."""

    kind: Literal["scores"] = "scores"
    proxy_metric: str
    target_metrics: list[str]
    proxy: str
    target: str
    proxy_params: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    proxy_settings: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """Name of the proxy score."""
        return self.proxy_metric


@dataclass(frozen=True)
class Pairs:
    """Groups of pairs, where they come from, and notes on rows left out and assumptions made."""

    groups: list[Group]
    source: PairsSource | ScoresSource
    notes: list[str] = field(default_factory=list)


def group_name(key: Mapping[str, str]) -> str:
    """Name of a group: the values of its key."""
    if key and not any(key.values()):
        return f"rows without {' and '.join(key)}"
    return ", ".join(key.values()) or "all rows"


def pairs_from_table(
    table: pd.DataFrame, x: str, y: str, group: Sequence[str] = (), order: str | None = None, unit: str = "auto"
) -> Pairs:
    """Pairs from a table with the proxy score and the target's accuracy in a row.

    Rows without a score, an accuracy or an order are left out and counted. Without an order column, so are exact
    copies of a row. The columns are those of ``fit``, the unit that of :func:`in_percent`.

    Raises:
        PairError: a column is missing or holds text, a checkpoint occurs twice, units are mixed, or no row is complete.
    """
    numeric = [name for name in (x, y, order) if name]
    names = [*numeric, *group]
    missing = [name for name in dict.fromkeys(names) if name not in table.columns]
    if missing:
        raise PairError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
            "Name them with --x, --y, --order and --group"
        )
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise PairError(
            f"column {', '.join(repeated)} is given twice; --x, --y, --order and --group take different columns"
        )
    check_once(table, names)
    notes = []
    numbers = table.assign(**{name: as_numbers(table[name]) for name in numeric})
    complete = np.isfinite(numbers[numeric]).all(axis=1)
    if not complete.all():
        left_out = f"{int((~complete).sum())} of {counted(len(complete), 'row')} left out"
        notes.append(f"{left_out}: {', '.join(numeric)} missing or infinite")
    if not complete.any():
        raise PairError(f"no row of {len(complete)} has both {x} and {y}; there is nothing to fit")
    parts = rows_by_key(numbers[complete], group)
    accuracies = [(", ".join(values), rows[y].to_numpy(np.float64)) for values, rows in parts.items()]
    percent, unit_notes = in_percent(accuracies, unit, y)
    groups = []
    for (values, rows), in_group in zip(parts.items(), percent, strict=True):
        pairs = Group(
            key=dict(zip(group, values, strict=True)),
            x=rows[x].to_numpy(np.float64),
            y=in_group,
            order=rows[order].to_numpy(np.float64) if order else None,
        )
        groups.append(_without_copies(pairs, notes) if order is None else _checked_order(pairs, order))
    return Pairs(groups, PairsSource(x=x, y=y, group=[*group], order=order), [*notes, *unit_notes])


def in_percent(parts: Sequence[tuple[str, Values]], unit: str, name: str) -> tuple[list[Values], list[str]]:
    """Accuracies in percent, and a note if the unit was inferred.

    Under ``auto`` accuracies are fractions if none is above 1, unless the column's name ends in ``pct`` or ``percent``.
    Both units in one column are an error: values up to 1 beside values at least ten times as large in one group, or a
    group without any above 1 while other groups are in percent. ``percent`` accepts accuracies below 1 %.

    Args:
        parts: name and accuracies of each group; those that are not finite are unknown.
        unit: ``auto``, ``percent`` or ``fraction``.
        name: of the column.

    Raises:
        PairError: mixed units, an unknown unit, or a value outside the range of accuracies.
    """
    if unit not in UNITS:
        raise PairError(f"the unit {unit!r} is not known; expected one of {', '.join(UNITS)}")
    known = [(where, part[np.isfinite(part)]) for where, part in parts]
    values = np.concatenate([part for _, part in known])
    top = 1.0 if unit == "fraction" else 100.0
    if wrong := int(((values < 0) | (values > top)).sum()):
        raise PairError(
            f"{wrong} of {len(values)} values of {name} lie outside 0..{top:g}: they go from {values.min():g} to "
            f"{values.max():g}; is that the column of accuracies?"
        )
    notes = []
    factor = 100.0 if unit == "fraction" else 1.0
    if unit == "auto" and values.max(initial=0.0) > 1.0:
        _check_one_unit(known, values.max(), name)
    elif unit == "auto" and values.size:
        if name.lower().endswith(("pct", "percent")):
            taken, remedy = "percent, as its name says", "if they are fractions, say so (--unit)"
        else:
            taken, remedy, factor = "fractions", "if they are in percent, say --unit percent", 100.0
        notes.append(f"no {name} is above 1: taken as {taken}; {remedy}")
    return [part * factor for _, part in parts], notes


def _check_one_unit(parts: Sequence[tuple[str, Values]], highest: float, name: str) -> None:
    for where, accuracies in parts:
        low, high = accuracies[(accuracies > 0) & (accuracies <= 1)], accuracies[accuracies > 1]
        mixed = len(low) and len(high) and high.min() >= 10 * low.max()
        if mixed or (len(low) and not len(high)):
            large = f"{high.min():g} there" if mixed else f"{highest:g} elsewhere"
            raise PairError(
                f"{name} seems to mix fractions and percent: {low.max():g} in {where or 'the table'} beside "
                f"{large}; write all in one unit, or give --unit percent if all are percentages"
            )


def expected_direction(metric: str) -> str | None:
    """How accuracy should change with a proxy of this name: ``rising``, ``falling``, or None for an unknown metric.

    >>> expected_direction("rbridge_nll"), expected_direction("accuracy_pct"), expected_direction("surprise")
    ('falling', 'rising', None)
    """
    try:
        return "falling" if metric_called(metric.removesuffix("_pct")).lower_is_better else "rising"
    except DirectionError:
        return None


def check_once(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table in which one of these column names occurs more than once.

    Raises:
        PairError: names the columns.
    """
    if several := [name for name in columns if (table.columns == name).sum() > 1]:
        raise PairError(f"the table has several columns {', '.join(several)}; keep one of each name")


def as_numbers(column: pd.Series) -> pd.Series:
    """A column as ``float64``, empty cells as NaN.

    Raises:
        PairError: it holds text; quotes the first.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    text = column[numbers.isna() & column.notna()]
    if len(text):
        raise PairError(f"the column {column.name} holds {text.iloc[0]!r}; expected numbers")
    return numbers


def rows_by_key(table: pd.DataFrame, columns: Sequence[str]) -> dict[tuple[str, ...], pd.DataFrame]:
    """The rows by their values in these columns as text: 7 for 7.0, and an empty text for a missing value.

    >>> [*rows_by_key(pd.DataFrame({"benchmark": ["gsm8k", None], "shots": [5.0, 0.0]}), ["benchmark", "shots"])]
    [('gsm8k', '5'), ('', '0')]
    """
    if not columns:
        return {(): table} if len(table) else {}
    texts = [np.array([_cell_text(value) for value in table[column].tolist()], dtype=object) for column in columns]
    return dict(iter(table.groupby(texts, sort=False)))


def _cell_text(value: object) -> str:
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _checked_order(group: Group, order: str) -> Group:
    """The group, whose checkpoints have to differ in their order."""
    places, counts = np.unique(np.asarray(group.order), return_counts=True)
    if repeated := int((counts > 1).sum()):
        raise PairError(
            f"{group.name} has {counts.max()} rows at {order} {places[counts.argmax()]:g} "
            f"({counted(repeated, 'such checkpoint')}); keep one row each, or name the column that separates them in "
            "--group"
        )
    return group


def _without_copies(group: Group, notes: list[str]) -> Group:
    """The group without exact copies of a point."""
    _, first = np.unique(np.stack([group.x, group.y]), axis=1, return_index=True)
    if copies := len(group.x) - len(first):
        notes.append(f"{group.name}: {counted(copies, 'row')} left out as exact copies of others")
    kept = np.sort(first)
    return replace(group, x=group.x[kept], y=group.y[kept])
