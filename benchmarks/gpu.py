"""Scoring on a GPU: stock ``HFLM``, ours, ours compiled and vLLM, at the sizes of the authors' release.

    python benchmarks/gpu.py --shapes 0.3B 1B 3B 8B --json gpu.json
    python benchmarks/gpu.py --device cpu --quick        # the whole script in a small shape

Models are random Llamas in bfloat16: speed does not depend on what a model has learnt. Texts are the shipped worked
examples with random words as questions and traces, as many and as long as in the authors' release (``AUTHORS``). Stock
and vLLM score the first ``--stock-items`` of them, drawn from all benchmarks; times per trace are compared. Beside each
side stands the share of this GPU's rate for a large matrix product that the operations of the different tokens
(``floor.py``) reach. Targets on an H200, 1B: all traces in 30 s, half of that rate, four times stock.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from floor import count_work
from scoring import Settings, load_tokenizer, machine

#: Traces of each benchmark in the dataset trillionlabs/rBridge, and the mean number of their tokens.
AUTHORS = {
    "arc_challenge": 1172, "csqa": 1221, "gsm8k": 1319, "humaneval": 164, "math500": 495, "mmlu_pro_stem": 5791,
}  # fmt: skip
MEAN_TOKENS = 2_316_067 / sum(AUTHORS.values())
#: Standard deviation of the logarithm of a trace's length: the longest of ten thousand is about ten times the mean.
LENGTH_SPREAD = 0.6
SIDES = ("stock", "ours", "compiled", "vllm")
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Shape:
    """A Llama."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_heads: int
    tied: bool = True


#: As SmolLM2 360M, Llama 3.2 1B and 3B, and Llama 3.1 8B.
SHAPES = {
    "0.3B": Shape(960, 2560, 32, 15, 5),
    "1B": Shape(2048, 8192, 16, 32, 8),
    "3B": Shape(3072, 8192, 28, 24, 8),
    "8B": Shape(4096, 14336, 32, 32, 8, tied=False),
}
QUICK = {"quick": Shape(32, 64, 2, 4, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model and 0.2 %% of the traces")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--share", type=float, default=1.0, help="of the authors' traces")
    parser.add_argument("--vocabulary", type=int, default=128_256, help="rows of the output projection")
    parser.add_argument("--tokenizer", help="tokenizer.json, also .gz; default: byte-level BPE of 4,000 made here")
    parser.add_argument("--batch-size", default="auto", help="of ours")
    parser.add_argument("--stock-batch-size", type=int, default=16)
    parser.add_argument("--stock-items", type=int, default=1024, help="traces that stock and vLLM score")
    parser.add_argument("--vllm-python", default=sys.executable, help="the Python of the environment that has vLLM")
    parser.add_argument("--json", type=Path, help="write the figures here, after each shape")
    parser.add_argument("--vllm-side", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.vllm_side:
        run_vllm(args.vllm_side)
        return
    import torch

    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return
    tokenizer = load_tokenizer(Settings(tokenizer=args.tokenizer, vocabulary=4000))
    pairs = authors_pairs(tokenizer, share=0.002 if args.quick else args.share)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()["processor"]
    found: dict[str, Any] = {"machine": machine() | {"device": name}, "rows": []}
    found["ceiling"] = matrix_rate(device, torch.bfloat16)
    for shape_name, shape in QUICK.items() if args.quick else ((name, SHAPES[name]) for name in args.shapes):
        model = random_model(shape, len(tokenizer) if args.quick else args.vocabulary, device)
        for row in measure(model, tokenizer, pairs, args):
            row["share_of_ceiling"] = row["operations_per_second"] / found["ceiling"]
            found["rows"].append({"shape": shape_name} | row)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2) + "\n")
        del model
    report(found)


def authors_pairs(tokenizer: Any, *, share: float = 1.0, num_fewshot: int = 5) -> list[tuple[str, str]]:
    """(context, trace) texts in random order: real worked examples, random questions, traces of the authors' lengths.

    Args:
        tokenizer: whose tokens are counted.
        share: of the traces of each benchmark.
        num_fewshot: worked examples.
    """
    from rbridge_tasks.scoring.prompts import context_of
    from rbridge_traces import SampleCache, few_shot_examples

    generator = random.Random(0)
    contexts, lengths, words = [], [], []
    for benchmark, count in AUTHORS.items():
        examples = few_shot_examples(benchmark)[:num_fewshot]
        sample = SampleCache().load(benchmark).traces
        words += [word for trace in sample for word in trace.trace.split()]
        for i in range(max(1, round(share * count))):
            trace = sample[i % len(sample)]
            question = " ".join(generator.choices(words, k=len(trace.question.split())))
            contexts.append(context_of(replace(trace, question=question), examples))
            lengths.append(generator.lognormvariate(0, LENGTH_SPREAD))
    scale = MEAN_TOKENS * len(lengths) / sum(lengths)
    counts = [max(1, round(scale * length)) for length in lengths]
    texts = [" ".join(generator.choices(words, k=count)) for count in counts]  # each word is a token or more
    offsets = tokenizer(texts, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    traces = [text[: ends[count - 1][1]] for text, ends, count in zip(texts, offsets, counts, strict=True)]
    pairs = list(zip(contexts, traces, strict=True))
    generator.shuffle(pairs)
    return pairs


def measure(model: Any, tokenizer: Any, pairs: Pairs, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Score the pairs by each side after a warm-up on 64 of them.

    Returns:
        For each side: ``traces`` scored, ``seconds``, ``seconds_per_trace``, ``first_batch_seconds`` (None where the
        side does not report batches), ``warm_up_seconds``, ``trace_tokens_per_second``, ``operations_per_second`` of
        the different tokens, ``peak_gib`` of a GPU, ``difference``: mean absolute difference from stock's sums in nats
        a token; ``ratio``: stock's seconds a trace divided by the side's. None where stock is not measured.
    """
    from lm_eval.models.huggingface import HFLM

    from rbridge_tasks.backends import hf
    from rbridge_tasks.harness.lm_eval_versions import new_request
    from rbridge_tasks.scoring.tokenization import PairEncoder

    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=args.stock_batch_size, max_length=8192)
    ours = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=args.batch_size, max_length=8192)
    encoder = PairEncoder(tokenizer, stock.add_bos_token, stock.prefix_token_id)

    def by_stock(some: Pairs, _done: Any) -> list[float]:
        requests = [new_request("loglikelihood", {}, pair, i) for i, pair in enumerate(some)]
        return [total for total, _ in stock.loglikelihood(requests, disable_tqdm=True)]

    def by_ours(some: Pairs, done: Any, *, compiled: bool = False) -> list[float]:
        scores = hf.score(ours, some, [str(i) for i in range(len(some))], done=done, compiled=compiled)
        return [float(score.logprob.astype(float).sum()) for score in scores]

    few = pairs[: args.stock_items]
    makers = {
        "stock": lambda: timed(by_stock, few, model.device),
        "ours": lambda: timed(by_ours, pairs, model.device),
        "compiled": lambda: timed(functools.partial(by_ours, compiled=True), pairs, model.device),
        "vllm": lambda: by_vllm(model, tokenizer, few, args.vllm_python),
    }
    figures = {side: result for side in SIDES if side in args.sides and (result := makers[side]()) is not None}
    of_few, of_all = (count_work(model, encoder.encode(some)) for some in (few, pairs))
    reference = figures["stock"]["sums"] if "stock" in figures else None
    rows = []
    for side, result in figures.items():
        scored, work = (few, of_few) if side in ("stock", "vllm") else (pairs, of_all)
        seconds, sums = result["seconds"], result["sums"]
        row = {"side": side, "traces": len(scored), **result, "seconds_per_trace": seconds / len(scored)}
        del row["sums"]
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        row["trace_tokens_per_second"] = work.projected / seconds
        row["operations_per_second"] = work.total / seconds
        if reference is not None:
            differences = [abs(a - b) for a, b in zip(reference, sums, strict=False)]
            row["difference"] = sum(differences) / of_few.projected
            row["ratio"] = figures["stock"]["seconds"] / len(few) / row["seconds_per_trace"]
        rows.append(row)
    return rows


def timed(score: Callable[[Pairs, Any], list[float]], pairs: Pairs, device: Any) -> dict[str, Any]:
    """Sums of log-probabilities, and what it took to compute them, after a warm-up."""
    import torch

    gc.collect()
    began = time.perf_counter()
    score(pairs[:64], lambda *_: None)
    finish(device)
    warm_up = time.perf_counter() - began
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    batches: list[float] = []
    began = time.perf_counter()
    sums = score(pairs, lambda *_: batches.append(time.perf_counter() - began))
    finish(device)
    return {
        "sums": sums,
        "seconds": time.perf_counter() - began,
        "first_batch_seconds": batches[0] if batches else None,
        "warm_up_seconds": warm_up,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }


def by_vllm(model: Any, tokenizer: Any, pairs: Pairs, python: str) -> dict[str, Any] | None:
    """The same by vLLM in a process of its own; None where that Python has no vLLM."""
    has_vllm = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    if subprocess.run([python, "-c", has_vllm], check=False).returncode:
        print(f"{python} has no vLLM: not measured")
        return None
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model.save_pretrained(work / "checkpoint")
        tokenizer.save_pretrained(work / "checkpoint")
        (work / "pairs.json").write_text(json.dumps(list(pairs)))
        subprocess.run([python, __file__, "--vllm-side", folder], check=True)
        figures: dict[str, Any] = json.loads((work / "vllm.json").read_text())
    return figures


def run_vllm(work: Path) -> None:
    """Score the pairs of a folder by vLLM; the model's process keeps its own weights on the GPU meanwhile."""
    from lm_eval.models.vllm_causallms import VLLM

    from rbridge_tasks.backends import vllm

    pairs = [tuple(pair) for pair in json.loads((work / "pairs.json").read_text())]
    engine = {"dtype": "bfloat16", "gpu_memory_utilization": 0.5}
    lm = VLLM(str(work / "checkpoint"), batch_size="auto", max_model_len=8192, **engine)

    def score(some: Pairs, done: Any) -> list[float]:
        scores = vllm.score(lm, some, [str(i) for i in range(len(some))], done=done)
        return [float(score.logprob.astype(float).sum()) for score in scores]

    import torch

    figures = timed(score, pairs, torch.device("cpu"))  # its engine waits for the GPU itself
    (work / "vllm.json").write_text(json.dumps(figures))


def random_model(shape: Shape, vocabulary: int, device: Any) -> Any:
    """A random Llama in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with device:
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def matrix_rate(device: Any, dtype: Any, size: int | None = None) -> float:
    """Operations a second of a large matrix product on random numbers, the median of ten."""
    import torch

    size = size or (8192 if device.type == "cuda" else 512)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(13):
        finish(device)
        began = time.perf_counter()
        left @ right
        finish(device)
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / statistics.median(seconds[3:])


def finish(device: Any) -> None:
    """Wait for a GPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(found: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{found['machine']['device']}, bfloat16, large matrix product: {found['ceiling'] / 1e12:.3g} TFLOP/s")
    columns = {
        "traces": ("traces", ".0f", 1), "seconds": ("s", ".2f", 1), "seconds_per_trace": ("ms/trace", ".3f", 1e3),
        "ratio": ("x stock", ".2f", 1), "trace_tokens_per_second": ("tokens/s", ".0f", 1),
        "share_of_ceiling": ("ceiling", ".1%", 1), "peak_gib": ("GiB", ".2f", 1),
        "first_batch_seconds": ("1st batch", ".2f", 1), "warm_up_seconds": ("warm-up", ".1f", 1),
        "difference": ("nats/token", ".1e", 1),
    }  # fmt: skip
    print(f"{'shape':8}{'side':10}" + "".join(f"{heading:>12}" for heading, _, _ in columns.values()))
    for row in found["rows"]:
        cells = []
        for key, (_, layout, factor) in columns.items():
            value = row.get(key)
            cells.append("" if value is None else format(value * factor, layout))
        print(f"{row['shape']:8}{row['side']:10}" + "".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    main()
