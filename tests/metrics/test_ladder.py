"""Laws, curves, backtest and intervals of a ladder, on simulated runs with known laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import BootstrapError
from rbridge_metrics.ladder.backtest import baseline, fit_folds, fold_weights, folds_of, stack_weights
from rbridge_metrics.ladder.curves import fit_curve
from rbridge_metrics.ladder.intervals import predictive_interval, run_weights
from rbridge_metrics.ladder.laws import FORMS, fit_law
from rbridge_metrics.ladder.methods import METHODS
from rbridge_metrics.ladder.rungs import Rungs, end_of_run, stages

from .strategies import cases

SIZES = np.repeat([2e8, 4e8, 8e8, 1.6e9], 4)
TOKENS = SIZES * 20 * np.tile([1.0, 2.0, 5.0, 10.0], 4)


def true_loss(params, tokens, *, a=0.3, b=0.28):
    return 0.5 + 0.4 * (params / 5e8) ** -a + 0.5 * (tokens / 2e10) ** -b


def true_accuracy(loss):
    return 0.25 + 0.75 / (1 + np.exp(6 * (loss - 0.9)))


def rungs(noise=0.0, seed=0, points=5):
    random = np.random.default_rng(seed)
    loss = true_loss(SIZES, TOKENS) * np.exp(noise * random.standard_normal(SIZES.size))
    along = np.concatenate([true_loss(SIZES, TOKENS * share) for share in np.linspace(0.2, 1.0, points)])
    return Rungs(
        SIZES, TOKENS, loss, true_accuracy(loss), np.tile(np.arange(16), points), along, true_accuracy(along), 0.25
    )  # fmt: skip


@cases(10)
@given(st.floats(0.22, 0.4), st.floats(0.22, 0.4))
def test_a_law_without_noise_is_continued_to_ten_times_the_size(a, b):
    """The prior has standard deviation 0.5 in the logarithm of an exponent and noise counts as at least 0.1 %."""
    law = fit_law(FORMS[0], SIZES, TOKENS, true_loss(SIZES, TOKENS, a=a, b=b), np.ones((1, 16)), of_accuracy=False)
    target = np.array([1.6e10]), np.array([3e12])
    assert law.predict(*target)[0, 0] == pytest.approx(true_loss(*target, a=a, b=b)[0], rel=0.01)


@pytest.mark.parametrize("of_accuracy", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_slopes_of_a_law_are_its_derivatives(form, of_accuracy):
    """Compared with central differences, whose error is of order h squared times the third derivative."""
    values = 60 - 20 * true_loss(SIZES, TOKENS) if of_accuracy else true_loss(SIZES, TOKENS)
    law = fit_law(form, SIZES, TOKENS, values, np.ones((1, 16)), of_accuracy=of_accuracy)
    u = np.stack([np.log(SIZES), np.log(TOKENS)]) - law.centre[:, None]
    slopes, step = law.slopes(u, law.params, law(u, law.params)), 1e-5
    for k in range(law.params.shape[1]):
        move = step * np.eye(law.params.shape[1])[k]
        numeric = (law(u, law.params + move) - law(u, law.params - move)) / (2 * step)
        np.testing.assert_allclose(slopes[:, k], numeric, atol=1e-5)


def test_a_left_out_run_does_not_change_a_fit():
    """Weight 0 is the same as absence."""
    values, weights = true_loss(SIZES, TOKENS), np.ones((1, 16))
    weights[0, 3] = 0.0
    spoiled = values.copy()
    spoiled[3] *= 1.05
    laws = [fit_law(FORMS[1], SIZES, TOKENS, losses, weights, of_accuracy=False) for losses in (values, spoiled)]
    predictions = [law.predict(np.array([7e9]), np.array([1e12]))[0, 0] for law in laws]
    assert predictions[0] == pytest.approx(predictions[1], rel=5e-3)


def test_a_curve_rises_as_the_loss_falls_and_stays_below_100():
    loss = np.linspace(0.8, 1.4, 30)
    curve = fit_curve("loss", loss, 100 * (true_accuracy(loss) - 0.25) / 0.75, np.ones((1, 30)))
    predicted = curve.predict(np.linspace(0.1, 3.0, 50)[None])[0]
    assert (np.diff(predicted) < 0).all()
    assert predicted.max() <= 100.0


def test_a_dense_run_weighs_as_much_as_a_sparse_one():
    ladder = rungs()
    dense = replace(
        ladder,
        run=np.concatenate([ladder.run, np.zeros(50, int)]),
        point_loss=np.concatenate([ladder.point_loss, np.full(50, 1.2)]),
        point_accuracy=np.concatenate([ladder.point_accuracy, np.full(50, 0.3)]),
    )
    weights = dense.point_weights(np.ones((1, 16)))[0]
    np.testing.assert_allclose(np.bincount(dense.run, weights), 1.0)


def test_folds_hold_out_only_larger_compute():
    ladder = rungs()
    folds = folds_of(ladder)
    assert {fold.by_size for fold in folds} == {True, False}
    for fold in folds:
        assert ladder.flops[fold.held].min() > ladder.flops[fold.fitted].max()
        assert not (fold.held & fold.fitted).any()


def test_the_stack_forecasts_a_known_accuracy():
    """Within a point of accuracy at ten times the size, with 0.2 % noise in the loss."""
    test = fit_folds(rungs(noise=0.002))
    [weights] = stack_weights([test.squared_errors])
    target = np.array([1.6e10]), np.array([3e12])
    forecast = weights @ test.fitted.predict(*target, rows=slice(0, 1))[:, 0]
    assert forecast[0] == pytest.approx(true_accuracy(true_loss(*target))[0], abs=0.02)


def test_weights_are_shares_and_prefer_small_errors():
    """By hand: errors in the ratio 1 to 3 give weights in the ratio 3 to 1; without errors the weights are equal."""
    errors = np.array([[1.0, 1.0], [3.0, 3.0]])
    np.testing.assert_allclose(stack_weights([errors])[0], [0.75, 0.25])
    np.testing.assert_allclose(fold_weights([errors])[0].sum(axis=0), 1.0)
    np.testing.assert_allclose(stack_weights([np.zeros((2, 0))])[0], [0.5, 0.5])


def test_a_ladder_of_equal_compute_has_a_level_baseline():
    """Runs of one compute, up to rounding, give no slope in log compute: their mean goes on."""
    sizes = np.geomspace(1e8, 1e9, 6)
    ladder = replace(rungs(), params=sizes, tokens=1e18 / sizes, accuracy=np.linspace(0.3, 0.4, 6))
    forecast = baseline("log compute", ladder, np.ones(6, dtype=bool), np.array([1e10]), np.array([1e12]))
    assert forecast == pytest.approx([0.35], rel=0, abs=4 * np.finfo(float).eps)


def test_random_weights_keep_the_sum_and_the_zeros():
    rows = np.array([[1.0, 1.0, 1.0, 0.0]])
    weights = run_weights(rows, 200, 0)
    np.testing.assert_allclose(weights.sum(-1), 3.0)
    assert (weights[:, 3] == 0).all()


def test_an_interval_grows_with_distance_and_stays_in_bounds():
    samples = np.full((len(METHODS), 10, 2), 0.5)
    low, high = predictive_interval(
        np.array([0.5, 0.5]), samples, np.full(len(METHODS), 1 / len(METHODS)), drift_squared=4.0,
        distances=np.array([1.0, 400.0]), evaluation_pct=np.zeros(2), freedom=5.0, level=0.9,
    )  # fmt: skip
    assert 0.0 <= low[1] < low[0] < 0.5 < high[0] < high[1] <= 1.0


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, np.nan])
def test_impossible_levels_and_no_resamples_are_refused(level):
    """They would give intervals of NaN, or of no width."""
    samples = np.full((len(METHODS), 10, 1), 0.5)
    with pytest.raises(BootstrapError, match="level"):
        predictive_interval(
            np.array([0.5]), samples, np.full(len(METHODS), 1 / len(METHODS)), drift_squared=4.0,
            distances=np.array([1.0]), evaluation_pct=np.zeros(1), freedom=5.0, level=level,
        )  # fmt: skip
    with pytest.raises(BootstrapError, match="0 resamples"):
        run_weights(np.ones((1, 4)), 0, 0)


def test_the_end_of_a_run_is_its_trend():
    tokens = np.linspace(0.91, 1.0, 10)
    end, scatter = end_of_run(tokens, 2.0 - 0.1 * np.log(tokens))
    assert end == pytest.approx(2.0)
    assert scatter == pytest.approx(0.0, abs=1e-9)


def test_stages_leave_out_the_warm_up():
    loss, _ = stages(np.arange(1.0, 101.0), np.r_[np.full(9, 99.0), np.ones(91)], np.ones(100))
    assert loss.max() == 1.0
