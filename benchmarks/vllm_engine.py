"""Our scoring through vLLM against our scoring through transformers, on the same requests and the same machine.

    python benchmarks/vllm_engine.py --vllm-python .venv-vllm/bin/python --traces cot.jsonl.gz --map trace=response

Both sides load the same random Llama in float32 and score the same (context, trace) pairs in turn, each in a process
of its own, and are measured around the scoring only. vLLM may be installed elsewhere: --vllm-python names its Python.
On a CPU set VLLM_CPU_KVCACHE_SPACE=1 TORCHDYNAMO_DISABLE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0. --processor-time sees no
processes that vLLM starts beside its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scoring import Settings, add_arguments, machine, peak_mib, prepare, settings_from

SIDES = ("transformers", "vllm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", default=sys.executable, help="the Python of the environment that has vLLM")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    add_arguments(parser)
    args = parser.parse_args()
    settings = settings_from(args)
    if args.side:
        run_side(args.side, settings, args.work)
        return
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(settings, work)
        for _ in range(args.repeats):
            for side, results in runs.items():
                python = args.vllm_python if side == "vllm" else sys.executable
                command = [python, __file__, "--side", side, "--work", folder, "--batch-size", settings.batch_size]
                command += ["--processor-time"] if settings.processor_time else []
                environment = os.environ | ({"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {})
                subprocess.run(command, check=True, env=environment)
                results.append(json.loads((work / f"{side}.json").read_text()))
    found = compared(runs) | {"settings": asdict(settings), "machine": machine()}
    report(found, args.repeats)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def run_side(side: str, settings: Settings, work: Path) -> None:
    """Load the model, score the requests one way, and write what it took."""
    clock = time.process_time if settings.processor_time else time.perf_counter
    pairs = [tuple(pair) for pair in json.loads((work / "pairs.json").read_text())]
    labels = [str(number) for number in range(len(pairs))]
    checkpoint = str(work / "checkpoint")
    if side == "vllm":
        from lm_eval.models.vllm_causallms import VLLM

        from rbridge_tasks.backends.vllm import score

        lm = VLLM(
            checkpoint,
            dtype="float32",
            enforce_eager=True,
            batch_size=1,
            max_model_len=4096,
            gpu_memory_utilization=0.4,
        )
    else:
        import torch
        from lm_eval.models.huggingface import HFLM

        from rbridge_tasks.backends.hf import score

        device = "cuda" if torch.cuda.is_available() else "cpu"
        lm = HFLM(checkpoint, dtype="float32", device=device, batch_size=settings.batch_size, max_length=4096)
    loaded = peak_mib()
    began = clock()
    scores = score(lm, pairs, labels)
    figures = {
        "seconds": clock() - began,
        "peak_mib": peak_mib(),
        "loaded_mib": loaded,
        "sums": [float(one.logprob.astype(float).sum()) for one in scores],
        "trace_tokens": sum(one.logprob.size for one in scores),
    }
    (work / f"{side}.json").write_text(json.dumps(figures))


def compared(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side, and the largest relative difference of a summed log-likelihood."""
    keys = ("seconds", "peak_mib", "loaded_mib")
    sums = zip(*(runs[side][0]["sums"] for side in SIDES), strict=True)
    return {
        **{side: {key: statistics.median(run[key] for run in runs[side]) for key in keys} for side in SIDES},
        "difference": max(abs(one - other) / abs(one) for one, other in sums),
        "trace_tokens": runs["vllm"][0]["trace_tokens"],
    }


def report(found: dict[str, Any], repeats: int) -> None:
    """Print the table."""
    settings = found["settings"]
    print(f"{settings['benchmark']}, {settings['items']} requests, {settings['num_fewshot']}-shot, "
          f"{found['trace_tokens'] / settings['items']:.0f} trace tokens each, "
          f"d={settings['hidden_size']} x {settings['layers']} layers, "
          f"{settings['threads'] or found['machine']['cores']} threads, load {found['machine']['load']:.1f}, "
          f"median of {repeats}")  # fmt: skip
    print(f"{'':34}{'transformers':>14}{'vllm':>12}{'ratio':>10}")
    unit = "processor seconds" if settings["processor_time"] else "seconds"
    for name, key in ((unit, "seconds"), ("peak memory, MiB", "peak_mib"), ("  once loaded, MiB", "loaded_mib")):
        one, other = (found[side][key] for side in SIDES)
        print(f"{name:34}{one:14.1f}{other:12.1f}{other / one:10.2f}")
    print(f"largest relative difference of a summed log-likelihood: {found['difference']:.2g}")


if __name__ == "__main__":
    main()
