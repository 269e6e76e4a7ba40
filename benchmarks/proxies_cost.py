"""What the proxies cost beside rBridge: ``lm_eval --tasks rbridge,rbridge_proxies`` against ``--tasks rbridge``.

    python benchmarks/proxies_cost.py --traces cot.jsonl.gz --map trace=response --tokenizer tokenizer.json

Both run the stock command on the same random Llama and traces, in turn, with --log_samples. The ratio is that of whole
commands, start and writing included; the seconds that lm-eval itself notes, and processor time, which other programs on
the machine disturb less, stand beside it. Target: 1.15. Without --traces it uses the sample that ships, whose items are
too few for the ratio to mean much, without --tokenizer one trained here.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

TARGET = 1.15
SIDES = {"rbridge": "rbridge_gsm8k", "both": "rbridge_gsm8k,rbridge_proxies_gsm8k"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", help="JSON, JSON Lines or Parquet file of traces; default: the shipped sample")
    parser.add_argument(
        "--map", action="append", default=[], metavar="FIELD=THEIRS", help="as in rbridge traces import"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json, also .gz; default: 50k byte-level BPE made here"
    )
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--num-fewshot", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3, help="times each side runs, in turn; medians are reported")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tokens = prepare(args, Path(folder))
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(args.repeats):
            for side, results in runs.items():
                results.append(run_side(args, Path(folder), side, len(results)))
    report(args, runs, tokens)


def prepare(args: argparse.Namespace, work: Path) -> int:
    """Make the checkpoint, and a cache of traces with made-up confidences; gives the mean number of trace tokens."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from rbridge_traces import SampleCache, TraceCache, import_traces
    from tiny_llama import corpus, random_llama, train_tokenizer

    if args.tokenizer:
        raw = args.tokenizer.read_bytes()
        text = (gzip.decompress(raw) if args.tokenizer.suffix == ".gz" else raw).decode()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), eos_token="<|endoftext|>")
    else:
        tokenizer = train_tokenizer(corpus(megabytes=25), 50_000)
    heads = args.hidden_size // 32
    model = random_llama(len(tokenizer), hidden_size=args.hidden_size, layers=args.layers, heads=heads, window=4096)
    model.save_pretrained(work / "checkpoint")
    tokenizer.save_pretrained(work / "checkpoint")
    if args.traces:
        mapping = dict(pair.split("=", 1) for pair in args.map)
        traces = import_traces(args.traces, benchmark="gsm8k", mapping=mapping, skip_empty=True).traces
    else:
        traces = SampleCache().load("gsm8k").traces
    rng = np.random.default_rng(0)
    scored = []
    for trace in traces[: args.items]:
        ends = np.append(np.arange(4, len(trace.trace), 4), len(trace.trace)).astype(np.int32)
        confident = -rng.exponential(0.2, ends.size).astype(np.float32)
        scored.append(dataclasses.replace(trace, token_end=ends, token_logprob=confident))
    TraceCache(str(work / "cache")).write(scored, benchmark="gsm8k", source="bench", confidence_model="made up")
    args.items = len(scored)
    lengths = [len(ids) for ids in tokenizer([trace.trace for trace in scored], add_special_tokens=False)["input_ids"]]
    return round(statistics.mean(lengths))


def run_side(args: argparse.Namespace, work: Path, side: str, number: int) -> dict[str, float]:
    """Run the command; gives its seconds, those that lm-eval notes, and those of the processor."""
    output = work / f"{side}_{number}"
    command = [
        str(Path(sys.executable).parent / "lm_eval"), "--model", "hf", "--model_args",
        f"pretrained={work / 'checkpoint'}", "--device", "cpu", "--batch_size", str(args.batch_size), "--tasks",
        SIDES[side], "--num_fewshot", str(args.num_fewshot), "--output_path", str(output), "--log_samples",
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        command, check=True, env=os.environ | {"RBRIDGE_CACHE": str(work / "cache")}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (results,) = output.rglob("results_*.json")
    noted = float(json.loads(results.read_text())["total_evaluation_time_seconds"])
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{side:8} {seconds:7.1f} s, noted by lm-eval {noted:7.1f} s, processor {processor:7.1f} s", flush=True)
    return {"seconds": seconds, "noted_seconds": noted, "processor_seconds": processor}


def report(args: argparse.Namespace, runs: dict[str, list[dict[str, float]]], tokens: int) -> None:
    """Print medians and ratios, and write them as JSON if asked."""
    shape = f"d={args.hidden_size} x {args.layers} layers, batch {args.batch_size}, {os.cpu_count()} cores"
    print(f"{args.items} traces of {tokens} tokens, {args.num_fewshot}-shot, {shape}, median of {args.repeats}")
    print(f"{'':20}{'rbridge':>12}{'both':>12}{'ratio':>10}")
    ratios = {}
    for key in runs["both"][0]:
        alone, both = (statistics.median(run[key] for run in runs[side]) for side in SIDES)
        ratios[key] = both / alone
        print(f"{key:20}{alone:12.1f}{both:12.1f}{both / alone:10.3f}")
    print(f"target {TARGET}: {'met' if ratios['seconds'] <= TARGET else 'missed'}")
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        figures = {"settings": settings, "trace_tokens": tokens, "ratios": ratios, "target": TARGET, "runs": runs}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
