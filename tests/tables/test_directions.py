"""Directions and bounds of metrics: names of lm-eval, overrides, units."""

from __future__ import annotations

import math

import pytest

from rbridge_tasks.tables.directions import DirectionError, bounds_of, check_one_unit, metric_called


@pytest.mark.parametrize("name", ["acc", "acc_norm", "exact_match,flexible-extract", "pass@1,create_test", "f1", "mcc"])
def test_accuracies_of_lm_eval_are_known(name: str) -> None:
    """With any filter after the comma."""
    assert not metric_called(name).lower_is_better


def test_a_direction_given_by_the_user_has_priority() -> None:
    """A suffix or an option overrides the name; if both are given they have to agree."""
    assert not metric_called("rbridge_nll:higher").lower_is_better
    assert metric_called("acc", lower_is_better=True) == ("acc", True, True)
    with pytest.raises(DirectionError, match="acc:higher"):
        metric_called("acc:higher", lower_is_better=True)


def test_mixed_units_are_refused() -> None:
    """Fractions among percentages are an error; small percentages or fractions alone are not."""
    with pytest.raises(DirectionError, match=r"mixes fractions and per cent: 0\.5 beside 40"):
        check_one_unit("acc", [0.2, 0.5, 40.0], "a table")
    for values in ([0.2, 0.5, 1.0], [0.0, 20.0], [0.8, 1.4, 9.0]):
        check_one_unit("acc", values, "a table")
    check_one_unit("rbridge_nll", [0.2, 40.0], "a table")


def test_bounds_are_known_by_name() -> None:
    """A metric that is neither accuracy nor loss is unbounded."""
    assert bounds_of("exact_match,strict-match", [0.3]) == (0.0, 1.0)
    assert bounds_of("pass@1", [30.0]) == (0.0, 100.0)
    assert bounds_of("trace_bits_per_byte", [0.5]) == (0.0, math.inf)
    assert bounds_of("surprise", [0.5]) == (-math.inf, math.inf)
