"""The published fit of accuracy to proxy score: four functions by least squares, the best by train R^2 is kept.

Kept to the digit, weaknesses included: nothing bounds a prediction, train R^2 prefers the function with the most
freedom, and an exponential that has not converged after ``MAX_EVALUATIONS`` is passed over, although with more it would
converge and sometimes be kept. Implements the fitting of arXiv 2509.21013.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from rbridge_metrics.errors import FitError
from rbridge_metrics.functions import Floats

FORMULAS = {
    "linear": "a x + b",
    "quadratic": "a x^2 + b x + c",
    "exponential": "a exp(b x) + c",
    "logarithmic": "a log(x + 1) + b",
}
#: Function evaluations after which least squares give up. The paper's table comes out with this limit: with SciPy's 800
#: the exponential is passed over where the paper keeps it, with 20,000 it is kept where the paper does not.
MAX_EVALUATIONS = 5000
NAMES = {name: tuple("abc")[: 2 if name in ("linear", "logarithmic") else 3] for name in FORMULAS}


@dataclass(frozen=True)
class PaperFit:
    """The function that was kept.

    Attributes:
        name: of the function.
        params: its parameters, in the order of its formula.
        train_r2: of every function that was fitted.
        unconverged: functions that were passed over because least squares did not converge.
    """

    name: str
    params: Floats
    train_r2: dict[str, float]
    unconverged: tuple[str, ...] = ()


class ConvergenceError(FitError):
    """Least squares that did not converge within ``MAX_EVALUATIONS``."""


def evaluate(name: str, params: Floats, x: Floats) -> Floats:
    """Accuracy in percent, shape of x; NaN where the function is not defined: the logarithm at x <= -1."""
    with np.errstate(all="ignore"):
        if name == "exponential":
            return np.asarray(params[0] * np.exp(params[1] * x) + params[2])
        if name == "logarithmic":
            return np.asarray(params[0] * np.log(np.where(x > -1.0, x + 1.0, np.nan)) + params[1])
        return np.asarray(np.polyval(params, x))


def fit_paper(x: Floats, y: Floats, lowest: float = np.inf) -> PaperFit:
    """Fit linear, quadratic, exponential and logarithmic functions and keep the one with the best train R^2.

    A function is left out if it has more parameters than there are different scores, if it is the logarithm and a
    score or ``lowest`` is at or below -1, or if least squares do not converge within ``MAX_EVALUATIONS``.

    Args:
        x: scores, shape (points,).
        y: accuracies in percent, shape (points,), not all equal.
        lowest: the lowest score that will be predicted at.

    Raises:
        FitError: fewer than two different scores.

    >>> fit_paper(np.arange(6.0), np.arange(6.0) ** 2).name
    'quadratic'
    """
    fits: dict[str, Floats] = {}
    unconverged = []
    for name in FORMULAS:
        if name == "logarithmic" and lowest <= -1.0:
            continue
        try:
            params = least_squares(name, x, y)
        except ConvergenceError:
            unconverged.append(name)
        else:
            fits |= {} if params is None else {name: params}
    total = ((y - y.mean()) ** 2).sum()
    with np.errstate(over="ignore"):
        r2 = {name: float(1.0 - ((y - evaluate(name, params, x)) ** 2).sum() / total) for name, params in fits.items()}
    r2 = {name: value for name, value in r2.items() if np.isfinite(value)}
    if not r2:
        raise FitError("no function of the paper fits these points: they need at least two different scores")
    best = max(r2, key=lambda name: r2[name])
    return PaperFit(best, fits[best], r2, tuple(unconverged))


def least_squares(name: str, x: Floats, y: Floats, start: Floats | None = None) -> Floats | None:
    """Parameters of one function by least squares, in the order of its formula.

    None where the function has more parameters than there are different scores, or is not defined at a score.

    Raises:
        ConvergenceError: least squares do not converge, or leave the numbers that a float can hold.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(np.unique(x)) < len(NAMES[name]) or (name == "logarithmic" and x.min() <= -1.0):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)  # it says that no covariance came out, and none is used
        warnings.simplefilter("ignore", np.exceptions.RankWarning)
        if start is None:
            start = np.array([y.max() - y.min(), 0.01, y.min()] if name == "exponential" else [1.0, 1.0])
        try:
            if name in ("linear", "quadratic"):
                return np.polyfit(x, y, len(NAMES[name]) - 1)
            params, _ = curve_fit(
                lambda x, *params: evaluate(name, np.array(params), x), x, y, p0=start, maxfev=MAX_EVALUATIONS
            )
        except (RuntimeError, ValueError) as error:
            raise ConvergenceError(f"the {name} function did not converge: {error}") from error
        return np.asarray(params)
