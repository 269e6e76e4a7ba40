"""Laws of the size N and the training tokens D: of a loss, ``E + A / N^a + B / D^b``, or of the logit of an accuracy.

Source: arXiv 2203.15556 for the form, arXiv 2412.04403 for its use on a benchmark. The simpler forms have one exponent
for both, or see the compute N D alone. Exponents have a wide prior: with few sizes E and the exponents trade off
against each other, and the prior then keeps them where those of other ladders are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from rbridge_metrics.alignment import FloatArray, IntArray
from rbridge_metrics.ladder.curves import FLOOR_LIMITS, FLOOR_SPREAD, above_floor, above_floor_slopes
from rbridge_metrics.levenberg_marquardt import descend, in_batches, robust_loss

#: Centre of the prior of an exponent of N or of D (of N D it is half), and its standard deviation in logarithms.
EXPONENT, EXPONENT_SPREAD = 0.3, 0.5
_LIMITS = (0.02, 1.5)  # of an exponent
_NEGLIGIBLE = 1e-5  # smallest share of a loss that a term may be
_NOISES = (0.1, 5.0)  # per cent of the loss, or points of accuracy
_STEPS, _REFIT_STEPS = 30, 25


@dataclass(frozen=True)
class Form:
    """Which terms a law has.

    Attributes:
        name: for people.
        terms: of each term, the multiples of log N and log D in its logarithm, shape (terms, 2).
        exponents: of each term, the index of its exponent.
        prior: centre of the prior of each exponent.
    """

    name: str
    terms: tuple[tuple[float, float], ...]
    exponents: tuple[int, ...]
    prior: tuple[float, ...]


FORMS = (
    Form("N and D", ((1.0, 0.0), (0.0, 1.0)), (0, 1), (EXPONENT, EXPONENT)),
    Form("one exponent", ((1.0, 0.0), (0.0, 1.0)), (0, 0), (EXPONENT,)),
    Form("compute", ((1.0, 1.0),), (0,), (EXPONENT / 2,)),
)


@dataclass(frozen=True)
class Law:
    """A form with parameters e, the logarithms of the terms at the centre and of the exponents, the floor f.

    Attributes:
        form: its terms.
        of_accuracy: the value is ``f + (100 - f) / (1 + exp(-(e - terms)))``, not ``100 log(exp(e) + terms)``.
        centre: log N and log D at which terms are counted, shape (2,).
        limits: lowest and highest value of each parameter.
        noise: typical residual of each fit, shape (fits, 1), in per cent of the loss or points of accuracy.
        params: shape (fits, n_params).
    """

    form: Form
    of_accuracy: bool
    centre: FloatArray
    limits: tuple[FloatArray, FloatArray]
    noise: FloatArray
    params: FloatArray

    def __call__(self, u: FloatArray, params: FloatArray) -> FloatArray:
        """Values at u, shape (2, points), for parameters (fits, n_params): shape (fits, points)."""
        terms = self._terms(u, params).sum(-2)
        if self.of_accuracy:
            return above_floor(params[..., -1:], params[..., :1] - terms)
        return np.asarray(100.0 * np.log(np.exp(params[..., :1]) + terms))

    def slopes(self, u: FloatArray, params: FloatArray, fitted: FloatArray) -> FloatArray:
        """Derivatives of the values by the parameters, shape (fits, n_params, points)."""
        terms, count = self._terms(u, params), len(self.form.terms)
        rates = np.exp(self._rates(params))
        slopes = np.zeros((len(params), params.shape[1], u.shape[1]))
        slopes[:, 0] = 1.0 if self.of_accuracy else np.exp(params[:, :1])
        for k, (direction, exponent) in enumerate(zip(self.form.terms, self.form.exponents, strict=True)):
            slopes[:, 1 + k] = terms[:, k]
            slopes[:, 1 + count + exponent] -= terms[:, k] * rates[:, exponent, None] * (np.asarray(direction) @ u)
        if self.of_accuracy:
            steep, by_floor = above_floor_slopes(params[:, -1:], fitted)
            slopes[:, 1:] *= -1.0
            slopes *= steep[:, None]
            slopes[:, -1] = by_floor
            return slopes
        return np.asarray(slopes * (100.0 * np.exp(-0.01 * fitted))[:, None])

    def predict(self, params: FloatArray, tokens: FloatArray) -> FloatArray:
        """Loss, or accuracy in percent, at sizes and tokens, shape (points,) each: (fits, points)."""
        value = self(self._place(params, tokens), self.params)
        return value if self.of_accuracy else np.asarray(np.exp(0.01 * value))

    def refitted(
        self, params: FloatArray, tokens: FloatArray, values: FloatArray, weights: FloatArray, start: IntArray
    ) -> Law:
        """The law fitted to other weights, shape (fits, runs), each from the row ``start`` of its own parameters."""

        def fit(rows: slice) -> FloatArray:
            return self.of_rows(start[rows])._descended(params, tokens, values, weights[rows], _REFIT_STEPS)

        return replace(self.of_rows(start), params=in_batches(fit, len(start)))

    def of_rows(self, rows: slice | IntArray) -> Law:
        """The law with some of its fits."""
        return replace(self, noise=self.noise[rows], params=self.params[rows])

    @property
    def exponents(self) -> FloatArray:
        """Of the terms, shape (fits, exponents)."""
        return np.exp(self._rates(self.params))

    def _rates(self, params: FloatArray) -> FloatArray:
        """Logarithms of the exponents, shape (..., exponents)."""
        first = 1 + len(self.form.terms)
        return params[..., first : first + len(self.form.prior)]

    def _terms(self, u: FloatArray, params: FloatArray) -> FloatArray:
        count = len(self.form.terms)
        rates = np.exp(self._rates(params))[..., list(self.form.exponents)]
        return np.exp(params[..., 1 : 1 + count, None] - rates[..., None] * (np.asarray(self.form.terms) @ u))

    def _place(self, params: FloatArray, tokens: FloatArray) -> FloatArray:
        return np.stack([np.log(params), np.log(tokens)]) - self.centre[:, None]

    def _descended(
        self, params: FloatArray, tokens: FloatArray, values: FloatArray, weights: FloatArray, steps: int
    ) -> FloatArray:
        """Parameters fitted under each row of weights, from those of the law."""
        y = values if self.of_accuracy else 100.0 * np.log(values)
        precision = np.zeros(self.params.shape)
        self._rates(precision)[...] = (self.noise / EXPONENT_SPREAD) ** 2
        centre = np.zeros(self.params.shape[1])
        self._rates(centre)[...] = np.log(self.form.prior)
        if self.of_accuracy:
            precision[:, -1:] = (self.noise / FLOOR_SPREAD) ** 2
        return descend(
            self, self._place(params, tokens), y, weights, self.params,
            noise=self.noise, precision=precision, centre=centre, steps=steps,
        )  # fmt: skip


def fit_law(
    form: Form, params: FloatArray, tokens: FloatArray, values: FloatArray, weights: FloatArray, *, of_accuracy: bool
) -> Law:
    """Fit a law to the ends of runs under each row of weights, from many starts.

    Args:
        form: which terms.
        params, tokens: sizes and training tokens, shape (runs,).
        values: losses, above 0, or accuracies in per cent with chance at 0; shape (runs,).
        weights: shape (fits, runs), 0 for a run that is left out.
        of_accuracy: which of the two.

    Returns:
        The law with parameters of shape (fits, n_params).

    >>> n, d = np.repeat([1e8, 3e8, 1e9], 3), np.tile([1e10, 3e10, 1e11], 3)
    >>> law = fit_law(FORMS[0], n, d, 0.5 + 200 * n**-0.3 + 300 * d**-0.3, np.ones((1, 9)), of_accuracy=False)
    >>> law.predict(np.array([7e9]), np.array([4e12])).round(2)
    array([[0.77]])
    """
    centre = np.array([np.log(params).mean(), np.log(tokens).mean()])
    starts, limits = _starts(form, values, of_accuracy=of_accuracy)
    fits, count = len(weights), len(starts)
    law = Law(form, of_accuracy, centre, limits, np.ones((fits * count, 1)), np.tile(starts, (fits, 1)))
    y, place = values if of_accuracy else 100.0 * np.log(values), law._place(params, tokens)
    rows = np.arange(fits)
    for keep, steps in ((3, _STEPS), (1, 2 * _STEPS)):  # the second time with the noise that the first left
        repeated = np.repeat(weights, count, axis=0)
        fitted = law._descended(params, tokens, values, repeated, steps)
        residual = y - law(place, fitted)
        losses = robust_loss(residual, repeated, law.noise).reshape(fits, count)
        chosen = (losses.argsort(axis=1)[:, :keep] + count * rows[:, None]).ravel()
        count = min(keep, count)
        freedom = np.maximum(weights.sum(-1) - fitted.shape[1], 1.0)
        spread = np.sqrt((repeated * residual**2).sum(-1)[chosen].reshape(fits, count)[:, 0] / freedom)
        noise = np.repeat(np.clip(spread, *_NOISES), count)[:, None]
        law = replace(law, noise=noise, params=fitted[chosen])
    return law


def _starts(form: Form, values: FloatArray, *, of_accuracy: bool) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Starts on a grid, shape (starts, n_params), and the limits of the parameters."""
    count, last = len(form.terms), len(form.prior)
    exponents = [np.log(scale * np.asarray(form.prior)) for scale in (0.6, 1.5)]
    floors: list[float] = []
    if of_accuracy:
        share = np.clip(values / 100.0, 0.01, 0.99)
        logit = float(np.log(share / (1.0 - share)).mean())
        rests = [(logit + total, np.log(total / count)) for total in (1.0, 2.0, 4.0)]
        of_e, of_terms, floors = (-6.0, 8.0), (np.log(1e-3), np.log(20.0)), [0.0]
    else:
        middle = float(np.exp(np.log(values).mean()))
        rests = [(np.log(part * middle), np.log((1 - part) * middle / count)) for part in (0.2, 0.5, 0.8)]
        of_e = of_terms = (np.log(_NEGLIGIBLE * middle), np.log(2.0 * values.max()))
    pairs = [
        of_e,
        *[of_terms] * count,
        *[(np.log(_LIMITS[0]), np.log(_LIMITS[1]))] * last,
        *[FLOOR_LIMITS] * len(floors),
    ]
    low, high = np.array(pairs).T
    starts = [[e, *[term] * count, *rates, *floors] for (e, term), rates in product(rests, exponents)]
    return np.clip(np.array(starts), low, high), (low, high)
