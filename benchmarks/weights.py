"""How long the weights of a test set take: 10,000 traces of 230 proxy tokens on one core, target 2 s.

From frontier tokens to the score of each trace: ``character_confidence``, ``token_confidence``, ``minmax_weights`` and
``rbridge_nll``. The first 200 traces also go through the loops of tests/metrics/reference.py, for the speed-up and for
the largest difference between the two scores. Traces are synthetic: only their lengths matter here, and those are
about what GPT-4o's traces have (1,000 letters, 260 frontier tokens).

    python benchmarks/weights.py [--json FILE]
"""

import os

# Before NumPy starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import platform
import runpy
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics import character_confidence, minmax_weights, rbridge_nll, token_confidence

TRACES, PROXY_TOKENS, FRONTIER_TOKENS, LETTERS_PER_TOKEN = 10_000, 230, 260, 1000 / 230
TARGET_SECONDS = 2.0
REPEATS = 5
NAIVE_TRACES = 200


class Trace(NamedTuple):
    """One synthetic trace: its frontier tokens, its proxy tokens and what the proxy gave them."""

    frontier_end: npt.NDArray[np.int32]
    frontier_logprob: npt.NDArray[np.float32]
    proxy_start: npt.NDArray[np.int32]
    proxy_end: npt.NDArray[np.int32]
    nll: npt.NDArray[np.float64]


def synthetic_trace(rng: np.random.Generator) -> Trace:
    """Cut about 1,000 letters twice. Most frontier tokens are near certain, as greedy decoding leaves them."""
    proxy_end = np.cumsum(1 + rng.poisson(LETTERS_PER_TOKEN - 1, PROXY_TOKENS)).astype(np.int32)
    letters = int(proxy_end[-1])
    inner = rng.choice(np.arange(1, letters), min(FRONTIER_TOKENS, letters) - 1, replace=False)
    frontier_end = np.append(np.sort(inner), letters).astype(np.int32)
    return Trace(
        frontier_end,
        -rng.gamma(0.2, 1.0, frontier_end.size).astype(np.float32),
        np.concatenate(([0], proxy_end[:-1])).astype(np.int32),
        proxy_end,
        rng.exponential(1.0, PROXY_TOKENS),
    )


def score(trace: Trace) -> float:
    """Score one trace with the package."""
    letters = character_confidence(trace.frontier_end, trace.frontier_logprob)
    confidence = token_confidence(letters, trace.proxy_start, trace.proxy_end)
    return rbridge_nll(trace.nll, minmax_weights(confidence))


def main() -> None:
    """Time both, print the figures, write them where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    output: Path | None = parser.parse_args().json

    rng = np.random.default_rng(0)
    traces = [synthetic_trace(rng) for _ in range(TRACES)]
    runs = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        scores = [score(trace) for trace in traces]
        runs.append(time.perf_counter() - start)
    seconds = statistics.median(runs)

    naive = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "tests" / "metrics" / "reference.py")))
    plain = [tuple(array.tolist() for array in trace) for trace in traces[:NAIVE_TRACES]]
    start = time.perf_counter()
    naive_scores = []
    for frontier_end, frontier_logprob, proxy_start, proxy_end, nll in plain:
        letters = naive.character_confidence(frontier_end, frontier_logprob)
        confidence = naive.token_confidence(letters, proxy_start, proxy_end)
        naive_scores.append(naive.rbridge_nll(nll, naive.minmax_weights(confidence)))
    naive_seconds = time.perf_counter() - start

    differences = [abs(fast - slow) / slow for fast, slow in zip(scores, naive_scores, strict=False)]
    figures = {
        "traces": TRACES,
        "proxy_tokens_per_trace": PROXY_TOKENS,
        "frontier_tokens_per_trace": FRONTIER_TOKENS,
        "mean_letters_per_trace": round(float(np.mean([trace.proxy_end[-1] for trace in traces])), 1),
        "seconds": round(seconds, 4),
        "seconds_of_each_run": [round(run, 4) for run in runs],
        "traces_per_second": round(TRACES / seconds),
        "target_seconds": TARGET_SECONDS,
        "target_met": seconds <= TARGET_SECONDS,
        "naive_traces": NAIVE_TRACES,
        "naive_seconds": round(naive_seconds, 4),
        "naive_traces_per_second": round(NAIVE_TRACES / naive_seconds),
        "largest_relative_difference": max(differences),
        "threads": 1,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in figures.items():
        print(f"{name:30} {value}")
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
