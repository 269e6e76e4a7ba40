"""Our scoring through vLLM against our scoring through transformers, on the same requests and the same machine.

    python benchmarks/vllm_engine.py --vllm-python .venv-vllm/bin/python --traces cot.jsonl.gz --map trace=response

Both sides load the same random Llama in float32 and score the same (context, trace) pairs in turn, each in a process
of its own, on the CPU; only the scoring is measured. vLLM may be installed elsewhere: --vllm-python names its Python.
Set VLLM_CPU_KVCACHE_SPACE=1 TORCHDYNAMO_DISABLE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0. --processor-time sees no processes
that vLLM starts.
"""

from __future__ import annotations

import argparse
import json
import sys

from scoring import add_arguments, heading, measure, settings_from


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", default=sys.executable, help="the Python of the environment that has vLLM")
    add_arguments(parser)
    args = parser.parse_args()
    figures = measure(settings_from(args), repeats=args.repeats, sides=("vllm", "ours"), vllm_python=args.vllm_python)
    print(heading(figures, args.repeats))
    print(f"{'':34}{'transformers':>14}{'vllm':>12}{'ratio':>10}")
    unit = "processor seconds" if args.processor_time else "seconds"
    for name, key in ((unit, "seconds"), ("peak memory, MiB", "peak_mib"), ("  once loaded, MiB", "loaded_mib")):
        ours, vllm = (figures[side][key] for side in ("ours", "vllm"))
        print(f"{name:34}{ours:14.1f}{vllm:12.1f}{vllm / ours:10.2f}")
    print(f"largest relative difference of a summed log-likelihood: {figures['difference']:.2g}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
