"""The tokens of many completions in compact columns: about 30 bytes a token instead of 500."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import ROUNDING
from rbridge_traces.errors import TraceError, UnusableItemError


@dataclass(eq=False)
class TokenTable:
    """Tokens in any order; ``of`` returns those of an item by position.

    Attributes:
        files: for messages.
        unit: what the numbers of ``add`` count in them: ``line`` or ``row``.
        probabilities: whether values are probabilities; else they are log-probabilities in nats.
        items: what names an item in the rows -> its number here, in the order of appearance.
        counts: tokens of each item so far.
    """

    files: list[str] = field(default_factory=list)
    unit: str = "line"
    probabilities: bool = False
    items: dict[str, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    _first: list[int] = field(default_factory=list)  # row of the table at which each item appears
    _file_from: list[int] = field(default_factory=list)  # row of the table at which each file begins
    _item: array[int] = field(default_factory=lambda: array("i"))
    _position: array[int] = field(default_factory=lambda: array("i"))
    _value: array[float] = field(default_factory=lambda: array("d"))
    _number: array[int] = field(default_factory=lambda: array("i"))
    _end: array[int] = field(default_factory=lambda: array("q"))
    _text: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self._item)

    def begin(self, file: str) -> None:
        """Set the file of the next tokens."""
        self.files.append(file)
        self._file_from.append(len(self))

    def item(self, name: str) -> int:
        """The number of an item, a new one for a new name."""
        number = self.items.get(name)
        if number is None:
            number = self.items[name] = len(self.items)
            self._first.append(len(self))
            self.counts.append(0)
        return number

    def add(self, item: int, position: int, piece: bytes, value: float, number: int) -> None:
        """Add a token.

        Raises:
            OverflowError: a position beyond 32 bits.
        """
        self._item.append(item)
        self._position.append(position)
        self._value.append(value)
        self._number.append(number)
        self._text += piece
        self._end.append(len(self._text))
        self.counts[item] += 1

    def place(self, row: int) -> str:
        """File and line of a row of the table."""
        file = int(np.searchsorted(self._file_from, row, side="right")) - 1
        return f"{self.files[file]}, {self.unit} {self._number[row]}"

    def first_place(self, item: int) -> str:
        """File and line at which an item appears."""
        return self.place(self._first[item])

    def of(self, item: int) -> tuple[list[bytes], npt.NDArray[np.float64]]:
        """Bytes and log-probability (nats, NaN where there is none) of each token of an item, in order.

        Raises:
            UnusableItemError: positions that are missing, or there twice; names the place.
            TraceError: a probability outside [0, 1].
        """
        order, start = self._grouped
        rows = order[start[item] : start[item + 1]]
        self._check_positions(rows)
        ends = np.frombuffer(self._end, np.int64)
        bounds = zip(np.where(rows, ends[rows - 1], 0).tolist(), ends[rows].tolist(), strict=True)
        pieces = [bytes(self._text[begin:end]) for begin, end in bounds]
        values = np.frombuffer(self._value, np.float64)[rows]
        if not self.probabilities:
            return pieces, values
        wrong = (values < 0) | (values > 1 + ROUNDING)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise TraceError(f"{self.place(int(rows[at]))}: the probability is {values[at]}, expected one in [0, 1]")
        with np.errstate(divide="ignore"):
            return pieces, np.log(np.minimum(values, 1.0))

    @cached_property
    def _grouped(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows by item and position, and where each item begins among them, shape (items + 1,)."""
        items, positions = np.frombuffer(self._item, np.int32), np.frombuffer(self._position, np.int32)
        order = np.lexsort((positions, items)).astype(np.int64)
        return order, np.searchsorted(items[order], np.arange(len(self.items) + 1))

    @cached_property
    def _base(self) -> int:
        """The first position: 1 if no item has a position 0."""
        return int(min(self._position, default=0) == 1)

    def _check_positions(self, rows: npt.NDArray[np.int64]) -> None:
        positions: npt.NDArray[np.int32] = np.frombuffer(self._position, np.int32)[rows]
        expected = np.arange(self._base, self._base + len(rows))
        if (positions == expected).all():
            return
        at = int(np.argmax(positions != expected))
        here = self.place(int(rows[at]))
        if at and positions[at] == positions[at - 1]:
            before = self.place(int(rows[at - 1]))
            raise UnusableItemError(f"{here}: position {positions[at]} is that of {before} too", "position given twice")
        raise UnusableItemError(
            f"{here}: position {positions[at]} where {expected[at]} is next; positions count from {self._base} in each "
            "item, without gaps (is a part missing?)",
            "token rows missing",
        )
