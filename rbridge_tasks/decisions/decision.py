"""Base class of decisions: a frozen dataclass that shows itself as a table, as JSON and as a chart."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_traces.files import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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
