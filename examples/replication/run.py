"""The replication, from an empty folder to its report.

    python examples/replication/run.py night --out replication_out

Every stage skips what is done already, and a killed run continues where it was. Files and who writes them:

    corpora/<candidate>-<tokens>.npy          corpora.py               token ids
    frontier/<size>/step*                     train.py                 the frontier model
    runs/<candidate>-seed<seed>/<size>/step*  train.py                 proxies and targets
    ladder/<candidate>-<part>-seed<seed>/..   train.py                 shorter proxies, for the ladder
    written/<family>.jsonl                    benchmarks.py            the frontier's solutions
    written/<family>/, cache/<family>/        rbridge traces import, score   the same as traces, and with confidences
    traces/, answers/, targets/               rbridge sweep            scores.parquet; token scores of every trace
    analysis/                                 analysis.py              tables, output of every command, report.html

``night`` is the protocol's setting; ``quick`` shows in minutes that all of it runs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import analysis
import corpora
import torch
import transformers
import world
from train import TOKENS_PER_STEP, Run, train

import benchmarks

STAGES = ("corpora", "train", "traces", "score", "analyse")
TRACE_TASKS = ("rbridge_{}", "rbridge_proxies_{}")
ANSWER_TASKS = ("rbridge_{}_gold", "rbridge_{}_scb", "rbridge_{}_cf", "rbridge_{}_gen")
TARGET_TASKS = ("rbridge_{}_gen",)


@dataclass(frozen=True)
class Setting:
    """What is trained and scored.

    Attributes:
        candidates: names of corpora.
        proxies: training tokens of the proxies, by size.
        target: size and training tokens of the target.
        frontier: size and training tokens of the frontier model.
        seeds: seeds of every proxy and target.
        ladder: candidates whose proxies are also trained on half and a quarter of their tokens.
        items: problems of each benchmark.
        kept: checkpoints of a proxy.
    """

    candidates: tuple[str, ...]
    proxies: dict[str, int]
    target: tuple[str, int]
    frontier: tuple[str, int]
    seeds: tuple[int, ...] = (0, 1)
    ladder: tuple[str, ...] = ()
    items: int = 300
    kept: int = 5


M = 500 * TOKENS_PER_STEP  # 1,024,000 tokens
SETTINGS = {
    "night": Setting(
        candidates=tuple(corpora.CANDIDATES),
        proxies={"0.05M": M, "0.15M": M, "0.4M": M},
        target=("2.3M", 7 * M),
        frontier=("2.3M", 12 * M),
        ladder=("clean", "filler80", "wrong50"),
    ),
    "quick": Setting(
        candidates=("clean", "answers100"),
        proxies={"0.05M": M // 2},
        target=("0.15M", M),
        frontier=("0.15M", M),
        seeds=(0,),
        items=30,
    ),
    "smoke": Setting(
        candidates=("clean", "answers100"),
        proxies={"0.05M": M // 50},
        target=("0.15M", M // 20),
        frontier=("0.15M", M // 4),
        seeds=(0,),
        items=6,
    ),
}


@dataclass(frozen=True)
class Replication:
    """One setting in one folder."""

    setting: Setting
    out: Path
    jobs: int
    device: str

    def stage(self, name: str) -> None:
        """Run one of ``STAGES``."""
        began = time.monotonic()
        {
            "corpora": self.write_corpora,
            "train": lambda: self.train([self.frontier, *self.runs()]),
            "traces": self.write_traces,
            "score": self.score,
            "analyse": self.analyse,
        }[name]()
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)

    @property
    def frontier(self) -> Run:
        """The run of the frontier model, on clean solutions of its own."""
        size, tokens = self.setting.frontier
        return Run(self.out / "frontier" / size, self.corpus("frontier", tokens), size, 0, tokens, (tokens,))

    def runs(self) -> Iterator[Run]:
        """Runs of all targets and proxies, the most expensive first."""
        setting = self.setting
        most = max(setting.target[1], *setting.proxies.values())
        for size, tokens in (setting.target, *reversed(setting.proxies.items())):
            kept = 1 if (size, tokens) == setting.target else setting.kept
            for name in setting.candidates:
                for seed in setting.seeds:
                    folder = self.out / "runs" / f"{name}-seed{seed}" / size
                    yield Run(folder, self.corpus(name, most), size, seed, tokens, saves(tokens, kept))
        for size, tokens in setting.proxies.items():
            for name in setting.ladder:
                for part, share in (("half", 2), ("quarter", 4)):
                    folder = self.out / "ladder" / f"{name}-{part}-seed0" / size
                    part_tokens = tokens // share // TOKENS_PER_STEP * TOKENS_PER_STEP
                    yield Run(folder, self.corpus(name, most), size, 0, part_tokens, saves(part_tokens, setting.kept))

    def corpus(self, name: str, tokens: int) -> Path:
        """File of a corpus."""
        return self.out / "corpora" / f"{name}-{tokens}.npy"

    def write_corpora(self) -> None:
        """Generate the token ids of all candidates and of the frontier's corpus."""
        world.tokenizer().save_pretrained(self.out / "tokenizer")
        for path in {run.corpus: None for run in (self.frontier, *self.runs())}:
            corpora.write_corpus(path)

    def train(self, runs: Sequence[Run]) -> None:
        """Train what is not trained yet, ``jobs`` runs at once."""
        waiting = [run for run in runs if not run.is_finished]
        with ProcessPoolExecutor(self.jobs, initializer=_start_worker) as workers:
            started = {workers.submit(train, run, device=self.device): run for run in waiting}
            for number, finished in enumerate(as_completed(started), 1):
                finished.result()
                print(f"  {number} of {len(waiting)}: {started[finished].folder.relative_to(self.out)}", flush=True)

    def write_traces(self) -> None:
        """Let the frontier model solve the benchmarks, and store its solutions with its confidences."""
        checkpoint, written = self.frontier.checkpoint(self.frontier.tokens), self.out / "written"
        for family in world.FAMILIES:
            path = written / f"{family}.jsonl"
            if not path.exists():
                accuracy = benchmarks.write_traces(checkpoint, family, self.setting.items, path)
                print(f"  {family}: the frontier model solves {accuracy:.0%}", flush=True)
            rbridge(*benchmarks.import_command(family, path, written))
        rbridge(*benchmarks.score_command(checkpoint, written, self.out / "cache"))

    def score(self) -> None:
        """Score every checkpoint of the proxies on traces, the last by all comparators, and the targets by accuracy."""
        targets = [run for run in self.runs() if (run.size, run.tokens) == self.setting.target]
        proxies = [run for run in self.runs() if run not in targets]
        self.sweep("traces", [run.folder for run in proxies], TRACE_TASKS)
        self.sweep("answers", [run.checkpoint(run.tokens) for run in proxies], ANSWER_TASKS)
        self.sweep("targets", [run.checkpoint(run.tokens) for run in targets], TARGET_TASKS)

    def sweep(self, name: str, sources: Sequence[Path], tasks: Sequence[str]) -> None:
        """Run ``rbridge sweep`` on checkpoints or run folders."""
        names = [task.format(family) for task in tasks for family in world.FAMILIES]
        rbridge(
            "sweep", *map(str, sources), "-o", str(self.out / name), "--tasks", ",".join(names), "--num-fewshot", "0",
            "--batch-size", "64", "--jobs", str(self.jobs), "--device", self.device,
            "--metadata", json.dumps({"rbridge_cache": str(self.out / "cache")}),
            "--", "--gen_kwargs", f"max_gen_toks={benchmarks.WRITTEN_TOKENS}",
        )  # fmt: skip

    def analyse(self) -> None:
        """Answer the protocol's questions."""
        analysis.analyse(self.out, self.setting.ladder)


def saves(tokens: int, kept: int) -> tuple[int, ...]:
    """Token counts at the ends of ``kept`` equal parts of a run, in whole steps."""
    steps = tokens // TOKENS_PER_STEP
    return tuple(steps * part // kept * TOKENS_PER_STEP for part in range(1, kept + 1))


def rbridge(*arguments: str) -> None:
    """Run the ``rbridge`` command; end with its exit code if it fails."""
    status = subprocess.call([sys.executable, "-m", "rbridge_tasks", *arguments])
    if status:
        sys.exit(f"rbridge {' '.join(arguments[:2])} ended with code {status}; run the same command again to continue")


def _start_worker() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--out", type=Path, default=Path("replication_out"), help="folder of all files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs that are trained or scored at once")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    _start_worker()
    replication = Replication(SETTINGS[args.setting], args.out.resolve(), args.jobs, args.device)
    for name in args.stages:
        replication.stage(name)


if __name__ == "__main__":
    main()
