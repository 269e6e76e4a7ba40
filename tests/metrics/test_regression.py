"""ProxyRegressor: predictions within bounds, choice by left-out points, JSON, and scikit-learn's checks."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

from rbridge_metrics import FitError, FitWarning, ProxyRegressor
from rbridge_metrics.curve_fitting import fit_function
from rbridge_metrics.curves import RobustCurve
from rbridge_metrics.functions import DEFAULT, functions_for
from rbridge_metrics.isotonic import isotonic_left_out_errors, shape_check

from .strategies import cases

Floats = npt.NDArray[np.float64]
RECIPES = pytest.mark.parametrize("recipe", ["robust", "paper"])

TWO_DIMENSIONS = "the check indexes the scores as a matrix, though the tag says that they are one array"
EXCEPTIONS = {
    "check_dict_unchanged": TWO_DIMENSIONS,
    "check_dont_overwrite_parameters": TWO_DIMENSIONS,
    "check_dtype_object": TWO_DIMENSIONS,
    "check_estimator_sparse_array": "the check makes a sparse array of one dimension, which SciPy cannot convert",
    "check_f_contiguous_array_estimator": TWO_DIMENSIONS,
    "check_fit1d": "the check wants one dimension refused; here scores may come in one",
    "check_fit2d_1feature": TWO_DIMENSIONS,
    "check_fit2d_1sample": TWO_DIMENSIONS,
    "check_fit2d_predict1d": TWO_DIMENSIONS,
    "check_methods_sample_order_invariance": TWO_DIMENSIONS,
    "check_methods_subset_invariance": TWO_DIMENSIONS,
    "check_n_features_in": TWO_DIMENSIONS,
    "check_n_features_in_after_fitting": TWO_DIMENSIONS,
    "check_regressors_no_decision_function": TWO_DIMENSIONS,
}


class OnFirstColumn(ProxyRegressor):
    """The regressor on the first of several features, which scikit-learn's checks bring."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = False
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> OnFirstColumn:  # noqa: N803
        column = self._first(X, reset=True)
        features = self.n_features_in_
        super().fit(column, y)
        self.n_features_in_ = features
        return self

    def predict(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return super().predict(self._first(X, reset=False))

    def _first(self, X: npt.ArrayLike, *, reset: bool) -> Floats:  # noqa: N803
        from sklearn.utils.validation import validate_data

        return np.asarray(validate_data(self, X, reset=reset, dtype=np.float64))[:, 0]


def checkpoints(seed: int = 0, count: int = 14, noise: float = 1.0) -> tuple[Floats, Floats]:
    """A proxy that improves along a run, and the target's accuracy, which levels off."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-0.9, -0.6, count))
    return x, np.clip(75.0 - 40.0 * np.exp(-9.0 * (x + 0.9)) + noise * rng.normal(size=count), 0.0, 100.0)


@RECIPES
def test_scikit_learns_checks_pass(recipe: str) -> None:
    """check_estimator fails exactly on the exceptions listed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FitWarning, SkipTestWarning))  # its targets are not accuracies
        results = check_estimator(ProxyRegressor(recipe=recipe), expected_failed_checks=EXCEPTIONS, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    excepted = {result["check_name"] for result in results if result["status"] == "xfail"}
    assert failed == set()
    assert excepted == set(EXCEPTIONS)


def test_checks_that_need_a_matrix_pass_on_its_first_column() -> None:
    """Checks that scikit-learn makes only on a matrix pass too: order, subsets, idempotence, shapes, wrong input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (FitWarning, SkipTestWarning))
        results = check_estimator(OnFirstColumn(), on_fail=None)
    assert {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"} == {}
    ran = {result["check_name"] for result in results if result["status"] == "passed"}
    assert set(EXCEPTIONS) - ran <= {"check_fit1d", "check_estimator_sparse_array"}


POINTS = st.lists(
    st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(0, 100, width=16)), min_size=3, max_size=12
).filter(lambda points: np.ptp([x for x, _ in points]) > 1e-3 and np.ptp([y for _, y in points]) > 0.01)
SCORES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8)


@cases(150)
@given(points=POINTS, scores=SCORES, level=st.floats(0.05, 0.99))
def test_no_prediction_leaves_0_to_100(points: list[tuple[float, float]], scores: list[float], level: float) -> None:
    """Every robust prediction lies in 0 to 100 and inside its own interval."""
    x, y = (np.array(values, dtype=np.float64) for values in zip(*points, strict=True))
    fit = ProxyRegressor().fit(x, y)
    prediction = fit.predict(scores)
    low, high = fit.predict_interval(scores, level)
    assert ((prediction >= 0) & (prediction <= 100)).all()
    assert ((low >= 0) & (low <= prediction + 1e-9) & (prediction <= high + 1e-9) & (high <= 100)).all()


@cases(60)
@given(points=POINTS, scores=SCORES)
def test_predictions_are_monotonic(points: list[tuple[float, float]], scores: list[float]) -> None:
    """A better score never gives a lower accuracy in a robust curve."""
    x, y = (np.array(values, dtype=np.float64) for values in zip(*points, strict=True))
    fit = ProxyRegressor().fit(x, y)
    steps = np.diff(fit.predict(np.sort([*scores, *x])))
    assert ((steps if fit.direction_ == "rising" else -steps) >= -1e-9).all()


@RECIPES
@pytest.mark.parametrize("seed", range(3))
def test_json_gives_the_same_predictions_back(recipe: str, seed: int) -> None:
    """A fit written as JSON and read again predicts the same numbers, intervals included."""
    x, y = checkpoints(seed)
    fit = ProxyRegressor(recipe=recipe).fit(x, y)
    copy = ProxyRegressor.from_dict(json.loads(json.dumps(fit.to_dict(), allow_nan=False)))
    scores = np.linspace(-1.5, 0.5, 50)
    np.testing.assert_array_equal(copy.predict(scores), fit.predict(scores))
    np.testing.assert_array_equal(copy.predict_interval(scores), fit.predict_interval(scores))
    np.testing.assert_array_equal(copy.outside_range(scores), fit.outside_range(scores))
    assert copy.to_dict() == fit.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "something"}, "'something'"),
        ({"recipe": "secret"}, "secret"),
        ({"params": {}}, "lacks 'a'"),
        ({"params": {"a": None, "b": 1.0, "c": 0.0}}, "damaged"),
        ({"params": {"a": float("nan"), "b": 1.0, "c": 0.0}}, "not all finite"),
        ({"function": "cubic"}, "lacks 'cubic'"),
        ({"range": [1.0]}, "damaged"),
        ({"left_out": 3}, "damaged"),
        ({"scale": 0.0}, "scale 0"),
        ({"train_r2": 10**400}, "damaged"),
        ({"blocks": [0] * 6 + [1] * 6, "residual_scale": float("nan")}, "residual scale of nan"),
    ],
)
def test_a_damaged_fit_is_refused(change: dict[str, Any], message: str) -> None:
    """The message names what is missing or wrong in a saved fit."""
    saved = ProxyRegressor().fit(*checkpoints()).to_dict()
    with pytest.raises(FitError, match=message):
        ProxyRegressor.from_dict({**saved, **change})


def test_a_saved_fit_that_is_no_mapping_is_refused() -> None:
    """A list or null where a fit is expected, as in a damaged file, is one line."""
    for damaged in ([], None):
        with pytest.raises(FitError, match="format None version None"):
            ProxyRegressor.from_dict(damaged)  # type: ignore[arg-type]


def test_a_fit_saved_by_an_earlier_version_is_read() -> None:
    """Fields that were added later may be missing."""
    saved = ProxyRegressor().fit(*checkpoints()).to_dict()
    later = ("unconverged", "left_out_unconverged", "residual_scale", "blocks")
    old = {key: value for key, value in saved.items() if key not in later}
    np.testing.assert_array_equal(
        ProxyRegressor.from_dict(old).predict([0.9, 1.1]), ProxyRegressor.from_dict(saved).predict([0.9, 1.1])
    )


@pytest.mark.parametrize("scale", [1e-6, 3.7, 1e6])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_units_of_the_score_do_not_matter(scale: float, shift: float) -> None:
    """A score in other units or of opposite sign gives the same predictions, where no logarithm is chosen."""
    x, y = checkpoints(2)
    fit = ProxyRegressor().fit(x, y)
    for sign in (1.0, -1.0):
        rescaled = ProxyRegressor().fit(sign * scale * x + shift, y)
        assert rescaled.function_ == fit.function_
        np.testing.assert_allclose(rescaled.predict(sign * scale * x + shift), fit.predict(x), atol=0.02)
        assert rescaled.direction_ == ("rising" if sign > 0 else "falling")


def test_another_curve_is_chosen_only_for_clearly_smaller_left_out_errors() -> None:
    """The function kept is the default, or beats it by over two standard errors, recomputed here point by point."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = np.sort(rng.normal(size=12))
        y = [50 + 15 * x, 100 / (1 + np.exp(-4 * x)), 40 + 30 * np.tanh(6 * x)][seed % 3] + rng.normal(size=12)
        y = np.clip(y, 0, 100)
        fit = ProxyRegressor().fit(x, y)
        errors = {}
        assert isinstance(fit.curve_, RobustCurve)
        centre, scale = fit.curve_.centre, fit.curve_.scale
        for name, function in functions_for(centre, scale, lowest=x.min()).items():
            left_out = []
            for i in range(12):
                others = np.delete(x, i)
                [params] = fit_function(function, (others - centre) / scale, np.delete(y, i), np.ones((1, 11)))
                curve = RobustCurve(function, params, centre, scale, (others.min(), others.max()))
                left_out.append(abs(y[i] - curve(x[i : i + 1])[0]))
            errors[name] = np.array(left_out)
        best = min(errors, key=lambda name: errors[name].mean())
        gain = errors[DEFAULT] - errors[best]
        clear = gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(12)
        assert fit.function_ == (best if clear else DEFAULT)
        assert fit.left_out_mae_[fit.function_] == pytest.approx(errors[fit.function_].mean(), abs=0.02)


def test_the_robust_choice_does_not_use_train_r2() -> None:
    """On noisy lines the published recipe has a higher train R2 and a larger error on the true line."""
    x, wider = np.linspace(0.0, 1.0, 15), np.linspace(-0.5, 1.5, 50)
    explained, errors = [], []
    for seed in range(20):
        y = 40.0 + 20.0 * x + 3.0 * np.random.default_rng(seed).normal(size=15)
        models = [ProxyRegressor(recipe=recipe).fit(x, y) for recipe in ("robust", "paper")]
        explained.append([model.train_r2_ for model in models])
        errors.append([np.abs(model.predict(wider) - (40.0 + 20.0 * wider)).mean() for model in models])
    assert np.mean(explained, axis=0)[0] < np.mean(explained, axis=0)[1]
    assert np.mean(errors, axis=0)[0] < np.mean(errors, axis=0)[1]


def test_paper_recipe_is_not_bounded_and_robust_is() -> None:
    """Far outside its points the published recipe predicts impossible accuracies; the default does not."""
    x = np.linspace(0.0, 1.0, 12)
    y = 10.0 + 2.0 * np.exp(3.0 * x)
    assert ProxyRegressor(recipe="paper").fit(x, y).predict([3.0])[0] > 1000.0
    assert ProxyRegressor().fit(x, y).predict([3.0])[0] <= 100.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0], [10.0, 20.0], "2 points"),
        ([1.0, 1.0, 1.0], [10.0, 20.0, 30.0], "every score is 1"),
        ([1.0, 2.0, 3.0], [10.0, 10.0, 10.0], "every accuracy is 10"),
        ([1.0, 2.0, 3.0], [10.0, 20.0], "3 scores and 2 accuracies"),
        ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1.0, 2.0, 3.0], "one score a point"),
        ([1.0, float("nan"), 3.0], [10.0, 20.0, 30.0], "NaN"),
        ([1.0, 2.0, 3.0], [10.0, float("nan"), 30.0], "NaN"),
        ([], [], "0 sample"),
        ([1e300, -1e300, 0.0], [10.0, 20.0, 30.0], "score from -1e.300 to 1e.300"),
        ([1e-300, -1e-300, 0.0], [10.0, 20.0, 30.0], "score from -1e-300 to 1e-300"),
    ],
)
def test_bad_points_are_refused(x: list[Any], y: list[float], message: str) -> None:
    """Too few, constant, missing or misshapen points are an error that names them."""
    for recipe in ("robust", "paper"):
        with pytest.raises(FitError, match=message):
            ProxyRegressor(recipe=recipe).fit(x, y)


def test_accuracies_outside_percent_are_warned_of() -> None:
    """Values that cannot be accuracies are fitted, as scikit-learn's contract requires, with a warning."""
    with pytest.warns(FitWarning, match="2 of 4 accuracies lie outside 0..100"):
        ProxyRegressor().fit([1.0, 2.0, 3.0, 4.0], [-5.0, 20.0, 30.0, 140.0])


def test_two_blocks_are_enough() -> None:
    """Without one of two blocks no function is clearly better on the other alone: the default is kept, unwarned."""
    x, y = checkpoints()
    fit = ProxyRegressor().fit(x, y, np.arange(len(x)) < len(x) // 2)
    assert {curve.name for curve in fit.left_out_} == {DEFAULT}


def test_an_unknown_recipe_is_refused() -> None:
    """The message names the known recipes."""
    with pytest.raises(FitError, match="expected one of robust, paper"):
        ProxyRegressor(recipe="best").fit(*checkpoints())


def test_isotonic_regression_sees_a_step_that_the_curve_misses() -> None:
    """The check warns on a staircase and not on a smooth curve."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 1.0, 40)
    stairs = np.where(x < 0.3, 20.0, np.where(x < 0.7, 50.0, 52.0)) + 0.2 * rng.normal(size=40)
    smooth = 100.0 / (1.0 + np.exp(-4.0 * (x - 0.5))) + 0.2 * rng.normal(size=40)
    warning = shape_check(ProxyRegressor().fit(x, stairs), x, stairs)
    assert warning is not None
    assert "misses some shape" in warning
    assert shape_check(ProxyRegressor().fit(x, smooth), x, smooth) is None


def test_isotonic_errors_agree_with_scikit_learns_estimator() -> None:
    """With ties, in both directions, leaving out one point at a time."""
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(1)
    x = rng.integers(0, 8, 15).astype(float)
    y = 30.0 + 3.0 * x + 4.0 * rng.normal(size=15)
    for sign in (1.0, -1.0):
        errors = isotonic_left_out_errors(sign * x, y, falling=sign < 0)
        for i in range(15):
            model = IsotonicRegression(increasing=sign > 0, out_of_bounds="clip")
            model.fit(np.delete(sign * x, i), np.delete(y, i))
            assert errors[i] == pytest.approx(abs(model.predict([sign * x[i]])[0] - y[i]))
