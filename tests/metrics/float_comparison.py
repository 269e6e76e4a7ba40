"""Comparison of float64 results that differ by rounding alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def assert_equal_up_to_rounding(actual: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Allow the rounding of a few hundred float64 additions, 1e-16 each. Numbers below 1e-300 lose digits."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-12, atol=1e-300)
