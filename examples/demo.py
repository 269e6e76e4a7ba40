"""The whole workflow, offline: from three candidate corpora to a report on which of them to train on.

    python examples/demo.py --out demo_out

The corpora are made from text that ships with Python. A small proxy and a larger target are trained on each of them.
``rbridge sweep`` scores every checkpoint with lm-eval, ``rbridge fit`` predicts the target from the proxy,
``rbridge rank`` orders the corpora by the proxy alone and compares the order with the target's, and ``rbridge report``
writes the results on one page.

This demonstration shows that the workflow runs and what its output looks like. The models have less than a million
parameters and train for a minute. One of them stands in for the frontier model, and the traces are the sample that
ships with the package. Such models cannot answer questions, so the predicted quantity is not the target's accuracy but
how often the next token of a trace is among the target's five most probable tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tiny_llama import CANDIDATES
from train_tiny import BATCH, WINDOW, checkpoints, folder_name, train_runs

FEWSHOT = 1  # more would not fit into the context window of the tiny models
KEPT = 5  # checkpoints of each run
TARGET_METRIC = "top5_accuracy_by_frequency"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for checkpoints and results")
    parser.add_argument("--steps", type=int, default=72, help="training steps of each model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    Demonstration(args.out, args.steps, Console(highlight=False)).run()


@dataclass(frozen=True)
class Demonstration:
    """The workflow in one folder.

    Attributes:
        out: folder for checkpoints, scores and the report.
        steps: training steps of each model.
        console: console for progress messages.
    """

    out: Path
    steps: int
    console: Console

    def run(self) -> None:
        """Train, score, fit, rank, and write the report."""
        began = time.monotonic()
        self.console.rule("rBridge demonstration")
        self.console.print(
            "Tiny models, trained here on text that Python ships and scored on sample traces. "
            "A demonstration that everything works, not a result.\n"
        )
        params = self.train_models()
        proxy, target = (f"{size / 1e3:.0f}K" for size in params)
        scores, page = str(self.out / "sweep" / "scores.parquet"), str(self.out / "report.html")
        self.score(scores)
        tokens = f"{self.steps * BATCH * WINDOW // 1000}K"
        targets = ["--target", scores, "--target-metric", TARGET_METRIC, "--target-at", f"{target}:{tokens}"]
        fit = str(self.out / "fit.json")
        self.rbridge(
            "fit", scores, "--proxy-metric", "rbridge_nll", "--target-metric", TARGET_METRIC, "--proxy", proxy,
            "--target", target, "-o", fit, message="Predicting the targets from the proxies", show=True,
        )  # fmt: skip
        self.rbridge(
            "rank", scores, "-b", "gsm8k", "--at", f"{proxy}:{tokens}", *targets,
            message="Ranking the corpora by the proxies, on one benchmark", show=True,
        )  # fmt: skip
        samples = [word for shard in self.two_shards(params[0]) for word in ("--samples", str(shard))]
        title = ["--title", "rBridge demonstration"]
        self.rbridge("report", scores, fit, "-o", page, *targets, *title, *samples, message="Writing the page")
        self.console.print(
            f"\nDemonstration only: sample traces, {FEWSHOT}-shot, a stand-in for the frontier model, the target's\n"
            f"share of right tokens in place of its accuracy. Took {time.monotonic() - began:.0f} s.\n"
            f"Open [bold]{page}[/bold] in a browser. The score table is {scores}."
        )

    def train_models(self) -> list[int]:
        """Train a proxy and a target on each corpus, and a stand-in for the frontier model; return both sizes."""
        loss = TextColumn("loss {task.fields[loss]:.2f}")
        columns = TextColumn("{task.description}"), BarColumn(), loss, TimeRemainingColumn()
        with Progress(*columns, console=self.console) as bars:

            def begin(run: str) -> Callable[[float], None]:
                bar = bars.add_task(f"Training {run}", total=self.steps, loss=float("nan"))
                return lambda loss: bars.update(bar, advance=1, loss=loss)

            return train_runs(self.out / "runs", CANDIDATES, steps=self.steps, keep=KEPT, begin=begin)

    def score(self, scores: str) -> None:
        """Add the stand-in's confidences to the sample, and score all checkpoints on it."""
        (frontier,) = (self.out / "runs" / "frontier").glob("step*")
        cache = str(self.out / "cache")
        self.rbridge(
            "traces", "score", "--benchmark", "all", "--from", "sample", "--model", str(frontier), "--num-fewshot",
            str(FEWSHOT), "--cache", cache, "--replace", message="Confidences of the stand-in for the frontier model",
        )  # fmt: skip
        self.rbridge(
            "sweep", *map(str, sorted((self.out / "runs").glob("*-*"))), "-o", str(Path(scores).parent), "--tasks",
            "rbridge,rbridge_proxies", "--num-fewshot", str(FEWSHOT), "--include-sample", "--jobs", "2",
            "--metadata", json.dumps({"rbridge_cache": cache}),
            message="Scoring all checkpoints with lm-eval, each loaded once",
        )  # fmt: skip

    def two_shards(self, params: int) -> list[Path]:
        """Folders with the samples of the first and the last checkpoint of one proxy."""
        ends = (
            f"*{folder_name(CANDIDATES[0], params)}__step{step}-*"
            for step in checkpoints(self.steps, KEPT)[:: KEPT - 1]
        )
        return [shard for end in ends for shard in (self.out / "sweep" / "shards").glob(end)]

    def rbridge(self, *arguments: str, message: str, show: bool = False) -> None:
        """Run ``rbridge`` with its output in a log file; print the log if ``show``, or its end if the command fails."""
        self.console.print(f"{message}: [bold]rbridge {arguments[0]}[/bold] ...")
        log = self.out / f"{arguments[0]}.log"
        environment = os.environ | {"COLUMNS": str(min(self.console.width, 140))}
        with log.open("w", encoding="utf-8") as output:
            command = [sys.executable, "-m", "rbridge_tasks", *arguments]
            status = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        text = log.read_text(encoding="utf-8")
        if status:
            tail = "\n".join(text.splitlines()[-15:])
            sys.exit(
                f"{tail}\nrbridge: error: `rbridge {arguments[0]}` ended with code {status}; all of it is in {log}"
            )
        if show:
            self.console.print(text, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
