"""Base class of decisions: a frozen dataclass that shows itself as a table, as JSON and as a chart."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_metrics.bootstrap import tails
from rbridge_metrics.errors import RBridgeError
from rbridge_traces.files import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class DrawError(RBridgeError, ValueError):
    """A seed, a number of resamples or the level of an interval that is out of range."""


def check_draws(*, seed: int = 0, level: float = 0.5, resamples: int = 1) -> None:
    """Refuse settings of random draws that are out of range.

    Raises:
        DrawError: a seed below 0, a level that is not between 0 and 1, or no resample.
    """
    if seed < 0:
        raise DrawError(f"a seed of {seed}; expected a whole number from 0")
    if tails(level, DrawError)[1] == 1:  # rounded: the quantile of 1 is infinite
        raise DrawError(f"an interval of level {level:g}; a level between 0 and 1 is needed, such as 0.9")
    if resamples < 1:
        raise DrawError(f"{resamples} resamples; at least 1 is needed")


class Decision(ABC):
    """Base of the results of ``fit``, ``predict``, ``rank``, ``compare``, ``select``, ``forecast`` and ``gate``.

    Subclasses are frozen dataclasses. A notebook shows a decision as its table.
    """

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """The result as a table, one row for each thing decided about."""

    @abstractmethod
    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the result; with a path, also write it there as ``.svg`` or ``.png``.

        Raises:
            OutputError: the path has another suffix.
        """

    def to_dict(self) -> dict[str, Any]:
        """The result as values that JSON can hold: what ``--json`` prints. NaN becomes None."""
        values: dict[str, Any] = plain(self._content())
        return values

    def _content(self) -> dict[str, Any]:
        """What ``to_dict`` returns, with values of any type."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(notebook=True))
