"""Speed, test error and interval coverage of the fits from proxy score to accuracy, on made-up checkpoints.

Speed: cross-validation of six benchmarks of 15 checkpoints in five folds with all functions, baselines and intervals
included, on one core after the imports; target 1 s. Error and coverage: both recipes on ten known curves (straight,
logistic, steep, convex, levelling off, late, flat, ...) with an error of 0.5, 1.5 or 3 points and, in half the cases,
an error in the proxy score as well.

    python benchmarks/fit.py [--json FILE] [--quick]
"""

import os

# Before NumPy starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbridge_metrics import ProxyRegressor, cross_validate

Floats = npt.NDArray[np.float64]

BENCHMARKS, CHECKPOINTS, REPEATS, TARGET_SECONDS = 6, 15, 5, 1.0
TRUTHS: dict[str, Callable[[Floats], Floats]] = {
    "straight": lambda v: 20 + 40 * v,
    "logistic": lambda v: 100 / (1 + np.exp(2 - 4 * v)),
    "steep": lambda v: 25 + 60 / (1 + np.exp(-8 * (v - 0.6))),
    "convex": lambda v: 3 + 25 * v**2.5,
    "levelling off": lambda v: 72 - 40 * np.exp(-4 * v),
    "late": lambda v: 25 + 50 * np.maximum(v - 0.5, 0),
    "plateau": lambda v: 30 + 40 * np.minimum(v / 0.4, 1),
    "low": lambda v: 2 + 6 * v,
    "high": lambda v: 85 + 12 * v - 3 * v * v,
    "nearly flat": lambda v: 50 + 3 * v,
}


def checkpoints(truth: Callable[[Floats], Floats], rng: np.random.Generator, kind: int) -> tuple[Floats, Floats]:
    """A run of 15 checkpoints: scores that improve evenly or logarithmically, and accuracies with an error."""
    time_share = np.arange(1, CHECKPOINTS + 1) / CHECKPOINTS
    score = np.log10(1 + 9 * time_share) if kind % 2 else time_share
    error = (0.5, 1.5, 3.0)[kind % 3]
    accuracy = np.clip(truth(score) + error * rng.normal(size=CHECKPOINTS), 0, 100)
    return score + (0.03 if kind % 4 < 2 else 0.0) * rng.normal(size=CHECKPOINTS), accuracy


def seconds(recipe: str) -> float:
    """Median time of six five-fold cross-validations."""
    rng = np.random.default_rng(0)
    tables = [checkpoints(truth, rng, kind=1) for truth in list(TRUTHS.values())[:BENCHMARKS]]
    order = np.arange(1, CHECKPOINTS + 1) * 250e9
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        for x, y in tables:
            cross_validate(x, y, scheme="shuffled", order=order, recipe=recipe)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def errors(scheme: str, repeats: int) -> dict[str, float]:
    """Mean test error of both recipes in points, and in how many of the cases the robust one is the smaller."""
    rng = np.random.default_rng(1)
    found = []
    for kind in range(repeats):
        for truth in TRUTHS.values():
            x, y = checkpoints(truth, rng, kind)
            found.append(
                [cross_validate(x, y, scheme=scheme, recipe=recipe).test_mae for recipe in ("paper", "robust")]
            )
    paper, robust = np.array(found).T
    return {
        "paper": float(paper.mean()),
        "robust": float(robust.mean()),
        "median_ratio": float(np.median(robust / paper)),
        "robust_smaller": float((robust < paper).mean()),
    }


def coverage(count: int, repeats: int) -> dict[str, float]:
    """Share of new accuracies inside the robust recipe's interval, by level; the worst truth beside the mean."""
    rng = np.random.default_rng(count)
    levels = (0.8, 0.9, 0.95)
    shares: dict[float, list[list[float]]] = {level: [] for level in levels}
    for truth in TRUTHS.values():
        own: dict[float, list[float]] = {level: [] for level in levels}
        for repeat in range(repeats):
            x = rng.uniform(0, 1, count + 40)
            y = np.clip(truth(x) + (1 + repeat % 2) * rng.normal(size=count + 40), 0, 100)
            fit = ProxyRegressor().fit(x[:count], y[:count])
            for level in levels:
                low, high = fit.predict_interval(x[count:], level)
                own[level].append(float(((low <= y[count:]) & (y[count:] <= high)).mean()))
        for level in levels:
            shares[level].append([float(np.mean(own[level]))])
    result = {}
    for level in levels:
        values = np.array(shares[level]).ravel()
        result[f"{level:.0%}"] = float(values.mean())
        result[f"{level:.0%} worst"] = float(values[np.abs(values - level).argmax()])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    result = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seconds": {recipe: seconds(recipe) for recipe in ("robust", "paper")},
        "target_seconds": TARGET_SECONDS,
        "test_mae_pct": {scheme: errors(scheme, max(30 // share, 2)) for scheme in ("shuffled", "blocked", "forward")},
        "coverage": {count: coverage(count, max(100 // share, 5)) for count in (10, 15, 20, 30, 50)},
    }
    for recipe, taken in result["seconds"].items():
        print(f"{recipe}: {BENCHMARKS} benchmarks x {CHECKPOINTS} checkpoints, five folds: {taken:.2f} s")
    for scheme, found in result["test_mae_pct"].items():
        print(
            f"{scheme}: test error {found['paper']:.2f} points with paper, {found['robust']:.2f} with robust; smaller "
            f"with robust in {found['robust_smaller']:.0%} of cases"
        )
    for count, found in result["coverage"].items():
        print(f"{count} checkpoints: " + ", ".join(f"{name}: {value:.3f}" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
