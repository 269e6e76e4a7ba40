"""Bring a dashboard up to date with a score table: read back what it holds and add only the rest."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

from rbridge_tasks.dashboards.histories import TOKENS, DashboardError, RunHistory

Values = dict[int, dict[str, float]]


class Dashboard(ABC):
    """A place that keeps histories of runs.

    Attributes:
        place: its description in messages.
    """

    place: str

    def stored(self, name: str, value: float) -> float | None:  # noqa: ARG002  # overridden where names matter
        """The number that the dashboard keeps for a value, rounded to its precision; None where it keeps none."""
        return value

    @abstractmethod
    def logged(self, history: RunHistory) -> Values:
        """Values of this run that the dashboard holds, by step and name; names not in the history may be missing."""

    @abstractmethod
    def add(self, history: RunHistory) -> None:
        """Append the values of this history, none of which the dashboard holds."""

    @abstractmethod
    def replace(self, history: RunHistory) -> None:
        """Replace all values of the history's metrics, under its name, by those of the history."""


@dataclass
class Logged:
    """Outcome of logging to one dashboard.

    Attributes:
        place: description of the dashboard.
        runs: names of the dashboard's runs.
        added: number of values that were appended, scores and standard errors.
        known: number of values that it held already.
        changed: a line for each value that it held with another number.
        replaced: names of runs that were logged again because of changed values.
    """

    place: str
    runs: list[str] = field(default_factory=list)
    added: int = 0
    known: int = 0
    changed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def log_histories(histories: Sequence[RunHistory], dashboard: Dashboard, *, replace: bool = False) -> Logged:
    """Add to a dashboard the values that it lacks. A second call, also after a killed one, adds nothing twice.

    Args:
        histories: runs of one score table.
        dashboard: to bring up to date.
        replace: log runs again whose numbers differ from the history; by default they stay and are listed.

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
            held_values = held.get(step, {})
            for name, value in values.items():
                number = dashboard.stored(name, value)
                if number is None:
                    continue
                if name not in held_values:
                    new.setdefault(step, {})[name] = value
                    done.added += name != TOKENS
                elif held_values[name] == number:
                    done.known += name != TOKENS
                else:
                    changed.append(
                        f"{name} of {history.name} at {step} tokens: {held_values[name]:.6g} there, {value:.6g} here"
                    )
        done.changed += changed
        if changed and replace:
            dashboard.replace(history.over(held))
            done.replaced.append(history.name)
        elif new:
            dashboard.add(history.with_values(new))
    return done


def optional_library(name: str, package: str, for_what: str) -> ModuleType:
    """Import a library that is not a requirement of this package.

    Raises:
        DashboardError: it is not installed or not compatible; says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = (
            isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == name.partition(".")[0]
        )
        problem = "is not installed" if missing else f"cannot be imported here ({' '.join(str(error).split())})"
        raise DashboardError(f"{for_what} needs {package}, which {problem}; pip install --upgrade {package}") from error
