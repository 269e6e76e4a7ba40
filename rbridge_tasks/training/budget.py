"""How many items fit into a time budget, from the time that earlier ones took."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Share of the budget that is planned: times vary.
_PLANNED_SHARE = 0.9
#: Items per rank of the first round, whose time is not foreseen.
_FIRST_ITEMS = 4
#: Rounds of a scoring whose time is foreseen. An unfinished round is lost: its longest texts are read first.
_ROUNDS = 4
#: So that a sum of equal times gives the number of items that it is a sum of.
_ROUNDING = 1e-9
#: A sample that shrank grows again only by this factor or more.
_GROWTH = 1.25


@dataclass
class Budget:
    """Plans a scoring in rounds. Every rank must be given the same numbers.

    Attributes:
        seconds: longest time of a scoring; None for no limit: all items in one round.
        sample: items of the whole sample.
        ranks: number of processes.
        planned: items of this scoring, at most ``sample``.
    """

    seconds: float | None
    sample: int
    ranks: int
    planned: int = field(init=False)
    _seconds_per_item: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.planned = self.sample

    def begin(self) -> None:
        """Plan a scoring by the time of the one before."""
        if self.seconds is None or not self._seconds_per_item:
            return  # no limit, no time known, or a clock too coarse to show one
        fits = int(_PLANNED_SHARE * self.seconds / self._seconds_per_item + _ROUNDING)
        fits = min(self.sample, max(fits, _FIRST_ITEMS * self.ranks))
        if fits < self.planned or fits >= min(self.sample, _GROWTH * self.planned):
            self.planned = fits

    def round_items(self, scored: int, elapsed: float) -> int:
        """Number of items to score next; 0 to end.

        Args:
            scored: items scored so far.
            elapsed: seconds so far.
        """
        remaining = self.planned - scored
        if self.seconds is None:
            return remaining
        foreseen = self._seconds_per_item is not None
        if not scored:
            return -(-remaining // _ROUNDS) if foreseen else min(remaining, _FIRST_ITEMS * self.ranks)
        largest = -(-self.planned // _ROUNDS) if foreseen else scored  # twice as many as before, in all
        return min(remaining, largest, max(0, int((self.seconds - elapsed) * scored / elapsed)) if elapsed else largest)

    def end(self, scored: int, elapsed: float) -> None:
        """Remember how long a scoring took."""
        if scored:
            self._seconds_per_item = elapsed / scored
