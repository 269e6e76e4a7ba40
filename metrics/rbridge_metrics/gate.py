"""Paired test of whether a checkpoint got worse than another, corrected over benchmarks, with its power.

A checkpoint has regressed if its worsening is significantly larger than the tolerance: a one-sided test. Differences
are taken item by item, so the difficulty of an item cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.bootstrap import Seed, resampled_means
from rbridge_metrics.errors import BootstrapError

#: Fewest items for a test. If nothing changed, all of 4 items get worse with probability 2^-4 = 6.25 %.
MIN_ITEMS = 5

# A resample whose spread is a smaller share of that of all items counts as constant.
_NO_SPREAD = 1e-6


@dataclass(frozen=True)
class PairedChange:
    """How a score changed between two checkpoints, over the same items; positive is worse.

    Attributes:
        baseline, current: the two scores.
        change: of the score in the direction of worse, in its own unit.
        stderr: of that change, over items.
        low, high: interval of the change, two-sided; an end is NaN where it is not defined, because too many resamples
            drew equal differences only and have no t statistic.
        p_value: of the test whether the change exceeds the tolerance; small if it does.
        items: number of items.
        noise_share: share of training noise in the squared standard error, see ``with_training_noise``; NaN if the
            error is over items alone.
    """

    baseline: float
    current: float
    change: float
    stderr: float
    low: float
    high: float
    p_value: float
    items: int
    noise_share: float = math.nan

    @property
    def relative(self) -> float:
        """The change as a share of the baseline's score; NaN where that is 0."""
        return self.change / abs(self.baseline) if self.baseline else float("nan")


def paired_change(
    baseline: npt.ArrayLike,
    current: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    lower_is_better: bool,
    tolerated: float = 0.0,
    level: float = 0.9,
    resamples: int = 10_000,
    seed: Seed = 0,
) -> PairedChange:
    """Test whether a score got worse by more than is tolerated, by the bootstrap-t over items.

    Every resample draws items with replacement and gives a t statistic of its own mean and standard error. Their
    distribution stands in for Student's: item scores are skewed, and with some hundred of them the percentile bootstrap
    raises false alarms noticeably more or less often than it says.

    Args:
        baseline, current: shape (items,), item scores; of a ratio over a corpus, the numerators.
        weights: shape (items,), denominators of such a ratio, the same for both checkpoints; None for a mean.
        lower_is_better: True for an NLL, False for an accuracy.
        tolerated: change for the worse that is no regression, as a share of the baseline's score.
        level: of the interval.
        resamples: of the items.
        seed: of the draws.

    Raises:
        BootstrapError: fewer than two items, shapes that differ, a score that is not finite, a tolerance below 0.

    >>> rng = np.random.default_rng(0)
    >>> nll = rng.gamma(4.0, 0.2, 300)
    >>> worse = paired_change(nll, 1.02 * nll + 0.01 * rng.normal(size=300), lower_is_better=True)
    >>> round(worse.relative, 3), worse.p_value < 0.001
    (0.02, True)
    """
    old, new = np.asarray(baseline, dtype=np.float64), np.asarray(current, dtype=np.float64)
    sizes = np.ones_like(old) if weights is None else np.asarray(weights, dtype=np.float64)
    if old.ndim != 1 or not old.shape == new.shape == sizes.shape or old.size < 2:
        raise BootstrapError(
            f"item scores of shapes {old.shape}, {new.shape} and {sizes.shape}; expected one shape (items,), 2 or more"
        )
    if not (np.isfinite(old).all() and np.isfinite(new).all() and np.isfinite(sizes).all() and sizes.min() > 0):
        raise BootstrapError("an item score is missing or infinite, or an item weighs nothing; score those items again")
    if tolerated < 0 or not 0 < level < 1:
        raise BootstrapError(f"a tolerance of {tolerated:g} at level {level:g}; expected 0 or more, and 0 < level < 1")
    total = sizes.sum()
    before, after = float(old.sum() / total), float(new.sum() / total)
    sign = 1.0 if lower_is_better else -1.0
    margin = tolerated * abs(before)
    # Of each item, what it adds to the change; for a ratio its first-order influence. Their mean is the change.
    mean_size = total / old.size
    influence = sign * ((new - old) - (after - before) * (sizes - mean_size)) / mean_size
    change = float(influence.mean())
    stderr = float(influence.std(ddof=1) / np.sqrt(old.size))
    excess = change - margin
    if stderr <= 1e-12 * max(abs(before), abs(after), 1e-300):  # the same change on every item
        p_value = 0.0 if excess > 1e-12 * abs(before) else 1.0
        return PairedChange(before, after, change, 0.0, change, change, p_value, old.size)
    centred = influence - change
    moments = resampled_means(np.stack([centred, centred**2]), resamples=resamples, seed=seed)
    spread = np.sqrt(np.maximum(moments[:, 1] - moments[:, 0] ** 2, 0.0) * old.size / (old.size - 1))
    spread[spread <= _NO_SPREAD * centred.std(ddof=1)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = moments[:, 0] / (spread / np.sqrt(old.size))
    t[np.isnan(t)] = 0.0
    observed = excess / stderr
    p_value = (1.0 + float((t >= observed).sum())) / (1.0 + resamples)
    low_t, high_t = np.quantile(t, (1 - level) / 2, method="lower"), np.quantile(t, (1 + level) / 2, method="higher")
    low, high = (float(change - end * stderr) if np.isfinite(end) else float("nan") for end in (high_t, low_t))
    return PairedChange(before, after, change, stderr, low, high, p_value, old.size)


def with_training_noise(
    change: PairedChange, noise: float, freedom: int, *, tolerated: float = 0.0, level: float = 0.9
) -> PairedChange:
    """The change with the noise of both checkpoints joined to the error over items.

    The variances add: over items, and twice that of a checkpoint. The test is Student's t with the degrees of freedom
    of Welch and Satterthwaite.

    Args:
        change: over items, see ``paired_change``.
        noise: standard deviation of a checkpoint about the trend of its run.
        freedom: degrees of freedom of ``noise``.
        tolerated, level: as in ``paired_change``.

    >>> change = PairedChange(1.0, 1.1, 0.1, 0.03, 0.05, 0.15, 0.001, 200)
    >>> joined = with_training_noise(change, 0.03, 10)
    >>> round(joined.stderr, 4), round(joined.p_value, 4), round(joined.noise_share, 3)
    (0.052, 0.0336, 0.667)
    """
    from scipy.stats import t

    over_items, between = change.stderr**2, 2.0 * noise**2
    variance = over_items + between
    if variance == 0:
        return replace(change, noise_share=math.nan)
    effective = variance**2 / (over_items**2 / (change.items - 1) + between**2 / freedom)
    stderr = math.sqrt(variance)
    half = float(t.ppf((1 + level) / 2, effective)) * stderr
    return replace(
        change,
        stderr=stderr,
        low=change.change - half,
        high=change.change + half,
        p_value=float(t.sf((change.change - tolerated * abs(change.baseline)) / stderr, effective)),
        noise_share=between / variance,
    )


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """P-values corrected for their number by Holm's method: below alpha for any truth in at most alpha of families.

    Args:
        p_values: shape (tests,).

    Returns:
        Shape (tests,), at most 1, in the order given.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def minimum_detectable_change(stderr: npt.ArrayLike, *, alpha: float, power: float, tests: int = 1) -> FloatArray:
    """The change for the worse, beyond what is tolerated, that such a test finds with a given probability.

    By the normal approximation, at ``alpha / tests``: Holm's method asks no more of any test.

    Args:
        stderr: of the changes, shape (...).
        alpha: false-alarm rate of the whole family.
        power: probability to find it.
        tests: number of benchmarks.

    >>> float(minimum_detectable_change(0.01, alpha=0.05, power=0.8).round(4))
    0.0249
    """
    from scipy.stats import norm

    if not (0 < alpha < 1 and 0 < power < 1 and tests >= 1):
        raise BootstrapError(f"alpha {alpha:g}, power {power:g}, {tests} tests; expected probabilities, 1 test or more")
    return np.asarray(np.asarray(stderr, dtype=np.float64) * (norm.ppf(1 - alpha / tests) + norm.ppf(power)))
