"""The main job on what ships, offline: from three candidate corpora to a page that says which of them to train on.

    python examples/demo.py --out demo_out

Three corpora are made from text that every Python installation carries. On each, a small proxy and a larger target are
trained; ``rbridge sweep`` scores every checkpoint with lm-eval, ``rbridge fit`` predicts the target from the proxy,
``rbridge rank`` orders the corpora by the proxy alone and looks whether the target agrees, and ``rbridge report`` puts
all of it on one page.

This is a demonstration. The models have less than a million parameters and see a minute of training; one of them stands
in for the frontier model; the traces are the samples that ship with the package; and since such models answer no
question, what is predicted of the target is how many tokens of a trace are among the five it finds most probable. What
it shows is that everything works, and how it looks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tiny_llama import CANDIDATES, candidate_corpora, random_llama, train, train_tokenizer

FEWSHOT = 1  # so that a prompt fits into the window that the tiny models are trained on
WINDOW, BATCH = 1024, 2
VOCABULARY = 4096
#: Width and layers by role; each role's folder is named by its size, which tells proxy from target in the table.
SHAPES = {"proxy": (48, 2), "target": (96, 3), "frontier": (128, 4)}
#: Shares of the training after which a checkpoint is kept.
KEPT = (0.15, 0.3, 0.5, 0.7, 1.0)
TARGET_METRIC = "top5_accuracy_by_frequency"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for checkpoints and results")
    parser.add_argument("--steps", type=int, default=120, help="training steps of each model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    Demonstration(args.out, args.steps, Console(highlight=False)).run()


def folder_name(corpus: str, params: int) -> str:
    """Of a run."""
    return f"{corpus}-{params / 1e6:.2f}M"


@dataclass(frozen=True)
class Demonstration:
    """All of it, in one folder.

    Attributes:
        out: folder for checkpoints, scores and the page.
        steps: training steps of each model.
        console: where to say what happens.
    """

    out: Path
    steps: int
    console: Console

    def run(self) -> None:
        """Train, score, fit, rank, and write the page."""
        began = time.monotonic()
        self.console.rule("rBridge demonstration")
        self.console.print(
            "Tiny models, trained here on text that Python ships and scored on sample traces. "
            "A demonstration that everything works, not a result.\n"
        )
        sizes = self.train_models()
        proxy, target = (f"{sizes[role] / 1e3:.0f}K" for role in ("proxy", "target"))
        scores, page = str(self.out / "sweep" / "scores.parquet"), str(self.out / "report.html")
        self.score(scores)
        tokens = f"{self.steps * BATCH * WINDOW // 1000}K"
        targets = ["--target", scores, "--target-metric", TARGET_METRIC, "--target-at", f"{target}:{tokens}"]
        fit = str(self.out / "fit.json")
        self.rbridge(
            "fit", scores, "--proxy-metric", "rbridge_nll", "--target-metric", TARGET_METRIC, "--proxy", proxy,
            "--target", target, "-o", fit, says="Predicting the targets from the proxies", show=True,
        )  # fmt: skip
        self.rbridge(
            "rank", scores, "--at", f"{proxy}:{tokens}", *targets, says="Ranking the corpora by the proxies",
            show=True,
        )  # fmt: skip
        samples = [word for shard in self.two_shards(sizes["proxy"]) for word in ("--samples", str(shard))]
        title = ["--title", "rBridge demonstration"]
        self.rbridge("report", scores, fit, "-o", page, *targets, *title, *samples, says="Writing the page")
        self.console.print(
            f"\nDemonstration only: sample traces, {FEWSHOT}-shot, a stand-in for the frontier model, the target's\n"
            f"share of right tokens in place of its accuracy. Took {time.monotonic() - began:.0f} s.\n"
            f"Open [bold]{page}[/bold] in a browser. The score table is {scores}."
        )

    def train_models(self) -> dict[str, int]:
        """Train a proxy and a target on each corpus, and the stand-in for the frontier model on all of it, for longer.

        Returns:
            Parameters of each role. Folders are named by them too: ``runs/prose-0.26M/step120-tokens245K``.
        """
        corpora = candidate_corpora(megabytes=2)
        everything = [text for texts in corpora.values() for text in texts]
        tokenizer = train_tokenizer(everything, VOCABULARY)
        sizes = {}
        loss = TextColumn("loss {task.fields[loss]:.2f}")
        with Progress(
            TextColumn("{task.description}"), BarColumn(), loss, TimeRemainingColumn(), console=self.console
        ) as bars:
            for role, (width, layers) in SHAPES.items():
                stand_in = role == "frontier"
                runs, kept = (self.out / role, [2 * self.steps]) if stand_in else (self.out / "runs", self.kept)
                for name, texts in [("everything", everything)] if stand_in else corpora.items():
                    model = random_llama(len(tokenizer), hidden_size=width, layers=layers, heads=4, window=2 * WINDOW)
                    sizes[role] = model.num_parameters()
                    bar = bars.add_task(f"Training the {role} on {name}", total=kept[-1], loss=float("nan"))
                    train(
                        model, tokenizer, texts, runs / folder_name(name, sizes[role]), steps=kept[-1], save_at=kept,
                        batch=BATCH, window=WINDOW,
                        on_step=lambda loss, bar=bar: bars.update(bar, advance=1, loss=loss),
                    )  # fmt: skip
        return sizes

    @property
    def kept(self) -> list[int]:
        """Steps at which a checkpoint is kept."""
        return sorted({max(1, round(share * self.steps)) for share in KEPT})

    def score(self, scores: str) -> None:
        """Give the sample the confidences of the stand-in, and score all checkpoints on it."""
        (frontier,) = (self.out / "frontier").glob("*/step*")
        cache = str(self.out / "cache")
        self.rbridge(
            "traces", "score", "--benchmark", "all", "--from", "sample", "--model", str(frontier), "--num-fewshot",
            str(FEWSHOT), "--cache", cache, "--replace", says="Confidences of the stand-in for the frontier model",
        )  # fmt: skip
        self.rbridge(
            "sweep", *map(str, sorted((self.out / "runs").iterdir())), "-o", str(Path(scores).parent), "--tasks",
            "rbridge,rbridge_proxies", "--num-fewshot", str(FEWSHOT), "--include-sample",
            "--metadata", json.dumps({"rbridge_cache": cache}),
            says="Scoring all checkpoints with lm-eval, each loaded once",
        )  # fmt: skip

    def two_shards(self, params: int) -> list[Path]:
        """Folders with the samples of the first and of the last checkpoint of a proxy."""
        ends = (f"*{folder_name(CANDIDATES[0], params)}__step{step}-*" for step in (self.kept[0], self.kept[-1]))
        return [shard for end in ends for shard in (self.out / "sweep" / "shards").glob(end)]

    def rbridge(self, *arguments: str, says: str, show: bool = False) -> None:
        """Run ``rbridge``, its output in a log file; show that on request, and its end if the command fails."""
        self.console.print(f"{says}: [bold]rbridge {arguments[0]}[/bold] ...")
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
            self.console.print(text, markup=False)


if __name__ == "__main__":
    main()
