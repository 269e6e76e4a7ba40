"""Levenberg-Marquardt for many weightings of the same points at once, with a robust loss and a Gaussian prior."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from rbridge_metrics.alignment import FloatArray

_BATCH = 128  # fits: their arrays stay in the cache of a core


class Family(Protocol):
    """A family of functions with parameters: what is fitted."""

    @property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest value of each parameter, two arrays of shape (n_params,)."""

    def __call__(self, u: FloatArray, params: FloatArray) -> FloatArray:
        """Values at the points: (..., points) and (..., n_params) to (..., points)."""

    def slopes(self, u: FloatArray, params: FloatArray, fitted: FloatArray) -> FloatArray:
        """Derivatives by the parameters, shape (fits, n_params, points), given the values at these parameters."""


def descend(
    family: Family,
    u: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    start: FloatArray,
    *,
    noise: float | FloatArray,
    precision: FloatArray,
    centre: FloatArray | float = 0.0,
    steps: int,
) -> FloatArray:
    """Minimise ``sum w 2 s^2 (sqrt(1 + (r / s)^2) - 1) + sum precision (params - centre)^2`` for each row of weights.

    Args:
        family: the functions.
        u: what they take, shape (..., points).
        y: their values, shape (points,) or (fits, points).
        weights: shape (fits, points), 0 for a point that is left out.
        start: shape (fits, n_params), within the limits.
        noise: s, in units of y, one number or shape (fits, 1): errors are squared below it and absolute above.
        precision: shape (n_params,) or (fits, n_params), in squared units of y; 0 for a parameter without a prior.
        centre: of the prior.
        steps: at most.

    Returns:
        Parameters, shape (fits, n_params).
    """
    low, high = family.limits
    params = start
    fitted = family(u, params)
    loss = robust_loss(y - fitted, weights, noise) + (precision * (params - centre) ** 2).sum(-1)
    damping = np.full(len(params), 1e-3)
    settled = np.zeros(len(params), bool)
    for _ in range(steps):
        slopes = family.slopes(u, params, fitted)
        residual = y - fitted
        bend = 1.0 + (residual / noise) ** 2
        weighed = weights / np.sqrt(bend)
        downhill = (slopes @ (weighed * residual)[..., None])[..., 0] - precision * (params - centre)
        stuck = ((params <= low) & (downhill < 0)) | ((params >= high) & (downhill > 0))
        slopes[stuck] = 0.0
        downhill[stuck] = 0.0
        normal = (slopes * (weighed / bend)[:, None]) @ slopes.transpose(0, 2, 1)
        diagonal = np.einsum("mkk->mk", normal)
        diagonal += precision
        diagonal += damping[:, None] * diagonal + 1e-9 * (1.0 + diagonal.max(-1, keepdims=True))
        tried = np.clip(params + np.linalg.solve(normal, downhill[..., None])[..., 0], low, high)
        tried_fitted = family(u, tried)
        tried_loss = robust_loss(y - tried_fitted, weights, noise) + (precision * (tried - centre) ** 2).sum(-1)
        settled |= (np.abs(loss - tried_loss) <= 1e-6 * loss) | (damping > 1e8)
        better = tried_loss < loss
        params = np.where(better[:, None], tried, params)
        fitted = np.where(better[:, None], tried_fitted, fitted)
        loss = np.where(better, tried_loss, loss)
        damping = np.where(better, np.maximum(damping * 0.2, 1e-9), damping * 10.0)
        if settled.all():
            break
    return params


def in_batches(fit: Callable[[slice], FloatArray], fits: int) -> FloatArray:
    """Parameters of many fits, shape (fits, n_params), by ``fit`` of some rows at a time in several threads."""
    parts = [slice(first, first + _BATCH) for first in range(0, fits, _BATCH)]
    with ThreadPoolExecutor() as pool:  # NumPy computes outside the interpreter's lock
        return np.concatenate([*pool.map(fit, parts)])


def robust_loss(residual: FloatArray, weights: FloatArray, noise: float | FloatArray) -> FloatArray:
    """``sum w 2 s^2 (sqrt(1 + (r / s)^2) - 1)`` over the last axis, s = ``noise``."""
    loss = weights * (2.0 * noise**2 * (np.sqrt(1.0 + (residual / noise) ** 2) - 1.0))
    return np.asarray(loss.sum(-1))
