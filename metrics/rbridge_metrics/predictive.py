"""Predictive distribution of ``a - b * t^(-c)`` with unknown c, for later checkpoints of a run.

Many values of c fit almost equally well and diverge beyond the data. The distribution is Bayesian, averaged over c
(uniform in log c) and over the correlation r of the deviations of neighbouring checkpoints from the curve (r in 0, 0.2,
... 0.9; the prior falls linearly, so white noise is the most likely). Given c and r it is Student's t of generalised
least squares with n - 2 degrees of freedom; quantiles of the mixture are computed by bisection.
It is deterministic, and widens with the distance from the data.

It assumes that the run continues unchanged, without learning-rate decay, new data or another stage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbridge_metrics.alignment import FloatArray

#: Exponents searched. Below the lowest the curve is a straight line in log t; above the highest it is flat at once.
EXPONENTS = (0.01, 3.0)

_GRID = np.geomspace(*EXPONENTS, 61)
_CORRELATIONS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.9])


class Predictive(NamedTuple):
    """Distributions of the scores at some times: mixtures of Student's t with ``dof`` degrees of freedom.

    Attributes:
        weight: of each component, shape (components,).
        centre, scale: of each component at each time, shape (components, times).
    """

    weight: FloatArray
    centre: FloatArray
    scale: FloatArray
    dof: int

    def quantile(self, probability: float) -> FloatArray:
        """Score that each time stays below with this probability in (0, 1): shape (times,).

        By bisection between the lowest and highest quantile of the components.
        """
        from scipy.special import stdtrit

        quantiles = self.centre + stdtrit(self.dof, probability) * self.scale
        low, high = quantiles.min(axis=0), quantiles.max(axis=0)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.probability_below(middle) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        quantile: FloatArray = (low + high) / 2
        return quantile

    def probability_below(self, scores: FloatArray) -> FloatArray:
        """Probability that each time scores at most the score given for it, shape (times,) as ``scores``."""
        from scipy.special import stdtr

        scale = np.maximum(self.scale, np.finfo(float).tiny)
        with np.errstate(over="ignore"):  # far outside the spread of a run without noise
            probability: FloatArray = self.weight @ stdtr(self.dof, (scores - self.centre) / scale)
        return probability


class _Run(NamedTuple):
    """The checkpoints, shapes (checkpoints,)."""

    tokens: FloatArray
    values: FloatArray
    weights: FloatArray


def training_basis(u: FloatArray, exponents: FloatArray) -> FloatArray:
    """``(1 - u^(-c)) / c``, which tends to ``log u`` as c goes to 0, without cancellation on the way.

    Args:
        u: shape (times,), times over a reference time.
        exponents: shape (exponents,), above 0.

    Returns:
        Shape (exponents, times).
    """
    c = exponents[:, None]
    basis: FloatArray = -np.expm1(-c * np.log(u)) / c
    return basis


def predictive(
    tokens: FloatArray, values: FloatArray, times: FloatArray, *, weights: FloatArray, fitted: float
) -> Predictive:
    """What a checkpoint at each of ``times`` will score; see this module.

    Generalised least squares for every exponent and correlation, weighted by its marginal likelihood. The slope's prior
    is flat for a basis of unit variance over the checkpoints, so that exponents compare fairly.

    Args:
        tokens, values: shape (checkpoints,), the run so far, in order of tokens, at least 4 checkpoints.
        times: shape (times,).
        weights: shape (checkpoints,), of each checkpoint in the fit: 1/4 stands for twice the noise.
        fitted: the exponent that fits best; added to the grid, so that a run without noise is met exactly.
    """
    run = _Run(tokens, values, weights)
    reference = np.exp(np.log(run.tokens).mean())
    exponents = np.unique(np.append(_GRID, fitted))
    basis = training_basis(run.tokens / reference, exponents)
    mean, spread = basis.mean(axis=1, keepdims=True), basis.std(axis=1, keepdims=True)
    z, z_new = (basis - mean) / spread, (training_basis(times / reference, exponents) - mean) / spread
    prior = (1 - _CORRELATIONS) / (1 - _CORRELATIONS).sum()
    parts = [_given_correlation(run, z, z_new, times, r) for r in _CORRELATIONS]
    log_weight = np.concatenate([part[0] + np.log(p) for part, p in zip(parts, prior, strict=True)])
    weight = np.exp(log_weight - log_weight.max())
    keep = weight > 1e-7 * weight.sum()
    centre, scale = (np.concatenate([part[at] for part in parts])[keep] for at in (1, 2))
    return Predictive(weight[keep] / weight[keep].sum(), centre, scale, run.tokens.size - 2)


def _given_correlation(
    run: _Run, z: FloatArray, z_new: FloatArray, times: FloatArray, r: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log marginal likelihood (exponents,), and centre and scale of the prediction (exponents, times), for one r."""
    t, y = run.tokens, run.values
    place, place_new = np.arange(t.size), _place(t, times)
    distance, distance_new = np.abs(place[:, None] - place), np.abs(place[:, None] - place_new)
    root = np.sqrt(run.weights)
    correlation = (np.eye(t.size) if r == 0 else r**distance) / (root[:, None] * root)
    correlation_new = (np.zeros(distance_new.shape) if r == 0 else r**distance_new) / root[:, None]
    cholesky = np.linalg.cholesky(correlation)
    white = np.linalg.inv(cholesky)
    ones, y_white, z_white, k = white.sum(axis=1), white @ y, z @ white.T, white @ correlation_new

    # Normal equations of the two columns 1 and z, written out because there is one pair for every exponent.
    s11, s12, s22 = ones @ ones, z_white @ ones, (z_white**2).sum(axis=1)
    determinant = s11 * s22 - s12**2
    y1, y2 = ones @ y_white, z_white @ y_white
    level, slope = (s22 * y1 - s12 * y2) / determinant, (s11 * y2 - s12 * y1) / determinant
    residual = y_white - level[:, None] * ones - slope[:, None] * z_white
    dof = t.size - 2
    squares = np.maximum((residual**2).sum(axis=1), 1e-24 * float(((y - y.mean()) ** 2).sum()))

    log_likelihood = -dof / 2 * np.log(squares) - np.log(determinant) / 2 - np.log(np.diag(cholesky)).sum()
    centre = level[:, None] + slope[:, None] * z_new + residual @ k
    d1, d2 = 1 - ones @ k, z_new - z_white @ k
    leverage = (s22[:, None] * d1**2 - 2 * s12[:, None] * d1 * d2 + s11 * d2**2) / determinant[:, None]
    variance = np.maximum(1 - (k**2).sum(axis=0), 0) + np.maximum(leverage, 0)
    return log_likelihood, centre, np.sqrt(variance * squares[:, None] / dof)


def _place(tokens: FloatArray, times: FloatArray) -> FloatArray:
    """Where times stand among the checkpoints, counted in checkpoints; beyond them the outermost gap goes on."""
    gaps = np.diff(tokens)
    place = np.interp(times, tokens, np.arange(tokens.size))
    before, after = np.maximum(tokens[0] - times, 0) / gaps[0], np.maximum(times - tokens[-1], 0) / gaps[-1]
    result: FloatArray = place - before + after
    return result
