"""What ``lm_eval --use_cache`` costs a run: identifying the model, keeping scores, and reading them again.

A random Llama in bfloat16 stands for a checkpoint; scores are made up, as many as the authors' release has of traces.
Beside each, what it is compared with: SHA-256 of a plain buffer on one thread, and writing as many bytes to a file.

    python benchmarks/resume.py [--layers 4] [--device cuda] [--traces 10162] [--json FILE]
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from figures import parser_of, report, timed
from transformers import AutoModelForCausalLM, LlamaConfig

from rbridge_metrics import TokenScores
from rbridge_tasks.resume.store import ScoreStore, key_of
from rbridge_tasks.resume.weights import weights_sha256

TOKENS, BATCH = 228, 32


def model_of(layers: int, device: str) -> torch.nn.Module:
    """Layers of a 1B-parameter Llama, with its vocabulary."""
    torch.set_default_dtype(torch.bfloat16)
    config = LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers, num_attention_heads=16, vocab_size=100_352
    )
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config)


def made_scores(rng: np.random.Generator) -> TokenScores:
    """Arrays with the spread of real ones."""
    ends = np.cumsum(rng.integers(1, 8, TOKENS)).astype(np.int32)
    logprob = -rng.gamma(0.5, 2.0, TOKENS).astype(np.float32)
    starts = np.concatenate(([0], ends[:-1])).astype(np.int32)
    return TokenScores(
        rng.zipf(1.3, TOKENS).clip(0, 100_000).astype(np.int32), starts, ends,
        logprob, rng.zipf(1.7, TOKENS).clip(1, 100_000).astype(np.int32), rng.random(TOKENS, dtype=np.float32) * 5,
        np.maximum(logprob, np.float32(-0.5)), 100_352,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--traces", type=int, default=10_162)
    arguments = parser.parse_args()

    model = model_of(arguments.layers, arguments.device)
    gigabytes = sum(parameter.nbytes for parameter in model.parameters()) / 1e9
    identified = min(timed(lambda: weights_sha256(model)) for _ in range(3))
    buffer = os.urandom(1 << 28)
    one_thread = min(timed(lambda: hashlib.sha256(buffer).digest()) for _ in range(3))

    rng = np.random.default_rng(0)
    different = [made_scores(rng) for _ in range(1000)]
    scores = {key_of("context", str(i)): different[i % 1000] for i in range(arguments.traces)}
    batches = [dict(list(scores.items())[i : i + BATCH]) for i in range(0, len(scores), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        store = ScoreStore(Path(folder))
        kept = timed(lambda: [store.append(batch) for batch in batches])
        store.close()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        read = timed(lambda: ScoreStore(Path(folder)).read(scores))
        copied = timed(lambda: (Path(folder) / "copy").write_bytes(bytes(size)))
    figures = {
        "device": arguments.device,
        "model_gigabytes": gigabytes,
        "identify_seconds": identified,
        "identify_gigabytes_per_second": gigabytes / identified,
        "sha256_one_thread_gigabytes_per_second": len(buffer) / 1e9 / one_thread,
        "traces": arguments.traces,
        "keep_seconds": kept,
        "keep_milliseconds_per_batch": 1e3 * kept / len(batches),
        "read_seconds": read,
        "write_file_seconds": copied,
        "bytes_per_token": size / (TOKENS * arguments.traces),
    }
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
