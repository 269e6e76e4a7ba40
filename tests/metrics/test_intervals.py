"""Intervals have their nominal coverage, also for few points, and the ranks of the jackknife+."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import FitError, ProxyRegressor, cross_validate
from rbridge_metrics.folds import neighbour_blocks
from rbridge_metrics.intervals import block_jackknife, jackknife_plus

from .strategies import cases

Floats = npt.NDArray[np.float64]

TRUTHS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda v: 20 + 40 * v,
    "logistic": lambda v: 100 / (1 + np.exp(2 - 4 * v)),
    "late": lambda v: 25 + 50 * np.maximum(v - 0.5, 0),
    "saturating": lambda v: 72 - 40 * np.exp(-4 * v),
    "convex": lambda v: 3 + 25 * v**2.5,
    "near zero": lambda v: 2 + 6 * v,
}


LEVELS = (0.8, 0.9, 0.95)


@functools.cache
def measured_coverage(count: int, repeats: int) -> dict[float, dict[str, float]]:
    """Share of new accuracies inside their interval, for each level and truth."""
    rng = np.random.default_rng(count)
    inside: dict[float, dict[str, list[float]]] = {level: {name: [] for name in TRUTHS} for level in LEVELS}
    for name, truth in TRUTHS.items():
        for repeat in range(repeats):
            x = rng.uniform(0.0, 1.0, count + 40)
            y = np.clip(truth(x) + (1.0 + repeat % 2) * rng.normal(size=count + 40), 0.0, 100.0)
            fitted = ProxyRegressor().fit(x[:count], y[:count])
            for level in LEVELS:
                low, high = fitted.predict_interval(x[count:], level)
                inside[level][name].append(float(((low <= y[count:]) & (y[count:] <= high)).mean()))
    return {level: {name: float(np.mean(shares)) for name, shares in of.items()} for level, of in inside.items()}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [10, 50])
def test_coverage_is_within_five_points_of_the_level(count: int, level: float) -> None:
    """On accuracies made from known curves with noise, for 10 and 50 checkpoints; the mean over truths within three."""
    shares = measured_coverage(count, repeats=60)[level]
    assert abs(np.mean([*shares.values()]) - level) < 0.03
    assert max(abs(share - level) for share in shares.values()) < 0.07  # 0.05 and twice its Monte Carlo error


def test_coverage_of_fifteen_checkpoints() -> None:
    """Within five points of the level, for 15 checkpoints at 90 %."""
    assert abs(np.mean([*measured_coverage(15, repeats=15)[0.9].values()]) - 0.9) < 0.05


def checkpoints_covered(correlation: float, *, count: int, repeats: int) -> list[float]:
    """Coverage of 90 % intervals in blocked folds, for runs with AR(1) errors of one point about the truths."""
    rng = np.random.default_rng(count)
    place = np.log(np.linspace(1.0, 20.0, count)) / np.log(20.0)
    shares = []
    for truth in list(TRUTHS.values())[:4]:
        for _ in range(repeats):
            error = rng.normal(size=count)
            for at in range(1, count):
                error[at] = correlation * error[at - 1] + np.sqrt(1 - correlation**2) * error[at]
            accuracy = np.clip(truth(place) + error, 0.0, 100.0)
            validation = cross_validate(place, accuracy, order=np.arange(1.0, count + 1), log_baseline=False)
            shares.append(validation.coverage)
    return shares


@pytest.mark.slow
@pytest.mark.parametrize("count", [15, 40])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_intervals_of_checkpoints_cover_unseen_blocks(correlation: float, count: int) -> None:
    """Within five points of 90 % although neighbours' errors are correlated, and two Monte Carlo errors of 0.02."""
    assert abs(np.mean(checkpoints_covered(correlation, count=count, repeats=6)) - 0.9) < 0.05 + 0.04


def test_intervals_of_checkpoints_are_wider_beyond_them() -> None:
    """Leaving out the last block changes the curve most beyond it; leaving out single points hardly changes it."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 1.0, 40)
    y = 20.0 + 40.0 * x + 0.5 * rng.normal(size=40)
    widths = {}
    for name, blocks in (("points", None), ("blocks", neighbour_blocks(x))):
        low, high = ProxyRegressor().fit(x, y, blocks).predict_interval([0.5, 1.6])
        widths[name] = (high - low)[1] / (high - low)[0]
    assert widths["blocks"] > 1.5 * widths["points"]


def test_block_jackknife_by_hand() -> None:
    """Curves 49 and 51, each without a block: variance 1/2 * 2 = 1, residuals 0.75, half-width 1.25 * t(0.95, 1)."""
    low, high = block_jackknife(np.array([[49.0], [51.0]]), 0.75, np.array([50.0]), 0.9, 1)
    assert [float(low[0]), float(high[0])] == pytest.approx([50 - 1.25 * 6.313752, 50 + 1.25 * 6.313752], abs=1e-5)


def test_blocks_of_single_points_give_the_curves_of_points() -> None:
    """Leaving out blocks of one point equals leaving out points."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=8)
    y = 20.0 + 40.0 * x + rng.normal(size=8)
    alone, blocks = ProxyRegressor().fit(x, y), ProxyRegressor().fit(x, y, np.arange(8))
    np.testing.assert_array_equal(alone.left_out_residuals_, blocks.left_out_residuals_)
    saved = ProxyRegressor.from_dict(blocks.to_dict())
    np.testing.assert_array_equal(saved.predict_interval([0.1, 0.9]), blocks.predict_interval([0.1, 0.9]))


def test_interval_by_hand() -> None:
    """Curves at 50, errors 1 to 9: rank 0.8 * 10 = 8 gives 42 to 58; rank 0.85 * 10 = 8.5 is between 8 and 9."""
    curves, errors, centre = np.full((9, 1), 50.0), np.arange(1.0, 10.0), np.array([50.0])
    assert [float(bound[0]) for bound in jackknife_plus(curves, errors, centre, 0.8, 2)] == [42.0, 58.0]
    assert [float(bound[0]) for bound in jackknife_plus(curves, errors, centre, 0.85, 2)] == [41.5, 58.5]


def test_levels_that_few_points_cannot_reach_are_widened_by_students_t() -> None:
    """Four points give 80 % at most; 90 % is wider by the factor t(0.95, 2) / t(0.9, 2) = 2.9200 / 1.8856."""
    curves, errors, centre = np.full((4, 1), 50.0), np.full(4, 2.0), np.array([50.0])
    low, high = jackknife_plus(curves, errors, centre, 0.9, 2)
    assert float(high[0]) == pytest.approx(50 + 2 * 2.919986 / 1.885618, abs=1e-5)
    assert float(low[0]) == pytest.approx(50 - 2 * 2.919986 / 1.885618, abs=1e-5)


CURVES = st.integers(2, 12).flatmap(
    lambda count: st.tuples(
        st.lists(st.floats(0, 100, width=16), min_size=count, max_size=count),
        st.lists(st.floats(-30, 30, width=16), min_size=count, max_size=count),
    )
)


@cases(200)
@given(case=CURVES, level=st.floats(0.05, 0.95))
def test_bounds_are_those_of_a_naive_jackknife(case: tuple[list[float], list[float]], level: float) -> None:
    """Sorting and counting ranks gives the same bounds, for levels that the number of points can reach."""
    curves, errors = (np.array(values) for values in case)
    count, centre = len(curves), float(np.mean(curves))
    rank = level * (count + 1)
    if rank > count:
        return
    above = sorted(curve + abs(error) for curve, error in zip(curves, errors, strict=True))
    below = sorted((curve - abs(error) for curve, error in zip(curves, errors, strict=True)), reverse=True)

    def value_at_rank(values: list[float]) -> float:
        whole = max(int(rank), 1)
        share = max(rank, 1.0) - whole
        return values[whole - 1] * (1 - share) + values[min(whole, count - 1)] * share

    low, high = jackknife_plus(curves[:, None], errors, np.array([centre]), level, 2)
    assert float(high[0]) == pytest.approx(np.clip(max(value_at_rank(above), centre), 0, 100), abs=1e-9)
    assert float(low[0]) == pytest.approx(np.clip(min(value_at_rank(below), centre), 0, 100), abs=1e-9)


@cases(100)
@given(case=CURVES, levels=st.tuples(st.floats(0.05, 0.99), st.floats(0.05, 0.99)))
def test_a_higher_level_is_never_narrower(case: tuple[list[float], list[float]], levels: tuple[float, float]) -> None:
    """Also across the level from which Student's t is used."""
    curves, errors = (np.array(values) for values in case)
    centre = np.array([float(np.mean(curves))])
    (low, high), (lower, higher) = (jackknife_plus(curves[:, None], errors, centre, at, 2) for at in sorted(levels))
    assert lower[0] <= low[0] + 1e-9
    assert high[0] <= higher[0] + 1e-9


def test_one_error_gives_the_whole_range() -> None:
    """With fewer than two errors the interval is 0 to 100; an undefined prediction has no interval."""
    low, high = jackknife_plus(np.array([[50.0]]), np.array([1.0]), np.array([50.0]), 0.9, 2)
    assert (float(low[0]), float(high[0])) == (0.0, 100.0)
    low, high = jackknife_plus(np.full((5, 1), 50.0), np.ones(5), np.array([np.nan]), 0.9, 2)
    assert np.isnan([low[0], high[0]]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, -0.1])
def test_a_level_is_a_probability(level: float) -> None:
    """90 instead of 0.9 is refused."""
    with pytest.raises(FitError, match="between 0 and 1"):
        jackknife_plus(np.full((5, 1), 50.0), np.ones(5), np.array([50.0]), level, 2)
