"""How long 10,000 paired resamples of 25 data sets take on one core: ranks, intervals and agreement; target 2 s.

For benchmarks of 164 (HumanEval), 1,319 (GSM8K) and 5,791 items (MMLU-Pro STEM), and for 1,319 items of a ratio (bits
per byte). A naive bootstrap, which gathers the drawn items of one resample after the other, does 200 resamples
of 1,319 items; the means are compared with the package's. Item scores are synthetic: only their number matters.

    python benchmarks/bootstrap.py [--json FILE]
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

from rbridge_metrics.bootstrap import percentile_interval, rank_summary, resampled_means, resampled_ratios
from rbridge_metrics.ranking import agreement

CANDIDATES, RESAMPLES, TARGET_SECONDS, REPEATS, NAIVE_RESAMPLES = 25, 10_000, 2.0, 5, 200
ITEMS = (164, 1319, 5791)


def report(scores: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64]) -> None:
    """What ``rbridge rank --target`` makes of the resamples at one size."""
    rank_summary(scores, resampled, lower_is_better=True)
    percentile_interval(resampled)
    for measure in agreement(resampled, np.arange(CANDIDATES), lower_is_better=True):
        percentile_interval(measure)


def timed(work: Callable[[], object]) -> float:
    """Median seconds of several runs, after one that is not counted."""
    work()
    runs = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        runs.append(time.perf_counter() - start)
    return statistics.median(runs)


def naive(items: npt.NDArray[np.float64], resamples: int) -> npt.NDArray[np.float64]:
    """Gather the drawn items of one resample after the other. The draws are those of the package's first chunk."""
    rng = np.random.default_rng(0)
    size = items.shape[1]
    drawn = rng.integers(0, size, size=(resamples, size), dtype=np.int32)
    return np.stack([items[:, draw].mean(axis=1) for draw in drawn])


def main() -> None:
    """Time, compare, print; write the figures where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    output: Path | None = parser.parse_args().json

    rng = np.random.default_rng(0)
    tables = {size: rng.gamma(2.0, 1.0, (CANDIDATES, size)) for size in ITEMS}
    seconds = {
        f"means_of_{size}_items": timed(
            lambda items=items: report(items.mean(axis=1), resampled_means(items, resamples=RESAMPLES))
        )
        for size, items in tables.items()
    }
    items = tables[1319]
    seconds["ratios_of_1319_items"] = timed(
        lambda: report(items.mean(axis=1), resampled_ratios(items, items + 1, resamples=RESAMPLES))
    )
    naive_seconds = timed(lambda: naive(items, NAIVE_RESAMPLES))
    difference = np.abs(naive(items, NAIVE_RESAMPLES) - resampled_means(items, resamples=NAIVE_RESAMPLES)).max()

    figures = {
        "candidates": CANDIDATES,
        "resamples": RESAMPLES,
        **{f"seconds_{name}": round(value, 3) for name, value in seconds.items()},
        "target_seconds": TARGET_SECONDS,
        "target_met_at_1319_items": max(seconds["means_of_1319_items"], seconds["ratios_of_1319_items"])
        < TARGET_SECONDS,
        "naive_seconds_of_resampling_1319_items": round(naive_seconds * RESAMPLES / NAIVE_RESAMPLES, 2),
        "largest_difference_to_naive": float(difference),
        "threads": 1,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in figures.items():
        print(f"{name:40} {value}")
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
