"""Batched fits of one function to many weightings of the same points, such as all leave-one-out subsets.

Errors are squared below about a point of accuracy and absolute above: no single odd checkpoint bends a curve. A shape
starts from a grid, on which a and b have a closed form; Levenberg-Marquardt steps then move all parameters together.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from rbridge_metrics.functions import Floats, Function
from rbridge_metrics.levenberg_marquardt import descend, robust_loss

# About the sampling error of an accuracy over a thousand items. Below it an error is noise, above it may be an outlier.
NOISE_PCT = 1.0
STEPS = 20


def fit_function(
    function: Function, u: Floats, y: Floats, weights: Floats, *, curvature_penalty: float = NOISE_PCT**2
) -> Floats:
    """Fit one function to the points under each row of weights.

    Minimises ``sum w 2 s^2 (sqrt(1 + (r / s)^2) - 1) + penalty * c^2`` with residuals r in points, s = ``NOISE_PCT``
    and the curvature c of a function that has one. A curvature of 1, which over one standard deviation of the scores
    changes the slope by about a factor of e, costs by default what a residual of s costs: bending takes evidence.

    Args:
        function: the family.
        u: standardised scores, shape (points,), with which y rises.
        y: accuracies in percent, shape (points,).
        weights: shape (fits, points), 0 for a point that is left out.
        curvature_penalty: in squared points; 0 for none.

    Returns:
        Parameters, shape (fits, n_params).

    >>> from rbridge_metrics.functions import functions_for
    >>> u = np.linspace(-2, 2, 9)
    >>> fit_function(functions_for(0, 1, -2)["linear"], u, 50 + 10 * u, np.ones((1, 9))).round(3)
    array([[50., 10.]])
    """
    penalty = np.zeros(function.n_params)
    penalty[2:] = curvature_penalty if function.curved else 0.0
    start = _start(function, u, y, weights, penalty)
    return descend(function, u, y, weights, start, noise=NOISE_PCT, precision=penalty, steps=STEPS)


def _start(function: Function, u: Floats, y: Floats, weights: Floats, penalty: Floats) -> Floats:
    """The best shape of the grid under each row of weights, with its a and b by least squares: (fits, n_params)."""
    shapes = np.array(list(product(*function.grid)))
    basis = function.basis(u, shapes)
    straight, weighed = y, weights
    if function.logistic:  # squared errors of logits, weighted by the slope of the logistic function, are near enough
        share = np.clip(y / 100.0, 0.005, 0.995)
        straight = np.log(share / (1.0 - share))
        weighed = weights * (share * (1.0 - share)) ** 2
    total = weighed.sum(-1, keepdims=True)
    mean_y = (weighed @ straight)[:, None] / total
    mean_g = weighed @ basis.T / total
    spread = weighed @ (basis * basis).T / total - mean_g**2
    along = weighed @ (basis * straight).T / total - mean_g * mean_y
    low, high = function.limits
    b = np.clip(along / np.maximum(spread, 1e-12), low[1], high[1])
    a = np.clip(mean_y - b * mean_g, low[0], high[0])
    start = np.concatenate([np.stack([a, b], -1), np.broadcast_to(shapes, (*a.shape, shapes.shape[-1]))], -1)
    residual = y - function(u, start)
    best = (robust_loss(residual, weights[:, None], NOISE_PCT) + (penalty * start**2).sum(-1)).argmin(-1)
    return np.asarray(start[np.arange(len(weights)), best])
