"""Curves from a standardised proxy score ``u`` to an accuracy in percent, all rising with ``u``.

A curve is ``a + b g(u)`` with ``b >= 0``, or 100 times the logistic function of that. All ``g`` but the sigmoid's have
``g(0) = 0`` and slope 1 there, so that a shape parameter of 0 is the straight line and only curvature is left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _linear(u: Floats, shape: Floats) -> Floats:
    return np.broadcast_to(u, np.broadcast_shapes(u.shape, (*shape.shape[:-1], 1)))


def _quadratic(u: Floats, shape: Floats) -> Floats:
    curvature = shape[..., :1]
    divisor = np.where(np.abs(curvature) < 1e-9, 1.0, curvature)
    return np.where(1.0 + curvature * u < 0, -0.5 / divisor, u + 0.5 * curvature * u * u)


def _exponential(u: Floats, shape: Floats) -> Floats:
    rate = np.where(np.abs(shape[..., :1]) < 1e-8, 1e-8, shape[..., :1])
    return np.expm1(np.minimum(rate * u, 50.0)) / rate


def _saturating(u: Floats, shape: Floats) -> Floats:
    return _exponential(u, -shape)


def _sigmoid(u: Floats, shape: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * shape[..., :1] * (u - shape[..., 1:2])))


def _logarithmic(width: float, u: Floats, shape: Floats) -> Floats:
    return _linear(width * np.log(np.maximum(1.0 + u / width, 1e-12)), shape)


@dataclass(frozen=True)
class Function:
    """A family of rising curves.

    Attributes:
        name: how users and fit.json call it.
        formula: the accuracy in percent, in words of ``u`` and of ``names``.
        basis: ``g``; takes u (..., points) and shapes (..., k), gives (..., points).
        names: of the parameters: a, b and the shapes.
        logistic: whether 100 * logistic(a + b g(u)) is the accuracy, instead of a + b g(u).
        grid: for each shape the values it may start from; a fit keeps it between the first and the last.
        curved: whether the shape is a curvature, 0 for none, which a fit shrinks towards 0.
        bounds_pct: limits of a and of b.
    """

    name: str
    formula: str
    basis: Callable[[Floats, Floats], Floats]
    names: tuple[str, ...] = ("a", "b")
    logistic: bool = False
    grid: tuple[tuple[float, ...], ...] = ()
    curved: bool = False
    bounds_pct: tuple[tuple[float, float], tuple[float, float]] = ((-np.inf, np.inf), (0.0, np.inf))

    @property
    def n_params(self) -> int:
        """Parameters that are fitted."""
        return len(self.names)

    @property
    def limits(self) -> tuple[Floats, Floats]:
        """Lowest and highest value of each parameter, two arrays of shape (n_params,)."""
        pairs = [*self.bounds_pct, *((values[0], values[-1]) for values in self.grid)]
        return np.array([low for low, _ in pairs]), np.array([high for _, high in pairs])

    def __call__(self, u: Floats, params: Floats) -> Floats:
        """Accuracy in percent, not yet cut to 0..100: u (..., points) and params (..., n_params) to (..., points)."""
        return self._accuracy(params, self.basis(u, params[..., 2:]))

    def beyond(self, u: Floats, params: Floats, low: Floats, high: Floats) -> Floats:
        """The same, where beyond the scores fitted no curve gets steeper than it was at the last of them.

        A curve that levels off towards good scores would otherwise plunge towards bad ones, and one that rises ever
        faster would explode, on no evidence: there the tangent at the last score goes on instead. The straight line is
        one of accuracies, or of their logits if the function is logistic.

        Args:
            u: shape (..., points).
            params: shape (..., n_params).
            low, high: the ends of the scores fitted, that is of ``u``, shapes that broadcast against ``u``.
        """
        shape, step = params[..., 2:], 1e-6
        inside, g = np.clip(u, low, high), self.basis(u, shape)
        side = np.where(u > high, -step, step)
        edge = self.basis(inside, shape)
        straight = edge + (self.basis(inside + side, shape) - edge) / side * (u - inside)
        g = np.where(u > high, np.minimum(g, straight), np.where(u < low, np.maximum(g, straight), g))
        return self._accuracy(params, g)

    def _accuracy(self, params: Floats, g: Floats) -> Floats:
        value = params[..., :1] + params[..., 1:2] * g
        return 50.0 * (1.0 + np.tanh(0.5 * value)) if self.logistic else value

    def slopes(self, u: Floats, params: Floats, accuracy: Floats) -> Floats:
        """Derivatives of the accuracy by each parameter.

        Args:
            u: shape (points,).
            params: shape (fits, n_params).
            accuracy: the value at them, shape (fits, points).

        Returns:
            Shape (fits, n_params, points).
        """
        shape, (_, high) = params[:, 2:], self.limits
        g = self.basis(u, shape)
        slopes = np.empty((len(params), self.n_params, u.size))
        slopes[:, 0], slopes[:, 1] = 1.0, g
        for k in range(shape.shape[1]):
            step = np.where(shape[:, k] + 1e-6 > high[2 + k], -1e-6, 1e-6)
            moved = shape.copy()
            moved[:, k] += step
            slopes[:, 2 + k] = params[:, 1:2] * (self.basis(u, moved) - g) / step[:, None]
        return slopes * (0.01 * accuracy * (100.0 - accuracy))[:, None] if self.logistic else slopes


def _both_signs(*sizes: float) -> tuple[float, ...]:
    return (*(-size for size in reversed(sizes)), 0.0, *sizes)


DEFAULT = "saturating"
_EVERYWHERE = (
    Function(
        "saturating",
        "100 / (1 + exp(-(a + b (1 - exp(-c u)) / c)))",
        _saturating,
        ("a", "b", "c"),
        logistic=True,
        grid=((0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),),
        curved=True,
    ),
    Function("logistic", "100 / (1 + exp(-(a + b u)))", _linear, logistic=True),
    Function("linear", "a + b u", _linear),
    Function(
        "exponential",
        "a + b (exp(c u) - 1) / c",
        _exponential,
        ("a", "b", "c"),
        grid=(_both_signs(0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),),
        curved=True,
    ),
    Function(
        "quadratic",
        "a + b (u + c u^2 / 2), level beyond its vertex",
        _quadratic,
        ("a", "b", "c"),
        grid=(_both_signs(0.1, 0.25, 0.5, 0.75, 1.0),),
        curved=True,
    ),
    Function(
        "logistic4",
        "a + b / (1 + exp(-k (u - m)))",
        _sigmoid,
        ("a", "b", "k", "m"),
        grid=((0.5, 1.0, 2.0, 4.0, 8.0), (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)),
        bounds_pct=((0.0, 100.0), (0.0, 100.0)),
    ),
)


def functions_for(centre: float, scale: float, lowest: float) -> dict[str, Function]:
    """The functions defined for scores ``x = centre + scale * u`` that go down to ``lowest``, the default one first.

    All but ``logarithmic``, the logarithm of x + 1, are defined everywhere. ``scale`` is negative for a score that
    falls as the accuracy rises.

    >>> "logarithmic" in functions_for(-0.8, 0.1, -0.95), "logarithmic" in functions_for(-0.8, 0.1, -1.05)
    (True, False)
    """
    functions = {function.name: function for function in _EVERYWHERE}
    if lowest > -1.0:
        # log(x + 1) is log(1 + u / w) and a constant, w = (1 + centre) / scale; times w its slope at u = 0 is 1.
        width = (1.0 + centre) / scale
        formula = "a + b w log(1 + u / w), w = (1 + centre) / scale"
        functions["logarithmic"] = Function("logarithmic", formula, partial(_logarithmic, width))
    return functions
