"""Cross-validation of fits on unseen checkpoints, compared with baselines that need no proxy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import FitError
from rbridge_metrics.folds import MIN_TRAIN, Indices, neighbour_blocks, splits
from rbridge_metrics.functions import Floats
from rbridge_metrics.regression import ProxyRegressor


@dataclass(frozen=True)
class Fold:
    """One split: which points were fitted and predicted, by which function, and how far off. Errors are in points.

    ``unconverged`` names functions of the paper recipe that were passed over because they did not converge; those of
    the baseline that is fitted to the order have its name in front.

    ``errors`` holds absolute errors at the test points: of the ``proxy`` and of every baseline, each of shape (test,).
    """

    train: Indices
    test: Indices
    function: str
    train_r2: float
    prediction: Floats
    low: Floats
    high: Floats
    covered: npt.NDArray[np.bool_]
    errors: dict[str, Floats]
    unconverged: tuple[str, ...] = ()


@dataclass(frozen=True)
class CrossValidation:
    """Result of cross-validation; ``test`` and ``train`` of a fold index the points in the order they were given.

    Attributes:
        scheme, recipe, level: as asked for.
        folds: those that could be fitted.
        skipped: why each other fold could not.
    """

    scheme: str
    recipe: str
    level: float
    folds: list[Fold]
    skipped: list[str] = field(default_factory=list)

    @property
    def train_r2(self) -> float:
        """Mean over folds of R^2 on the points fitted."""
        return float(np.mean([fold.train_r2 for fold in self.folds]))

    @property
    def test_mae(self) -> float:
        """Mean over folds of the mean absolute error on the points left out, in percentage points."""
        return self._mae("proxy")

    @property
    def coverage(self) -> float:
        """Share of test points inside their interval; to be compared with ``level``."""
        return float(np.concatenate([fold.covered for fold in self.folds]).mean())

    @property
    def baselines(self) -> dict[str, float]:
        """The same mean absolute error of what needs no proxy, by name, in percentage points."""
        return {name: self._mae(name) for name in self.folds[0].errors if name != "proxy"}

    @property
    def functions(self) -> list[str]:
        """The function each fold chose."""
        return [fold.function for fold in self.folds]

    @property
    def unconverged(self) -> dict[str, int]:
        """In how many folds each function did not converge."""
        return dict(Counter(name for fold in self.folds for name in fold.unconverged))

    def _mae(self, name: str) -> float:
        return float(np.mean([fold.errors[name].mean() for fold in self.folds]))

    def verdict(self) -> str:
        """In words: whether the proxy beats the baselines, and whether by more than its standard error."""
        best = min(self.baselines, key=lambda name: self.baselines[name])
        ahead = self.baselines[best] - self.test_mae
        figures = f"{self.test_mae:.3f} against {self.baselines[best]:.3f} points"
        if ahead <= 0:
            return f"the proxy does not beat {best}: {figures}"
        gain = np.concatenate([fold.errors[best] - fold.errors["proxy"] for fold in self.folds])
        error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
        if gain.mean() <= error:
            return f"the proxy is not clearly better than {best}: {figures}, a difference within one standard error"
        return f"the proxy beats every baseline; the best of them, {best}: {figures}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "scheme": self.scheme,
            "folds": len(self.folds),
            "skipped": self.skipped,
            "train_r2": self.train_r2,
            "test_mae_pct": self.test_mae,
            "level": self.level,
            "coverage": self.coverage,
            "functions": self.functions,
            "unconverged": self.unconverged,
            "baseline_mae_pct": self.baselines,
            "verdict": self.verdict(),
            "left_out": [
                {"point": int(point), "fold": number, "prediction": prediction, "low": low, "high": high}
                for number, fold in enumerate(self.folds, start=1)
                for point, prediction, low, high in zip(
                    fold.test, fold.prediction.tolist(), fold.low.tolist(), fold.high.tolist(), strict=True
                )
            ],
        }


def cross_validate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    scheme: str = "blocked",
    order: npt.ArrayLike | None = None,
    order_name: str = "order",
    run: npt.ArrayLike | None = None,
    recipe: str = "robust",
    n_folds: int = 5,
    min_train: int = MIN_TRAIN,
    level: float = 0.9,
    seed: int = 42,
    log_baseline: bool = True,
) -> CrossValidation:
    """Fit on some checkpoints, predict the others, and compare the errors with three baselines.

    The baselines see the same folds: **log(order)**, the same recipe with the logarithm of the tokens in place of the
    proxy score; **last value**, the accuracy of the latest fitted checkpoint before the one predicted, of the same run
    where there is one (the earliest after it where there is none before); **mean** of the accuracies fitted.

    Args:
        x: proxy scores, shape (points,).
        y: accuracies in percent, shape (points,).
        scheme: ``shuffled``, folds drawn at random as the paper does; ``blocked``, contiguous checkpoints; ``forward``,
            train on the first k and predict the next, for every k from ``min_train`` on. See ``folds.splits``.
        order: what the checkpoints are ordered by, tokens as a rule, no two of a run equal. Without it points count as
            ordered as given, and there is no baseline log(order).
        order_name: for the name of that baseline.
        run: which run each point belongs to, where there are several.
        recipe: see ``ProxyRegressor``.
        n_folds: for ``shuffled`` and ``blocked``.
        min_train: for ``forward``.
        level: of the prediction intervals.
        seed: of the shuffle.
        log_baseline: fit log(order) too; half of the time goes there, and it is the same for every proxy.

    Raises:
        FitError: unknown scheme, duplicated checkpoints, too few points, or no fold that can be fitted.

    >>> x = np.linspace(-1.0, -0.5, 10)
    >>> result = cross_validate(x, 20 + 60 * (x + 1), scheme="forward", order=np.arange(1, 11) * 1e9)
    >>> len(result.folds), sorted(result.baselines)
    (6, ['last value', 'log(order)', 'mean'])
    """
    scores, accuracies = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    places = np.arange(1.0, len(scores) + 1) if order is None else np.asarray(order, dtype=np.float64)
    runs = np.zeros(len(scores), int) if run is None else np.unique(np.asarray(run), return_inverse=True)[1]
    _check(scores, accuracies, places, runs)
    by_order = log_baseline and order is not None and bool((places > 0).all())
    folds: list[Fold] = []
    skipped: list[str] = []
    for train, test in splits(places, scheme, n_folds=n_folds, min_train=min_train, seed=seed):
        blocks = None if order is None else neighbour_blocks(places[train], runs[train])
        try:
            errors = _baselines(accuracies, places, runs, train, test)
            unconverged: tuple[str, ...] = ()
            if by_order:
                name = f"log({order_name})"
                fit = ProxyRegressor(recipe=recipe).fit(np.log(places[train]), accuracies[train], blocks)
                predicted = fit.predict(np.log(places[test]))
                errors = {name: np.abs(predicted - accuracies[test]), **errors}
                unconverged = tuple(f"{name}: {function}" for function in fit.unconverged_)
            folds.append(_fold(scores, accuracies, blocks, (train, test), recipe, level, errors, unconverged))
        except FitError as error:
            skipped.append(f"fold {len(folds) + len(skipped) + 1}, {len(train)} points to fit: {error}")
    if not folds:
        raise FitError(f"no fold of {len(scores)} points can be fitted; {skipped[0]}")
    return CrossValidation(scheme, recipe, level, folds, skipped)


def _check(x: Floats, y: Floats, places: Floats, runs: Indices) -> None:
    if x.ndim != 1 or not x.shape == y.shape == places.shape == runs.shape:
        shapes = ", ".join(str(values.shape) for values in (x, y, places, runs))
        raise FitError(f"scores, accuracies, order and runs have shapes {shapes}; expected four times (points,)")
    for name, values in (("scores", x), ("accuracies", y), ("order", places)):
        if missing := int((~np.isfinite(values)).sum()):
            raise FitError(f"{missing} of {len(values)} {name} are missing or infinite; leave those points out")
    if ((y < 0) | (y > 100)).any():
        raise FitError(f"accuracies go from {y.min():g} to {y.max():g}; expected percent, 0..100")
    repeated = len(places) - len(np.unique(np.stack([runs, places]), axis=1).T)
    if repeated:
        raise FitError(f"{repeated} checkpoints occur more than once; keep one row of each")


def _baselines(y: Floats, places: Floats, runs: Indices, train: Indices, test: Indices) -> dict[str, Floats]:
    """Absolute errors at the test points of what needs no proxy, each of shape (test,)."""
    latest = []
    for point in test:
        of_run = train[runs[train] == runs[point]]
        seen = of_run if len(of_run) else train
        before = seen[places[seen] < places[point]]
        latest.append(before[places[before].argmax()] if len(before) else seen[places[seen].argmin()])
    return {"last value": np.abs(y[latest] - y[test]), "mean": np.abs(y[train].mean() - y[test])}


def _fold(
    x: Floats,
    y: Floats,
    blocks: Indices | None,
    split: tuple[Indices, Indices],
    recipe: str,
    level: float,
    errors: dict[str, Floats],
    unconverged: tuple[str, ...],
) -> Fold:
    """The fit of the proxy and its errors beside those of the baselines, and the functions not converged of both."""
    train, test = split
    fit = ProxyRegressor(recipe=recipe, lowest_x=float(x[test].min())).fit(x[train], y[train], blocks)
    prediction = fit.predict(x[test])
    low, high = fit.predict_interval(x[test], level)
    return Fold(
        train=train,
        test=test,
        function=fit.function_,
        train_r2=fit.train_r2_,
        prediction=prediction,
        low=low,
        high=high,
        covered=(low <= y[test]) & (y[test] <= high),
        errors={"proxy": np.abs(prediction - y[test]), **errors},
        unconverged=(*fit.unconverged_, *unconverged),
    )
