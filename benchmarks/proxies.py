"""How long all 80 proxies of a test set take: 10,000 traces of 230 tokens on one core, target 10 s.

The first 50 traces also go through plain Python loops in float64, for the speed-up and the largest relative difference.
Token scores are synthetic: only their number matters here.

    python benchmarks/proxies.py [--json FILE]
"""

import os

# Before NumPy starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import math
import statistics
import time

import numpy as np
import numpy.typing as npt
from figures import parser_of, report, timed

from rbridge_metrics import STATISTICS, WEIGHTINGS, TokenScores, proxy_scores, proxy_scores_of_traces

TRACES, TOKENS, VOCABULARY = 10_000, 230, 50_257
TARGET_SECONDS = 10.0
REPEATS = 5
ONE_AT_A_TIME, NAIVE_TRACES = 1000, 50


def synthetic_trace(rng: np.random.Generator) -> TokenScores:
    """Token scores of a model that has the token right about half of the time."""
    rank = rng.geometric(0.5, TOKENS).astype(np.int32)
    best = -rng.exponential(0.5, TOKENS)
    return TokenScores(
        token_id=(rng.zipf(1.3, TOKENS) % VOCABULARY).astype(np.int32),
        token_start=np.arange(TOKENS, dtype=np.int32),
        token_end=np.arange(1, TOKENS + 1, dtype=np.int32),
        logprob=np.where(rank == 1, best, best - rng.exponential(1.0, TOKENS)).astype(np.float32),
        rank=rank,
        entropy=rng.exponential(1.0, TOKENS).astype(np.float32),
        max_logprob=best.astype(np.float32),
        vocab_size=VOCABULARY,
    )


def naive(trace: TokenScores, counts: npt.NDArray[np.int64]) -> list[float]:
    """The definitions, token by token."""
    total = int(counts.sum())
    mean = -math.fsum(trace.logprob.tolist()) / TOKENS
    sums = [[0.0, 0.0] for _ in range(len(STATISTICS) * len(WEIGHTINGS))]
    arrays = (trace.token_id, trace.logprob, trace.rank, trace.entropy, trace.max_logprob)
    for token, logprob, rank, nats, best in zip(*(array.tolist() for array in arrays), strict=True):  # type: ignore[union-attr]
        p, p_max, entropy = math.exp(logprob), math.exp(best), nats / math.log(VOCABULARY)
        frequency = max(int(counts[token]), 1) / total
        values = (-logprob, rank <= 1, rank <= 2, rank <= 3, rank <= 5, entropy, rank, 1 / rank, p_max - p,
                  p_max * (rank > 1))  # fmt: skip
        weights = (1.0, p, 1 - p, entropy, 1 / (entropy + 0.01), frequency, 1 / frequency,
                   math.exp(-((-logprob - mean) ** 2) / 2))  # fmt: skip
        for cell, (value, weight) in zip(sums, ((v, w) for v in values for w in weights), strict=True):
            cell[0] += weight * value
            cell[1] += weight
    return [above / below for above, below in sums]


def main() -> None:
    """Time all three and report."""
    output = parser_of(__doc__).parse_args().json
    rng = np.random.default_rng(0)
    traces = [synthetic_trace(rng) for _ in range(TRACES)]
    counts = np.bincount(np.concatenate([trace.token_id for trace in traces]), minlength=VOCABULARY)
    runs = [timed(lambda: proxy_scores_of_traces(traces, counts=counts)) for _ in range(REPEATS)]
    fast = proxy_scores_of_traces(traces[:NAIVE_TRACES], counts=counts)
    one_at_a_time = timed(lambda: [proxy_scores(trace, counts=counts) for trace in traces[:ONE_AT_A_TIME]])
    began = time.perf_counter()
    slow = np.array([naive(trace, counts) for trace in traces[:NAIVE_TRACES]])
    naive_seconds = time.perf_counter() - began
    figures = {
        "traces": TRACES,
        "tokens_per_trace": TOKENS,
        "proxies": len(STATISTICS) * len(WEIGHTINGS),
        "seconds": statistics.median(runs),
        "target_seconds": TARGET_SECONDS,
        "traces_per_second_one_at_a_time": round(ONE_AT_A_TIME / one_at_a_time),
        "naive_traces_per_second": round(NAIVE_TRACES / naive_seconds),
        "largest_relative_difference": float(np.abs(fast.reshape(slow.shape) / slow - 1).max()),
        "threads": 1,
    }
    report(figures, output)


if __name__ == "__main__":
    main()
