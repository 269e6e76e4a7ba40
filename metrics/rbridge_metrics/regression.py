"""``ProxyRegressor``: the accuracy of a large model as a function of the score of a small one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from rbridge_metrics.curve_fitting import fit_function
from rbridge_metrics.curves import Curve, PaperCurve, RobustCurve
from rbridge_metrics.errors import FitError
from rbridge_metrics.folds import Indices
from rbridge_metrics.functions import DEFAULT, Floats, functions_for
from rbridge_metrics.intervals import block_jackknife, jackknife_plus
from rbridge_metrics.paper_recipe import ConvergenceError, fit_paper, least_squares
from rbridge_metrics.saved_fit import restore, to_dict

RECIPES = ("robust", "paper")
SWITCH_AT_STANDARD_ERRORS = 2.0


class FitWarning(UserWarning):
    """Points that can be fitted but look wrong."""


class ProxyRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """Predict an accuracy in percent from a proxy score.

    ``recipe="robust"`` keeps the saturating logistic curve unless leaving out each point (or block of neighbouring
    checkpoints, see ``fit``) in turn shows that another function errs less, by more than two standard errors of the
    paired difference of absolute errors. The reasons for that default: an accuracy is bounded, it rises with a score
    that is worth anything, and it levels off before the scores do. Its predictions lie in 0..100 on any input.
    ``recipe="paper"`` is the published recipe: the best of four functions by train R^2, unbounded.

    Parameters:
        recipe: ``"robust"`` or ``"paper"``.
        lowest_x: lowest score that will be predicted at. A function that is not defined there is not fitted.

    Attributes:
        curve_: the curve: its function, parameters and formula; ``function_`` and ``params_`` are short for them.
        direction_: ``"rising"`` or ``"falling"``: how accuracy goes with the score, by the sign of their covariance.
        range_: lowest and highest score fitted.
        train_r2_: R^2 on the points fitted.
        left_out_mae_: absolute error in points at points left out, by function: what the choice was made on.
        left_out_: the curve fitted without each point or its block, for which the choice is made again.
        unconverged_: functions of the paper recipe that were passed over because least squares did not converge.
        left_out_unconverged_: points without which the kept function of the paper recipe did not converge: they are
            lacking in ``left_out_``, on which the intervals rest.
        blocks_: number of the block of each point, shape (points,); None if points were left out one by one.
        residual_scale_: standard deviation of the residuals, in points.
        left_out_residuals_: accuracy minus prediction of those curves at their own points, shape (points,).

    >>> x = np.linspace(-1.0, -0.5, 12)
    >>> y = 100 / (1 + np.exp(-(2 + 6 * (x + 0.6))))
    >>> fit = ProxyRegressor().fit(x, y)
    >>> fit.function_, fit.direction_, fit.predict([-0.6]).round(1)
    ('logistic', 'rising', array([88.1]))
    """

    def __init__(self, *, recipe: str = "robust", lowest_x: float | None = None) -> None:
        self.recipe = recipe
        self.lowest_x = lowest_x

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True  # and a column of shape (points, 1)
        tags.regressor_tags.poor_score = True  # on scikit-learn's test data, whose first feature says little
        return tags

    def fit(
        self,
        X: npt.ArrayLike,  # noqa: N803  # scikit-learn's name
        y: npt.ArrayLike,
        blocks: npt.ArrayLike | None = None,
    ) -> ProxyRegressor:
        """Choose a function and fit it.

        Args:
            X: scores, shape (points,) or (points, 1).
            y: accuracies in percent, shape (points,).
            blocks: shape (points,): number of the block of each point, see ``folds.neighbour_blocks``. Errors of
                neighbouring checkpoints are correlated; a curve that is fitted to the neighbours of a point predicts
                its error too, and intervals come out too narrow. Therefore whole blocks are left out. By default each
                point is a block of its own. The paper's recipe leaves out points.

        Raises:
            FitError: fewer than three points, missing values, scores or accuracies that are all the same, or blocks
                that are not two or more.
        """
        if self.recipe not in RECIPES:
            raise FitError(f"recipe is {self.recipe!r}; expected one of {', '.join(RECIPES)}")
        x, target = self._points(X, y)
        outside = int(((target < 0.0) | (target > 100.0)).sum())
        if outside:
            text = f"{outside} of {len(target)} accuracies lie outside 0..100; expected percent"
            warnings.warn(text, FitWarning, stacklevel=2)
        self.n_features_in_ = 1
        self.range_ = (float(x.min()), float(x.max()))
        falling = ((x - x.mean()) * (target - target.mean())).sum() < 0
        self.direction_ = "falling" if falling else "rising"
        self.unconverged_: tuple[str, ...] = ()
        self.left_out_unconverged_ = 0
        self.blocks_: Indices | None = None
        if self.recipe == "paper":
            self._choose_by_train_r2(x, target)
        else:
            numbers = np.arange(len(x)) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
            if len(numbers) != len(x) or numbers.max() < 1:
                raise FitError(
                    f"{len(numbers)} block numbers, {numbers.max() + 1} of them different, for {len(x)} points; "
                    "expected one a point and at least two blocks"
                )
            self.blocks_ = None if blocks is None else numbers
            self._choose_by_left_out(x, target, numbers, scale=float(-x.std() if falling else x.std()))
        unexplained = ((target - self.curve_(x)) ** 2).sum()
        self.residual_scale_ = float(np.sqrt(unexplained / max(len(x) - len(self.curve_.params), 1)))
        self.train_r2_ = float(1.0 - unexplained / ((target - target.mean()) ** 2).sum())
        return self

    def _points(self, scores: npt.ArrayLike, accuracies: npt.ArrayLike) -> tuple[Floats, Floats]:
        if accuracies is None:
            raise FitError("y is None: requires y to be passed, but the target y is None")
        x = self._scores(scores)
        y = _numbers(accuracies, "y")
        if len(x) != len(y):
            raise FitError(f"{len(x)} scores and {len(y)} accuracies; expected equal numbers")
        if len(x) < 3:
            raise FitError(f"{len(x)} points (n_samples = {len(x)}); a function and its error need at least 3")
        for name, values in (("score", x), ("accuracy", y)):
            if np.ptp(values) <= 1e-12 * np.abs(values).max():
                raise FitError(f"every {name} is {values[0]:g}; expected some that differ, there is nothing to fit")
            with np.errstate(over="ignore", invalid="ignore"):
                spread = values.std()
            if not 0 < spread < np.inf:
                ends = f"{values.min():g} to {values.max():g}"
                raise FitError(f"values of the {name} from {ends}; expected a spread whose square a float can hold")
        return x, y

    def _scores(self, scores: npt.ArrayLike) -> Floats:
        x = _numbers(scores, "X")
        if x.ndim == 2 and x.shape[1] == 1:
            return x[:, 0]
        if x.ndim != 1:
            raise FitError(f"scores of shape {x.shape}; expected one score a point. Reshape your data to (points,)")
        return x

    def _choose_by_train_r2(self, x: Floats, y: Floats) -> None:
        fit = fit_paper(x, y, np.inf if self.lowest_x is None else self.lowest_x)
        self.unconverged_ = fit.unconverged
        self.curve_: Curve = PaperCurve(fit.name, fit.params, self.range_)
        self.left_out_: list[Curve] = []
        residuals = []
        for i in range(len(x)):
            others = np.delete(x, i)
            try:
                params = least_squares(fit.name, others, np.delete(y, i), start=fit.params)
            except ConvergenceError:
                self.left_out_unconverged_ += 1
                continue
            if params is not None:
                self.left_out_.append(PaperCurve(fit.name, params, (float(others.min()), float(others.max()))))
                residuals.append(y[i] - self.left_out_[-1](x[i : i + 1])[0])
        self.left_out_residuals_ = np.array(residuals)
        self.left_out_mae_ = {fit.name: float(np.abs(residuals).mean())} if residuals else {}

    def _choose_by_left_out(self, x: Floats, y: Floats, blocks: Indices, scale: float) -> None:
        points, count, centre = len(x), int(blocks.max()) + 1, float(x.mean())
        u = (x - centre) / scale
        members = (blocks == np.arange(count)[:, None]).astype(np.float64)  # (blocks, points)
        weights = np.concatenate([np.ones((1, points)), 1.0 - members])
        ends = np.array([(u[blocks != block].min(), u[blocks != block].max()) for block in range(count)])
        lowest = x.min() if self.lowest_x is None else min(x.min(), self.lowest_x)
        functions = functions_for(centre, scale, lowest)
        fewest = points - int(members.sum(axis=1).max())
        fits: dict[str, Floats] = {}
        residuals: dict[str, Floats] = {}
        for name, function in functions.items():
            if name == DEFAULT or function.n_params <= fewest:
                fits[name] = fit_function(function, u, y, weights)
                low, high = ends[blocks].T[..., None]
                at_own = function.beyond(u[:, None], fits[name][1 + blocks], low, high)[:, 0]
                residuals[name] = y - np.clip(at_own, 0.0, 100.0)
        errors = np.abs([*residuals.values()])
        names = [*residuals]
        of_blocks = errors @ (members / members.sum(axis=1, keepdims=True)).T
        kept, *chosen = [
            names[place] for place in _choices(of_blocks, np.vstack([np.ones(count), 1.0 - np.eye(count)]))
        ]
        self.curve_ = RobustCurve(functions[kept], fits[kept][0], centre, scale, self.range_)
        curves = []
        for block, name in enumerate(chosen):
            first, last = sorted((centre + scale * ends[block]).tolist())
            curves.append(RobustCurve(functions[name], fits[name][1 + block], centre, scale, (first, last)))
        self.left_out_ = [curves[block] for block in blocks]
        self.left_out_residuals_ = np.array([residuals[chosen[block]][i] for i, block in enumerate(blocks)])
        self.left_out_mae_ = dict(zip(names, errors.mean(axis=1).tolist(), strict=True))

    @property
    def function_(self) -> str:
        """Name of the function that was kept."""
        return self.curve_.name

    @property
    def params_(self) -> dict[str, float]:
        """Its parameters by name; see ``curve_.formula``."""
        return dict(zip(self.curve_.names, map(float, self.curve_.params), strict=True))

    def predict(self, X: npt.ArrayLike) -> Floats:  # noqa: N803  # scikit-learn's name
        """Accuracy in percent at each score, shape (points,); X as in ``fit``.

        NaN only under the paper recipe, where its logarithm is not defined.
        """
        check_is_fitted(self)
        return self.curve_(self._scores(X))

    def predict_interval(self, X: npt.ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:  # noqa: N803
        """Lower and upper bounds in percent of the accuracy at each score.

        By ``intervals.block_jackknife`` if blocks were given to ``fit``, else by ``intervals.jackknife_plus``.
        Under the robust recipe the interval allows for the choice of function; under the paper's it does not.
        """
        check_is_fitted(self)
        x = self._scores(X)
        n_params = len(self.curve_.params)
        if self.blocks_ is not None:
            firsts = np.unique(self.blocks_, return_index=True)[1]
            curves = np.array([self.left_out_[first](x) for first in firsts])
            return block_jackknife(curves, self.residual_scale_, self.curve_(x), level, n_params)
        curves = np.array([curve(x) for curve in self.left_out_]).reshape(-1, len(x))
        return jackknife_plus(curves, self.left_out_residuals_, self.curve_(x), level, n_params)

    def outside_range(self, X: npt.ArrayLike) -> npt.NDArray[np.bool_]:  # noqa: N803
        """Whether each score lies outside those fitted, where a prediction rests on the shape of the curve alone."""
        check_is_fitted(self)
        x = self._scores(X)
        return np.asarray((x < self.range_[0]) | (x > self.range_[1]))

    def to_dict(self) -> dict[str, Any]:
        """Everything that prediction needs, as plain JSON types; ``from_dict`` gives the same predictions back."""
        check_is_fitted(self)
        return to_dict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ProxyRegressor:
        """The regressor that ``to_dict`` was called on.

        Raises:
            FitError: not what ``to_dict`` gives, or of a later version.
        """
        fit = cls()
        restore(saved, fit, RECIPES)
        return fit


def _numbers(values: npt.ArrayLike, name: str) -> Floats:
    """Finite numbers as scikit-learn checks them; ``y`` has one dimension."""
    try:
        array = column_or_1d(values, warn=True) if name == "y" else values
        return np.asarray(check_array(array, ensure_2d=False, dtype=np.float64, input_name=name))
    except ValueError as error:
        raise FitError(" ".join(str(error).split())) from error


def _choices(errors: Floats, weights: Floats) -> npt.NDArray[np.int_]:
    """Which function to keep on the blocks of each row of weights: the first, unless another is clearly better.

    Args:
        errors: mean absolute errors at blocks left out, shape (functions, blocks), the default's first.
        weights: 0 or 1, shape (choices, blocks).

    Returns:
        Rows of ``errors``, shape (choices,).
    """
    count = weights.sum(axis=1, keepdims=True)
    best = (weights @ errors.T / count).argmin(axis=1)
    gain = errors[0] - errors[best]  # (choices, points)
    mean = (weights * gain).sum(axis=1, keepdims=True) / count
    freedom = np.where(count[:, 0] > 1, count[:, 0] - 1.0, np.nan)  # nothing is clear on a single block
    variance = (weights * (gain - mean) ** 2).sum(axis=1) / freedom
    clear = mean[:, 0] > SWITCH_AT_STANDARD_ERRORS * np.sqrt(variance / count[:, 0])
    return np.where(clear, best, 0)
