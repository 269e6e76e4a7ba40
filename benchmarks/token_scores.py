"""Size of a file of token scores, and seconds of the processor to write and read it.

Traces are about as many and as long as in the authors' release. Their scores are made up: random log-probabilities,
entropies and confidences, which compress no better than real ones, and token ids that follow Zipf's law.

    python benchmarks/token_scores.py [--traces 10162] [--json FILE]
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from figures import parser_of, processor_seconds, report

from rbridge_metrics import TokenScores
from rbridge_tasks.tables.token_scores_file import token_score_rows, write_token_scores

VOCABULARY = 50_304
WORDS = ("the", "of", "answer", "so", "we", "then", "12", "*", "7", "= 84", "therefore", "add", "each", "apples")


def made_rows(traces: int) -> list[dict[str, Any]]:
    """Samples as lm-eval makes them, of 100 to 356 tokens."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, VOCABULARY + 1) ** 1.05
    frequency /= frequency.sum()
    rows = []
    for item in range(traces):
        size = int(rng.integers(100, 357))
        ends = np.cumsum(rng.integers(1, 8, size)).astype(np.int32)
        nll = rng.gamma(0.4, 2.0, size).astype(np.float32)
        rank = np.where(nll < 0.7, 1, 1 + rng.geometric(0.05, size)).astype(np.int32)
        scores = TokenScores(
            token_id=rng.choice(VOCABULARY, size, p=frequency).astype(np.int32),
            token_start=np.concatenate(([0], ends[:-1])).astype(np.int32),
            token_end=ends,
            logprob=-nll,
            rank=rank,
            entropy=rng.gamma(1.0, 1.0, size).astype(np.float32),
            max_logprob=np.where(rank == 1, -nll, -nll * rng.random(size)).astype(np.float32),
            vocab_size=VOCABULARY,
            confidence=np.minimum(1.0, rng.beta(5.0, 0.4, size)).astype(np.float32),
        )
        text = " ".join(rng.choice(WORDS, size))
        rows.append(
            {
                "doc": {"item_id": f"item {item}", "trace": text, "question": text[:300], "gold": "7"},
                "resps": [[scores]],
                "metrics": ["rbridge_nll"],
                "rbridge_nll": float(nll.mean()),
                **{f"{kind}_hash": digest(f"{kind} {item}") for kind in ("doc", "prompt", "target")},
            }
        )
    return rows


def digest(text: str) -> str:
    """A hash as lm-eval writes it."""
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    """Write and read one file."""
    parser = parser_of(__doc__)
    parser.add_argument("--traces", type=int, default=10_162)
    arguments = parser.parse_args()
    rows = made_rows(arguments.traces)
    tokens = sum(len(row["resps"][0][0].logprob) for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples_rbridge_gsm8k_made.parquet"
        written = processor_seconds(lambda: write_token_scores(path, "rbridge_gsm8k", rows, {"results": {}}))
        read = processor_seconds(lambda: list(token_score_rows(path)))
        size = path.stat().st_size
    report(
        {
            "traces": arguments.traces,
            "tokens": tokens,
            "size, MB": size / 1e6,
            "bytes per token": size / tokens,
            "write, s of the processor": written,
            "read, s of the processor": read,
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
