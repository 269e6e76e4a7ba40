"""The main job on what ships, offline: train tiny checkpoints and score them with lm_eval --tasks rbridge.

    python examples/demo.py --out demo_out

This is a demonstration. The checkpoints are a few hundred thousand parameters, trained for a minute on Python's own
documentation; one of them stands in for the frontier model; the traces are the samples that ship with the package.
The one thing it shows is that everything works, and that rBridge NLL falls as a model learns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tiny_llama import Checkpoint, corpus, random_llama, train, train_tokenizer

FEWSHOT = 1  # so that a prompt fits into the window that the tiny models are trained on
WINDOW = 1024
BATCH = 2
BENCHMARKS = ("math500", "mmlu_pro_stem", "gsm8k", "arc_challenge", "csqa", "humaneval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for checkpoints and results")
    parser.add_argument("--proxy-steps", type=int, default=200, help="training steps of the proxy model")
    parser.add_argument("--frontier-steps", type=int, default=200, help="training steps of the stand-in frontier model")
    args = parser.parse_args()
    console = Console()
    began = time.monotonic()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    console.rule("rBridge demonstration")
    console.print(
        "Tiny models trained here on Python's own documentation, scored on sample traces. "
        "A demonstration that everything works, not a result.\n"
    )
    proxies, frontier = train_models(args.out, args.proxy_steps, args.frontier_steps, console)
    cache = args.out / "cache"
    console.print("\nGiving the sample traces the confidences of the stand-in frontier model ...")
    rbridge = [sys.executable, "-m", "rbridge_tasks"]
    score = ["traces", "score", "--benchmark", "all", "--from", "sample", "--model", str(frontier.path)]
    run([*rbridge, *score, "--num-fewshot", str(FEWSHOT), "--cache", str(cache), "--replace"], args.out / "score.log")
    results = []
    for checkpoint in proxies:
        console.print(f"lm_eval --tasks rbridge on {checkpoint.path.name} ...")
        results.append(evaluate(checkpoint, cache, args.out))
    console.print()
    console.print(score_table(proxies, results))
    first, last = (result["groups"]["rbridge"]["rbridge_nll,none"] for result in (results[0], results[-1]))
    console.print(
        f"Mean rBridge NLL over the six sample benchmarks: {first:.3f} before training, {last:.3f} after. "
        f"Lower is better.\nDemonstration only: sample traces, {FEWSHOT}-shot, a stand-in for the frontier model. "
        f"Took {time.monotonic() - began:.0f} s.\nCheckpoints, cache and lm-eval's results are in {args.out}/."
    )
    if not last < first:
        sys.exit("rbridge: error: the scores did not fall over training; something is wrong with this installation")


def train_models(
    out: Path, proxy_steps: int, frontier_steps: int, console: Console
) -> tuple[list[Checkpoint], Checkpoint]:
    """Train a proxy, keeping checkpoints along the way, and a larger model that stands in for the frontier model."""
    texts = corpus(megabytes=6)
    tokenizer = train_tokenizer(texts, vocab_size=4096)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def run_training(name: str, steps: int, save_at: list[int], hidden_size: int, layers: int) -> list[Checkpoint]:
            task = progress.add_task(f"Training the {name}", total=steps, loss=float("nan"))
            model = random_llama(len(tokenizer), hidden_size=hidden_size, layers=layers, heads=4, window=2048)
            return train(
                model, tokenizer, texts, out / name, steps=steps, save_at=save_at, batch=BATCH, window=WINDOW,
                on_step=lambda loss: progress.update(task, advance=1, loss=loss),
            )  # fmt: skip

        saves = sorted({0, proxy_steps // 8, proxy_steps // 3, proxy_steps})
        proxies = run_training("proxy", proxy_steps, saves, 96, 3)
        frontier = run_training("frontier", frontier_steps, [frontier_steps], 128, 4)
    return proxies, frontier[-1]


def evaluate(checkpoint: Checkpoint, cache: Path, out: Path) -> dict[str, Any]:
    """Run the lm_eval command on one checkpoint, and read the results file that it writes."""
    folder = out / "results" / checkpoint.path.name
    command = [
        sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={checkpoint.path}",
        "--tasks", "rbridge", "--num_fewshot", str(FEWSHOT), "--batch_size", "auto",
        "--metadata", json.dumps({"rbridge_cache": str(cache)}), "--output_path", str(folder),
    ]  # fmt: skip
    before = set(folder.rglob("results_*.json"))
    run(command, out / f"{checkpoint.path.name}.log")
    (written,) = set(folder.rglob("results_*.json")) - before
    result: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return result


def run(command: list[str], log: Path) -> None:
    """Run a command with its output in a log file; show the end of it if the command fails."""
    with log.open("w", encoding="utf-8") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        sys.exit(f"{tail}\nrbridge: error: `{' '.join(command[:4])} ...` ended with code {status}; see {log}")


def score_table(proxies: list[Checkpoint], results: list[dict[str, Any]]) -> Table:
    """rBridge NLL by benchmark and checkpoint."""
    table = Table("rbridge_nll (sample)", title="Scores along the training (lower is better)")
    for checkpoint in proxies:
        table.add_column(f"{checkpoint.tokens / 1000:.0f}K tokens", justify="right")
    for name in (*(f"rbridge_{benchmark}" for benchmark in BENCHMARKS), "rbridge"):
        values = [result["results"][name]["rbridge_nll,none"] for result in results]
        table.add_row(name if name != "rbridge" else "mean", *(f"{value:.3f}" for value in values))
    return table


if __name__ == "__main__":
    main()
