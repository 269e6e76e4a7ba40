"""Training compute, Pareto frontiers, and the compute that one metric saves compared with another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import ComputeError

#: Floating-point operations per parameter and token: two forward, four backward.
FLOPS_PER_PARAM_AND_TOKEN = 6

Reading = Literal["log", "step"]


def training_flops(params: npt.ArrayLike, tokens: npt.ArrayLike) -> FloatArray:
    """FLOPs of training a model of N parameters on D tokens, 6ND. NaN if either is NaN.

    Args:
        params: counts, any shape.
        tokens: counts, a shape that broadcasts with ``params``.

    Raises:
        ComputeError: a count below or at 0, or infinite.

    >>> float(training_flops(16e6, 1.6e9))
    1.536e+17
    """
    sizes, lengths = np.asarray(params, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    for what, values in (("parameters", sizes), ("tokens", lengths)):
        if np.any(values <= 0) or np.any(np.isinf(values)):
            wrong = values[(values <= 0) | np.isinf(values)].flat[0]
            raise ComputeError(f"{wrong:g} {what}; a count above 0 is needed, such as 16e6")
    flops: FloatArray = FLOPS_PER_PARAM_AND_TOKEN * sizes * lengths
    return flops


def pareto_frontier(cost: npt.ArrayLike, value: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mark the points that no other point dominates: none is as cheap and as good, and better in one of the two.

    Of equally good points, the cheapest is on the frontier; of points equal in both, all are. A point whose cost or
    value is NaN is not.

    Args:
        cost: shape (points,), e.g. FLOPs; lower is better.
        value: shape (points,), e.g. decision accuracy; higher is better.

    Returns:
        Shape (points,).

    Raises:
        ComputeError: different lengths.

    >>> pareto_frontier([1, 2, 2, 3], [0.5, 0.7, 0.6, 0.7]).tolist()
    [True, True, False, False]
    """
    costs, values = _points(cost, value)
    on = np.zeros(costs.size, dtype=bool)
    known = np.flatnonzero(np.isfinite(costs) & np.isfinite(values))
    best, best_cost = -np.inf, np.nan
    for at in known[np.lexsort((-values[known], costs[known]))]:  # cheap first, and the best of equally cheap ones
        if values[at] > best or (values[at] == best and costs[at] == best_cost):
            best, best_cost, on[at] = values[at], costs[at], True
    return on


@dataclass(frozen=True)
class Savings:
    """Cost of one metric compared with another at the same levels; arrays of shape (levels,), cheapest level first.

    Attributes:
        level: a value on the first metric's frontier.
        cost: cost of the first metric at that level.
        other_cost: cost of the other metric; NaN if it never reaches the level.
        ratio: other_cost / cost; above 1, the first metric saves. NaN if ``other_cost`` is.
        bound: True if the other's cheapest point is better than the level: ``other_cost`` and ``ratio`` are then upper
            bounds.
    """

    level: FloatArray
    cost: FloatArray
    other_cost: FloatArray
    ratio: FloatArray
    bound: npt.NDArray[np.bool_]

    @property
    def unreached(self) -> int:
        """Levels that the other metric does not reach at any cost measured."""
        return int(np.isnan(self.ratio).sum())


def compute_savings(
    cost: npt.ArrayLike,
    value: npt.ArrayLike,
    other_cost: npt.ArrayLike,
    other_value: npt.ArrayLike,
    *,
    between: Reading = "log",
) -> Savings:
    """Cost of another metric at every level of this metric's frontier, as in the figures of arXiv 2509.21013.

    If a level lies between two points of the other frontier, its cost is read off the straight line between them over
    the logarithm of the cost (``between="log"``), or is that of the more expensive point (``"step"``: measured points
    only).

    Args:
        cost, value: shape (points,), all points of this metric; its frontier is taken here.
        other_cost, other_value: shape (other points,), all points of the other metric, or of several pooled.
        between: interpolation between the points of the other frontier.

    Raises:
        ComputeError: different lengths, a cost at or below 0, or no point with both cost and value.

    >>> saved = compute_savings([1e15, 1e16], [0.7, 0.8], [1e16, 1e18], [0.6, 0.8])
    >>> saved.ratio
    array([100., 100.])
    """
    costs, values = _frontier(cost, value)
    others, other_values = _frontier(other_cost, other_value)
    if between == "step":
        at = np.searchsorted(other_values, values, side="left")
        reached = np.append(others, np.nan)[at]
    else:
        reached = np.exp(np.interp(values, other_values, np.log(others), left=np.log(others[0]), right=np.nan))
    return Savings(values, costs, reached, reached / costs, values < other_values[0])


def _frontier(cost: npt.ArrayLike, value: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Distinct costs and values of the frontier, both increasing."""
    costs, values = _points(cost, value)
    on = pareto_frontier(costs, values)
    if not on.any():
        raise ComputeError("no point with both a cost and a value; savings need at least one of each metric")
    if costs[on].min() <= 0:
        raise ComputeError(f"a cost of {costs[on].min():g}; costs above 0 are needed")
    frontier = np.unique(np.stack([costs[on], values[on]], axis=1), axis=0)
    return frontier[:, 0], frontier[:, 1]


def _points(cost: npt.ArrayLike, value: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    costs, values = np.asarray(cost, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != values.shape:
        raise ComputeError(f"costs of shape {costs.shape} but values of shape {values.shape}; one of each is needed")
    return costs, values
