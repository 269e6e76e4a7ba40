"""Pairs of proxy score and target accuracy, by group, out of a table that has both in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.directions import DirectionError, metric_called
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]
UNITS = ("auto", "percent", "fraction")


class PairError(RBridgeError):
    """A table whose rows cannot be made pairs of a proxy score and an accuracy."""


@dataclass(frozen=True)
class Group:
    """Pairs that one curve is fitted to.

    Attributes:
        key: value by column, such as ``{"benchmark": "gsm8k"}``.
        x: proxy scores, shape (points,).
        y: accuracies in percent, shape (points,).
        order: what orders the checkpoints, training tokens as a rule; None where it is not known.
        run: name of the run of each point, or None.
        interpolated: whether each accuracy was interpolated between two checkpoints of the target.
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
        return ", ".join(self.key.values()) or "all rows"


@dataclass(frozen=True)
class Pairs:
    """Groups of pairs, where they come from, and what was left out or assumed on the way, a line each."""

    groups: list[Group]
    source: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def pairs_from_table(
    table: pd.DataFrame, x: str, y: str, group: Sequence[str] = (), order: str | None = None, unit: str = "auto"
) -> Pairs:
    """Pairs from a table with the proxy score and the target's accuracy in a row.

    Rows that lack one of them, or the order, are left out and counted, and so are exact copies where there is no order.

    Args:
        table: any table.
        x, y: columns of the proxy score and of the accuracy.
        group: columns whose values tell groups apart.
        order: column that orders the checkpoints of a group.
        unit: of the accuracies, see :func:`in_percent`.

    Raises:
        PairError: a column is missing or holds text, a checkpoint is there twice, units are mixed, no row is whole.
    """
    names = [x, y, *([order] if order else []), *group]
    missing = [name for name in dict.fromkeys(names) if name not in table.columns]
    if missing:
        raise PairError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
            "Name them with --x, --y, --order and --group"
        )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise PairError(f"{', '.join(twice)} is asked for twice; --x, --y, --order and --group take different columns")
    notes = []
    numbers = table.assign(**{name: as_numbers(table[name]) for name in (x, y, order) if name})
    whole = np.isfinite(numbers[[name for name in (x, y, order) if name]]).all(axis=1)
    if not whole.all():
        wanted = ", ".join(name for name in (x, y, order) if name)
        notes.append(f"{int((~whole).sum())} of {counted(len(whole), 'row')} left out: {wanted} missing or infinite")
    if not whole.any():
        raise PairError(f"no row of {len(whole)} has both {x} and {y}; there is nothing to fit")
    kept = numbers[whole]
    rows: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(kept[[*group]].itertuples(index=False, name=None)):
        rows.setdefault(tuple(cell_text(value) for value in row), []).append(place)
    percent, unit_notes = in_percent(kept[y].to_numpy(np.float64), rows, unit, y)
    groups = []
    for key, places in rows.items():
        own = kept.iloc[places]
        found = Group(
            key=dict(zip(group, key, strict=True)),
            x=own[x].to_numpy(np.float64),
            y=percent[places],
            order=own[order].to_numpy(np.float64) if order else None,
        )
        groups.append(_without_copies(found, order, notes))
    source = {"kind": "pairs", "x": x, "y": y, "group": [*group], "order": order}
    return Pairs(groups, source, [*notes, *unit_notes])


def in_percent(
    values: Values, rows: Mapping[tuple[str, ...], Sequence[int]], unit: str, name: str
) -> tuple[Values, list[str]]:
    """Accuracies in percent, and a line about it where there is a doubt.

    Under ``auto`` they are fractions if none is above 1, unless the name ends in ``pct`` or ``percent``. Both units in
    one column are an error: values up to 1 beside others at least ten times as large in one group, or a group with none
    above 1 while others are in percent. What really is below 1 % can be said to be so with ``percent``.

    Args:
        values: accuracies, shape (points,).
        rows: places in ``values`` by group.
        unit: ``auto``, ``percent`` or ``fraction``.
        name: of the column.

    Raises:
        PairError: units are mixed, the unit is not known, or an accuracy cannot be one.
    """
    if unit not in UNITS:
        raise PairError(f"the unit {unit!r} is not known; expected one of {', '.join(UNITS)}")
    top = 1.0 if unit == "fraction" else 100.0
    if wrong := int(((values < 0) | (values > top)).sum()):
        raise PairError(
            f"{wrong} of {len(values)} values of {name} lie outside 0..{top:g}: they go from {values.min():g} to "
            f"{values.max():g}; is that the column of accuracies?"
        )
    if unit == "fraction":
        return values * 100.0, []
    if unit == "percent":
        return values, []
    if values.max() > 1.0:
        _check_one_unit(values, rows, name)
        return values, []
    if name.lower().endswith(("pct", "percent")):
        return values, [
            f"no {name} is above 1: taken as percent, as its name says; if they are fractions, say so (--unit)"
        ]
    return values * 100.0, [f"no {name} is above 1: taken as fractions; if they are in percent, say --unit percent"]


def _check_one_unit(values: Values, rows: Mapping[tuple[str, ...], Sequence[int]], name: str) -> None:
    for key, places in rows.items():
        own = values[[*places]]
        low, high = own[(own > 0) & (own <= 1)], own[own > 1]
        mixed = len(low) and len(high) and high.min() >= 10 * low.max()
        if mixed or (len(low) and not len(high)):
            beside = f"{high.min():g} there" if mixed else f"{values.max():g} elsewhere"
            raise PairError(
                f"{name} seems to mix fractions and percent: {low.max():g} in {', '.join(key) or 'the table'} beside "
                f"{beside}; write all in one unit, or, if all are right as they stand, say --unit percent"
            )


def expected_direction(metric: str) -> str | None:
    """How accuracy should go with a proxy of this name: ``rising``, ``falling``, or None where the name does not say.

    >>> expected_direction("rbridge_nll"), expected_direction("accuracy_pct"), expected_direction("surprise")
    ('falling', 'rising', None)
    """
    try:
        return "falling" if metric_called(metric.removesuffix("_pct")).lower_is_better else "rising"
    except DirectionError:
        return None


def as_numbers(column: pd.Series) -> pd.Series:
    """A column as ``float64``, empty cells as NaN.

    Raises:
        PairError: it holds text; names the first.
    """
    result = pd.to_numeric(column, errors="coerce").astype("float64")
    text = column[result.isna() & column.notna()]
    if len(text):
        raise PairError(f"the column {column.name} holds {text.iloc[0]!r}; expected numbers")
    return result


def cell_text(value: object) -> str:
    """A group's value as text: 7 for 7.0, and nothing for what is missing."""
    if value is None or value != value:  # NaN
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_copies(group: Group, order: str | None, notes: list[str]) -> Group:
    """The group without exact copies of a point; the same checkpoint with other numbers is an error."""
    if group.order is not None:
        places, counts = np.unique(group.order, return_counts=True)
        if (counts > 1).any():
            raise PairError(
                f"{group.name} has {counts.max()} rows at {order} {places[counts.argmax()]:g} "
                f"({counted(int((counts > 1).sum()), 'such checkpoint')}); keep one row each, or name the column that "
                "tells them apart in --group"
            )
        return group
    _, first = np.unique(np.stack([group.x, group.y]), axis=1, return_index=True)
    if copies := len(group.x) - len(first):
        notes.append(f"{group.name}: {counted(copies, 'row')} left out as exact copies of others")
    kept = np.sort(first)
    return Group(group.key, group.x[kept], group.y[kept])
