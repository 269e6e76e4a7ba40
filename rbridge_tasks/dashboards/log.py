"""Bringing a dashboard up to a score table: what it holds is read back from it, and only the rest is added."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

from rbridge_tasks.dashboards.histories import TOKENS, DashboardError, RunHistory

Values = dict[int, dict[str, float]]


class Dashboard(Protocol):
    """Where histories of runs are kept.

    Attributes:
        place: what to say of where that is.
    """

    place: str

    def stored(self, name: str, value: float) -> float | None:
        """The number that the dashboard keeps for a value, rounded to its precision; None for one it does not."""

    def logged(self, history: RunHistory) -> Values:
        """Values of this run that the dashboard holds, by step and name; other names may be missing."""

    def add(self, history: RunHistory) -> None:
        """Append the values of this history, none of which the dashboard holds."""

    def replace(self, history: RunHistory) -> None:
        """Hold the values of this history, and no others of its metrics, under its name."""


@dataclass
class Logged:
    """What happened to one dashboard.

    Attributes:
        place: what to say of where it is.
        runs: names of the dashboard's runs.
        added: values that were appended, scores and standard errors.
        known: values that it held already.
        changed: values that it held with another number, each as a line.
        replaced: names of runs that were logged anew for them.
    """

    place: str
    runs: list[str] = field(default_factory=list)
    added: int = 0
    known: int = 0
    changed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def log_histories(histories: Sequence[RunHistory], dashboard: Dashboard, *, replace: bool = False) -> Logged:
    """Add to a dashboard what it does not hold yet: called again, also after a call that was killed, doubles nothing.

    Args:
        histories: runs of one score table.
        dashboard: where to.
        replace: log a run anew that holds other numbers than its history; without, they stay, and are told.

    Raises:
        DashboardError: the dashboard cannot be read or written.
    """
    done = Logged(dashboard.place)
    for history in histories:
        done.runs.append(history.name)
        held = dashboard.logged(history)
        new: Values = {}
        changed = []
        for step, values in history.values.items():
            there = held.get(step, {})
            for name, value in values.items():
                number = dashboard.stored(name, value)
                if number is None:
                    continue
                if name not in there:
                    new.setdefault(step, {})[name] = value
                    done.added += name != TOKENS
                elif there[name] == number:
                    done.known += name != TOKENS
                else:
                    changed.append(
                        f"{name} of {history.name} at {step} tokens: {there[name]:.6g} there, {value:.6g} here"
                    )
        done.changed += changed
        if changed and replace:
            merged = {step: held.get(step, {}) | history.values.get(step, {}) for step in {*held, *history.values}}
            whole = history.with_values({step: merged[step] for step in sorted(merged)})
            dashboard.replace(whole)
            done.replaced.append(history.name)
        elif new:
            dashboard.add(history.with_values(new))
    return done


def optional_library(name: str, package: str, for_what: str) -> ModuleType:
    """Import a library that is not among our requirements.

    Raises:
        DashboardError: it is not there, or does not fit what else is; says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = (
            isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == name.partition(".")[0]
        )
        found = "is not installed" if missing else f"cannot be imported here ({' '.join(str(error).split())})"
        raise DashboardError(f"{for_what} needs {package}, which {found}; pip install --upgrade {package}") from error
