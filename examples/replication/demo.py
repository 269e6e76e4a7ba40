"""The main job, offline and in minutes: which of twelve corpora will a larger model learn to reason from?

    python examples/replication/demo.py --out demo_out

The answer is known, from the experiment of ``examples/replication``: small proxies and larger targets were trained on
twelve corpora of word problems, and their scores ship in ``examples/replication/results``. The demonstration

1. trains the smallest proxy on four of the corpora today, with a seed of its own;
2. scores them with the ``lm_eval`` command on the traces of the experiment's frontier model;
3. decides with ``rbridge`` on the experiment's score table, today's scores among them, and writes a page.

What is printed and the page name today's runs ``<corpus> (today)``, so that they stand apart from the experiment's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

import corpora
import pandas as pd
import torch
import transformers
import world
from analysis import ACCURACY, Analysis
from results import last_checkpoints
from rich.console import Console
from rich.table import Table
from run import SETTINGS
from train import Run, train

from rbridge_tasks.tables.score_table import read_scores, write_scores

RESULTS, TRACES = (Path(__file__).parent / name for name in ("results", "traces"))
LIVE = ("clean", "filler80", "wrong100", "answers100")
SIZE, SEED, TODAY = "0.05M", 2, " (today)"
TOKENS = SETTINGS["full"].proxies[SIZE]  # training tokens of a proxy, as in the experiment


@dataclass(frozen=True)
class Demonstration:
    """The workflow in one folder.

    Attributes:
        out: folder for checkpoints, scores and the page.
        console: console for progress messages.
    """

    out: Path
    console: Console

    def run(self) -> None:
        """Train, score, decide, and write the page."""
        began = time.monotonic()
        self.console.rule("rBridge demonstration")
        self.train()
        live = self.score()
        proxies, targets = self.tables(live)
        self.compare_with_the_experiment(live)
        self.decide(proxies, targets)
        self.console.print(
            f"\nTook {time.monotonic() - began:.0f} s. The runs called [bold]<corpus>{TODAY}[/bold] were trained and "
            "scored just now; all other numbers are\nthe experiment's, which docs/evidence.md describes. Open "
            f"[bold]{self.out / 'report.html'}[/bold] in a browser. The score table is {proxies}."
        )

    def train(self) -> None:
        """Train a proxy on each live corpus, two at once."""
        self.console.print(
            f"Training a model of {SIZE} parameters on {TOKENS / 1e6:.2g}M tokens of {', '.join(LIVE)} ..."
        )
        with ProcessPoolExecutor(2) as workers:
            list(workers.map(train_proxy, map(self.proxy, LIVE)))

    def proxy(self, corpus: str) -> Run:
        """The run of a live corpus."""
        path = self.out / "corpora" / f"{corpus}-{TOKENS}.npy"
        return Run(self.out / "runs" / f"{corpus}{TODAY}", path, SIZE, SEED, TOKENS, (TOKENS,))

    def score(self) -> pd.DataFrame:
        """Score the proxies with lm-eval, and collect a score table."""
        tasks = ",".join(f"rbridge_{family}" for family in world.FAMILIES)
        for corpus in LIVE:
            run = self.proxy(corpus)
            self.call(
                "lm_eval", "--model", "hf", "--model_args", f"pretrained={run.checkpoint(run.tokens)}",
                "--tasks", tasks, "--num_fewshot", "0", "--batch_size", "64", "--device", "cpu", "--metadata",
                json.dumps({"rbridge_cache": str(TRACES)}), "--output_path", str(self.out / "lm_eval" / corpus),
                message=f"Scoring {corpus}", log=f"lm_eval-{corpus}",
            )  # fmt: skip
        table = self.out / "today.parquet"
        self.rbridge("collect", str(self.out / "lm_eval"), "-o", str(table), message="Collecting the scores")
        return read_scores(table)

    def tables(self, live: pd.DataFrame) -> tuple[Path, Path]:
        """Write the experiment's scores as means over seeds, and add today's scores to those of the proxies.

        Returns:
            The score tables of the proxies and of the targets.
        """
        analysis = Analysis(RESULTS, self.out)
        proxies, _ = analysis.write_tables()
        write_scores(pd.concat([proxies, live], ignore_index=True), self.out / "proxies.parquet")
        analysis.pairs(live["params"].iloc[0]).to_csv(self.out / "pairs.csv", index=False)
        return self.out / "proxies.parquet", self.out / "targets.parquet"

    def compare_with_the_experiment(self, live: pd.DataFrame) -> None:
        """Print the mean rBridge NLL of today's proxies beside that of the experiment's on the same corpora."""
        seeds = last_checkpoints(read_scores(self.out / "seeds.parquet"))
        seeds = seeds[(seeds["params"] == live["params"].iloc[0]) & (seeds["metric"] == "rbridge_nll")]
        before = seeds.groupby("run")["value"].mean()
        now = live[live["metric"] == "rbridge_nll"].groupby("run")["value"].mean()
        table = Table("corpus", "today", "experiment's seeds", title="rBridge NLL of the smallest proxies")
        for corpus in LIVE:
            earlier = before[before.index.str.startswith(f"{corpus}-seed")]
            table.add_row(corpus, f"{now[corpus + TODAY]:.3f}", ", ".join(f"{value:.3f}" for value in earlier))
        self.console.print(table)

    def decide(self, proxies: Path, targets: Path) -> None:
        """Rank the corpora, predict the targets' accuracies, forecast from a ladder, measure noise, write the page."""
        target = ["--target", str(targets), "--target-metric", ACCURACY]
        fit, page = str(self.out / "fit.json"), str(self.out / "report.html")
        largest = read_scores(targets).iloc[0]
        predicted = f"{largest['params']:.0f}:{largest['tokens']:.0f}"
        size = read_scores(proxies)["params"].min()
        self.rbridge(
            "rank", str(proxies), "--at", f"{size:.0f}:{TOKENS}", *target, "--against", ACCURACY,
            message="Ranking the corpora by the smallest proxies", show=True,
        )  # fmt: skip
        self.rbridge(
            "fit", str(self.out / "pairs.csv"), "--x", "rbridge_nll", "--y", "accuracy", "--group", "benchmark",
            "-o", fit, message="Predicting the targets' accuracies", show=True,
        )  # fmt: skip
        ladder = Analysis(RESULTS, self.out).write_ladder("clean", read_scores(targets))
        self.rbridge(
            "ladder", str(ladder), "--target-metric", ACCURACY, "--chance", str(1 / world.MODULUS), "--predict",
            predicted, message="Forecasting the target of `clean` from its small runs alone", show=True,
        )  # fmt: skip
        self.rbridge(
            "noise", str(self.out / "seeds.parquet"), "--metric", "rbridge_nll", "--last", "5", *target,
            message="How much of the scores is noise of training, and what it leaves of the order", show=True,
        )  # fmt: skip
        self.rbridge(
            "report", str(proxies), fit, "-o", page, *target, "--title", "Which corpus teaches reasoning?",
            message="Writing the page",
        )  # fmt: skip

    def rbridge(self, *arguments: str, message: str, show: bool = False) -> None:
        """Run ``rbridge``."""
        self.call("rbridge", *arguments, message=message, log=arguments[0], show=show)

    def call(self, program: str, *arguments: str, message: str, log: str, show: bool = False) -> None:
        """Run a command with its output in a log file; print the log if ``show``, or its end if the command fails."""
        self.console.print(f"{message}: [bold]{program} {arguments[0]}[/bold] ...")
        path = self.out / f"{log}.log"
        environment = os.environ | {"COLUMNS": str(min(self.console.width, 140))}
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        with path.open("w", encoding="utf-8") as output:
            status = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        text = path.read_text(encoding="utf-8")
        if status:
            tail = "\n".join(text.splitlines()[-15:])
            sys.exit(
                f"{tail}\n{program}: error: `{program} {arguments[0]}` ended with code {status}; all of it: {path}"
            )
        if show:
            self.console.print(text, markup=False, soft_wrap=True)


def train_proxy(run: Run) -> None:
    """Write a run's corpus, and train it on one thread."""
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    corpora.write_corpus(run.corpus)
    train(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for checkpoints and results")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    Demonstration(args.out.resolve(), Console(highlight=False)).run()


if __name__ == "__main__":
    main()
