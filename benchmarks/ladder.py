"""Processor and wall time of a ladder: 10 benchmarks, 30 runs, 1,000 bootstrap refits, on made-up scores.

python benchmarks/ladder.py [--json FILE]
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from figures import parser_of, report

import rbridge_tasks as rb

SIZES, RATIOS = (1e8, 2e8, 4e8, 8e8, 1.6e9, 3.2e9), (10, 20, 40, 100, 200)
BENCHMARKS, CHECKPOINTS, REFITS = 10, 20, 1_000


def scores() -> pd.DataFrame:
    """Bits per byte and accuracies of 30 runs along training, with noise."""
    random, rows = np.random.default_rng(0), []
    for place in range(BENCHMARKS):
        for params in SIZES:
            for ratio in RATIOS:
                tokens = params * ratio * np.linspace(0.05, 1.0, CHECKPOINTS)
                loss = 0.4 + 0.5 * (params / 5e8) ** -0.25 + 0.4 * (tokens / 2e10) ** -0.3
                loss *= np.exp(0.003 * random.standard_normal(CHECKPOINTS))
                accuracy = 0.25 + 0.75 / (1 + np.exp((4 + 0.4 * place) * (loss - 0.9)))
                accuracy += 0.005 * random.standard_normal(CHECKPOINTS)
                columns = {"run": f"{params:g}x{ratio}", "params": params, "tokens": tokens, "benchmark": f"b{place}"}
                rows += [pd.DataFrame(columns | {"metric": "bits_per_byte", "value": loss}),
                         pd.DataFrame(columns | {"metric": "acc", "value": accuracy})]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def main() -> None:
    args = parser_of(__doc__).parse_args()
    table = scores()
    wall, processor = time.perf_counter(), time.process_time()
    rb.ladder(table, "bits_per_byte", predict=["7B:1T", "30B:4T"], chance=0.25, resamples=REFITS)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    report({"wall time, s": wall, "processor time, s": processor}, args.json)


if __name__ == "__main__":
    main()
