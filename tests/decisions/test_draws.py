"""Settings of random draws that are out of range: one clear line from every decision that draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rbridge_tasks as rb
from rbridge_tasks.decisions.decision import DrawError

from . import test_ladder
from .made_pairs import checkpoints
from .test_noise import candidates, targets


def ranked(**settings: Any) -> object:
    return rb.rank(candidates(), target=targets(), at="100M:12B", **settings)


def compared(**settings: Any) -> object:
    return rb.compare(candidates(), target=targets(), at="100M:12B", fits=False, **settings)


def fitted(**settings: Any) -> object:
    return rb.fit(checkpoints(), cv="shuffled", **settings)


def ladder(**settings: Any) -> object:
    return rb.ladder(test_ladder.table(), "bits_per_byte", predict=["7B:1T"], **settings)


def selected(**settings: Any) -> object:
    return rb.select(candidates(), target=targets(), **settings)


def gated(**settings: Any) -> object:
    return rb.gate("now", "before", **settings)


def planned(**settings: Any) -> object:
    return rb.plan(20, ["16M:1.6B"], "7B:1T", **settings)


@pytest.mark.parametrize("decide", [ranked, compared, fitted, ladder, selected, gated, planned])
def test_a_negative_seed_is_refused(decide: Callable[..., object]) -> None:
    """NumPy takes seeds from 0."""
    with pytest.raises(DrawError, match="a seed of -1"):
        decide(seed=-1)


@pytest.mark.parametrize("level", [-0.9, 0.0, 1.0, 90.0, float("nan")])
@pytest.mark.parametrize("decide", [compared, fitted, ladder])
def test_a_level_is_a_probability(decide: Callable[..., object], level: float) -> None:
    """Above all 90, which is meant as a percentage."""
    with pytest.raises(DrawError, match=rf"level {level:g}; a level between 0 and 1"):
        decide(level=level)


def reported(**settings: Any) -> object:
    return rb.make_report(candidates(), **settings)


@pytest.mark.parametrize("decide", [compared, fitted, ladder, reported])
def test_a_level_whose_interval_is_infinite_is_refused(decide: Callable[..., object]) -> None:
    """Half of it above one half rounds to 1."""
    with pytest.raises(DrawError, match="a level between 0 and 1"):
        decide(level=0.9999999999999999)


def test_a_ladder_needs_resamples() -> None:
    """Without any it has no interval."""
    with pytest.raises(DrawError, match="0 resamples"):
        ladder(resamples=0)
