"""Our scoring against lm-eval's own ``loglikelihood`` on the same requests: seconds, peak memory, largest difference.

    python benchmarks/loglikelihood.py --traces cot.jsonl.gz --map trace=response --tokenizer tokenizer.json

Both sides load the same random Llama, score the same (context, trace) pairs in turn, each in a process of its own, and
are measured around the scoring only. Without --traces it uses the sample that ships, without --tokenizer one trained
here. Numbers to believe come from a quiet machine and several --repeats.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", help="JSON, JSON Lines or Parquet file of traces; default: the shipped sample")
    parser.add_argument(
        "--map", action="append", default=[], metavar="FIELD=THEIRS", help="as in rbridge traces import"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json, also .gz; default: 50k byte-level BPE made here"
    )
    parser.add_argument("--items", type=int, default=96, help="requests to score")
    parser.add_argument("--num-fewshot", type=int, default=5)
    parser.add_argument("--trace-tokens", type=int, help="cut traces to about this many tokens (4 letters each)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=1, help="times each side runs, in turn; medians are reported")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--side", choices=("stock", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.work, args.batch_size)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(args, work)
        runs: dict[str, list[dict[str, Any]]] = {"stock": [], "ours": []}
        for _ in range(args.repeats):
            for side, results in runs.items():
                command = [sys.executable, __file__, "--side", side, "--work", folder]
                subprocess.run([*command, "--batch-size", str(args.batch_size)], check=True)
                results.append(json.loads((work / f"{side}.json").read_text()))
    report(args, runs)


def prepare(args: argparse.Namespace, work: Path) -> None:
    """Make the checkpoint and the requests that both sides use."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from rbridge_tasks.prompts import context_of
    from rbridge_traces import SampleCache, few_shot_examples, import_traces
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

    examples = few_shot_examples("gsm8k")[: args.num_fewshot]
    length = args.trace_tokens * 4 if args.trace_tokens else None
    pairs = [(context_of(trace, examples), trace.trace[:length]) for trace in traces]
    pairs = [pairs[i % len(pairs)] for i in range(args.items)]
    (work / "pairs.json").write_text(json.dumps(pairs))


def run_side(side: str, work: Path, batch_size: int) -> None:
    """Load the model, score the requests one way, and write what it took."""
    import transformers
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from rbridge_tasks.backends import hf

    transformers.logging.set_verbosity_error()
    pairs = [tuple(pair) for pair in json.loads((work / "pairs.json").read_text())]
    lm = HFLM(pretrained=str(work / "checkpoint"), device="cpu", batch_size=batch_size)
    before = peak_mib()
    began = time.perf_counter()
    if side == "stock":
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        sums = [total for total, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        tokens = 0
    else:
        scores = hf.score(lm, pairs, [str(i) for i in range(len(pairs))])
        sums = [float(score.logprob.astype(float).sum()) for score in scores]
        tokens = sum(score.logprob.size for score in scores)
    seconds = time.perf_counter() - began
    figures = {"seconds": seconds, "peak_mib": peak_mib(), "loaded_mib": before, "sums": sums, "trace_tokens": tokens}
    (work / f"{side}.json").write_text(json.dumps(figures))


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if platform.system() == "Linux" else peak / 1024**2


def report(args: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table, and write it as JSON if asked."""
    keys = ("seconds", "peak_mib", "loaded_mib")
    stock, ours = (
        {key: statistics.median(run[key] for run in runs[side]) for key in keys} for side in ("stock", "ours")
    )
    sums = zip(runs["stock"][0]["sums"], runs["ours"][0]["sums"], strict=True)
    difference = max(abs(theirs - mine) / abs(theirs) for theirs, mine in sums)
    tokens = runs["ours"][0]["trace_tokens"]
    above = [side["peak_mib"] - side["loaded_mib"] for side in (stock, ours)]
    print(f"{args.items} requests, {args.num_fewshot}-shot, {tokens / args.items:.0f} trace tokens each, "
          f"d={args.hidden_size} x {args.layers} layers, batch {args.batch_size}, {os.cpu_count()} cores, "
          f"median of {args.repeats}")  # fmt: skip
    print(f"{'':30}{'stock':>12}{'ours':>12}{'ratio':>10}")
    rows = [
        ("seconds", stock["seconds"], ours["seconds"]),
        ("peak memory, MiB", stock["peak_mib"], ours["peak_mib"]),
        ("  above the loaded model, MiB", *above),
    ]
    for name, theirs, mine in rows:
        print(f"{name:30}{theirs:12.1f}{mine:12.1f}{theirs / mine:10.2f}")
    print(f"largest relative difference of a summed log-likelihood: {difference:.2g}")
    if args.json:
        figures = {"settings": {key: str(value) for key, value in vars(args).items()}, "stock": stock, "ours": ours,
                   "largest_relative_difference": difference, "trace_tokens": tokens}  # fmt: skip
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
