"""Item scores of several candidates in one order, for paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rbridge_metrics.bootstrap import resampled_means, resampled_ratios
from rbridge_tasks.tables.comparable import OPTION
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.samples import ItemScores, SamplesError

#: How to treat an item whose prompts differ: refuse it, report it, or ignore it because the settings differ anyway.
Prompts = Literal["refuse", "report", "ignore"]


@dataclass(frozen=True)
class JoinedItems:
    """The same items under several candidates, arrays of shape (candidates, items).

    Attributes:
        numerator, denominator: of each score; see ``ItemScores``.
        notes: a line for each difference between the items.
    """

    numerator: npt.NDArray[np.float64]
    denominator: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def resampled(self, resamples: int, seed: int | Sequence[int]) -> npt.NDArray[np.float64]:
        """Scores over items drawn with replacement, the same for all candidates, shape (resamples, candidates)."""
        if (self.denominator == 1).all():
            return resampled_means(self.numerator, resamples=resamples, seed=seed)
        return resampled_ratios(self.numerator, self.denominator, resamples=resamples, seed=seed)


def join_items(
    candidates: Mapping[str, ItemScores], *, allow: bool = False, prompts: Prompts = "refuse"
) -> JoinedItems:
    """Bring the items of several candidates into one order.

    Args:
        candidates: items by name.
        allow: leave out items that not all candidates have, compare different content under the same id, and note both.
        prompts: how to treat an item that was asked with different prompts.

    Raises:
        SamplesError: the candidates differ in items, in content under the same id, or in prompts; or have no item in
            common.
    """
    (first, reference), *rest = candidates.items()
    notes: list[str] = []
    for name, other in rest:
        if other.ids != reference.ids:
            _refuse_or_note(_other_items(first, reference, name, other), allow, notes)
    shared = sorted(set.intersection(*({*items.ids} for items in candidates.values())))
    if not shared:
        raise SamplesError(f"{', '.join(candidates)} have no item in common; score them on the same items")
    if notes:
        notes.append(f"paired on the {counted(len(shared), 'item')} that all have")
    chosen = {name: _places(items, shared) for name, items in candidates.items()}
    for name, other in rest:
        places = zip(chosen[first], chosen[name], strict=True)
        pairs = [(reference.ids[at], reference, at, other, to) for at, to in places]
        content = [item for item, a, at, b, to in pairs if _differ(a.hashes[at], b.hashes[to])]
        if content:
            text = (
                f"{len(content)} items of {first} and {name} have the same id but not the same content, such as "
                f"{content[0]}; score both with the same traces and the same version of the data set"
            )
            _refuse_or_note(text, allow, notes)
        asked = [item for item, a, at, b, to in pairs if _differ(a.prompts[at], b.prompts[to])]
        if asked and not content and prompts != "ignore":
            text = (
                f"{counted(len(asked), 'item')} of {len(shared)} of {first} and {name} were asked with other prompts, "
                f"such as {asked[0]}; score both with the same shots, chat template and system instruction"
            )
            _refuse_or_note(text, allow or prompts == "report", notes)
    numerators = [items.numerator[chosen[name]] for name, items in candidates.items()]
    denominators = [items.denominator[chosen[name]] for name, items in candidates.items()]
    return JoinedItems(np.stack(numerators), np.stack(denominators), tuple(notes))


def _refuse_or_note(text: str, allow: bool, notes: list[str]) -> None:
    """Raise with the option that allows it, or note the difference without the remedy."""
    if not allow:
        raise SamplesError(f"{text}, or insist with {OPTION}")
    notes.append(text.rpartition(";")[0])


def _other_items(first: str, reference: ItemScores, name: str, other: ItemScores) -> str:
    missing, extra = sorted({*reference.ids} - {*other.ids}), sorted({*other.ids} - {*reference.ids})
    return (
        f"{name} was scored on {len(other.ids)} items and {first} on {len(reference.ids)}; {len(missing)} are "
        f"only in {first} and {len(extra)} only in {name}, such as {(missing + extra)[0]}; paired intervals "
        "need the same items: score both with the same traces and --limit"
    )


def _places(items: ItemScores, ids: Sequence[str]) -> list[int]:
    at = {item: place for place, item in enumerate(items.ids)}
    return [at[item] for item in ids]


def _differ(hash_a: str, hash_b: str) -> bool:
    return bool(hash_a and hash_b and hash_a != hash_b)
