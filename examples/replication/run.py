"""The replication, from an empty folder to its report.

    python examples/replication/run.py full --out replication_out

Every stage skips what is done already, and a killed run continues where it was. Files and who writes them:

    corpora/<candidate>-<tokens>.npy          corpora.py               token ids
    frontier/<size>/step*                     train.py                 the frontier model
    runs/<candidate>-seed<seed>/<size>/step*  train.py                 proxies and targets
    ladder/<candidate>-<part>-seed<seed>/..   train.py                 shorter proxies, for the ladder
    written/<family>.jsonl                    benchmarks.py            the frontier's solutions
    written/<family>/, cache/<family>/        rbridge traces import, score   the same as traces, and with confidences
    traces/, proxies/, answers/, targets/     rbridge sweep            scores.parquet; token scores of every trace
    results/seed<seed>/                       results.py               the tables that are kept
    analysis/                                 analysis.py              tables, output of every command, report.html

``full`` is the protocol's setting; ``quick`` shows in minutes that all of it runs, and nothing else. With ``--seeds 1``
only the runs of that seed are trained and scored, and the analysis takes all seeds that have results. With ``--traces``
the traces of an earlier replication are taken, and no frontier model is trained.
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
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import corpora
import results
import torch
import transformers
import world
from analysis import Analysis
from train import TOKENS_PER_STEP, Run, train

import benchmarks

STAGES = ("corpora", "train", "traces", "score", "results", "analyse")
TRACE_TASKS = ("rbridge_{}",)
PROXY_TASKS = ("rbridge_proxies_{}",)
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
        saved: shares of a proxy's run after which a checkpoint is saved: thirds, and five in the last fifth, which
            ``rbridge noise`` needs.
    """

    candidates: tuple[str, ...]
    proxies: dict[str, int]
    target: tuple[str, int]
    frontier: tuple[str, int]
    seeds: tuple[int, ...] = (0, 1)
    ladder: tuple[str, ...] = ()
    items: int = 300
    saved: tuple[Fraction, ...] = tuple(map(Fraction, ("1/3", "2/3", "4/5", "17/20", "9/10", "19/20", "1")))


M = 2000 * TOKENS_PER_STEP  # 1,024,000 tokens
SETTINGS = {
    "full": Setting(
        candidates=tuple(corpora.CANDIDATES),
        proxies={"0.05M": M // 2, "0.15M": M // 2, "0.4M": M // 2},
        target=("1M", M * 5 // 2),
        frontier=("2.3M", 4 * M),
        ladder=("clean", "filler80", "wrong50"),
    ),
    "quick": Setting(
        candidates=("clean", "answers100"),
        proxies={"0.05M": M // 8},
        target=("0.15M", M // 4),
        frontier=("0.15M", M // 2),
        seeds=(0,),
        items=30,
    ),
}


@dataclass(frozen=True)
class Replication:
    """One setting in one folder."""

    setting: Setting
    out: Path
    jobs: int
    device: str
    compiled: bool = False
    traces: Path | None = None

    def stage(self, name: str) -> None:
        """Run one of ``STAGES``."""
        began = time.monotonic()
        {
            "corpora": self.write_corpora,
            "train": self.train,
            "traces": self.write_traces,
            "score": self.score,
            "results": self.gather,
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
            saved = (Fraction(1),) if (size, tokens) == setting.target else setting.saved
            for name in setting.candidates:
                for seed in setting.seeds:
                    folder = self.out / "runs" / f"{name}-seed{seed}" / size
                    yield Run(folder, self.corpus(name, most), size, seed, tokens, saves(tokens, saved))
        for size, tokens in setting.proxies.items() if 0 in setting.seeds else ():
            for name in setting.ladder:
                for part, share in (("half", 2), ("quarter", 4)):
                    folder = self.out / "ladder" / f"{name}-{part}-seed0" / size
                    part_tokens = tokens // share // TOKENS_PER_STEP * TOKENS_PER_STEP
                    yield Run(folder, self.corpus(name, most), size, 0, part_tokens, saves(part_tokens, setting.saved))

    def corpus(self, name: str, tokens: int) -> Path:
        """File of a corpus."""
        return self.out / "corpora" / f"{name}-{tokens}.npy"

    def write_corpora(self) -> None:
        """Generate the token ids of all candidates and of the frontier's corpus."""
        world.tokenizer().save_pretrained(self.out / "tokenizer")
        with ProcessPoolExecutor(self.jobs) as workers:
            list(workers.map(corpora.write_corpus, {run.corpus: None for run in self.all_runs()}))

    def all_runs(self) -> list[Run]:
        """The runs to train: the frontier model's where its traces are not given, then all others."""
        return [*([] if self.traces else [self.frontier]), *self.runs()]

    def train(self) -> None:
        """Train what is not trained yet, ``jobs`` runs at once."""
        waiting = [run for run in self.all_runs() if not run.is_finished]
        with ProcessPoolExecutor(self.jobs, initializer=_start_worker) as workers:
            started = {workers.submit(train, run, device=self.device, compiled=self.compiled): run for run in waiting}
            for number, finished in enumerate(as_completed(started), 1):
                finished.result()
                print(f"  {number} of {len(waiting)}: {started[finished].folder.relative_to(self.out)}", flush=True)

    def write_traces(self) -> None:
        """Let the frontier model solve the benchmarks, and store its solutions with its confidences."""
        if self.traces:
            return
        checkpoint, written = self.frontier.checkpoint(self.frontier.tokens), self.out / "written"
        for family in world.FAMILIES:
            path = written / f"{family}.jsonl"
            if not path.exists():
                accuracy = benchmarks.write_traces(checkpoint, family, self.setting.items, path)
                print(f"  {family}: the frontier model solves {accuracy:.0%}", flush=True)
            rbridge(*benchmarks.import_command(family, path, written))
        frontier = checkpoint.relative_to(self.out)  # the name of the model in the cache and in every score table
        rbridge(*benchmarks.score_command(frontier, written, self.out / "cache"), cwd=self.out)

    def score(self) -> None:
        """Score the proxies on traces, their last checkpoints by every other metric, and the targets by accuracy."""
        targets = [run for run in self.runs() if (run.size, run.tokens) == self.setting.target]
        proxies = [run for run in self.runs() if run not in targets]
        last = [run.checkpoint(run.tokens) for run in proxies]
        self.sweep("traces", [run.folder for run in proxies], TRACE_TASKS)
        self.sweep("proxies", last, PROXY_TASKS)
        self.sweep("answers", last, ANSWER_TASKS)
        self.sweep("targets", [run.checkpoint(run.tokens) for run in targets], TARGET_TASKS)

    def sweep(self, name: str, sources: Sequence[Path], tasks: Sequence[str]) -> None:
        """Run ``rbridge sweep`` on checkpoints or run folders."""
        names = [task.format(family) for task in tasks for family in world.FAMILIES]
        rbridge(
            "sweep", *map(str, sources), "-o", str(self.out / name), "--tasks", ",".join(names), "--num-fewshot", "0",
            "--batch-size", "64", "--jobs", str(self.jobs), "--device", self.device,
            "--metadata", json.dumps({"rbridge_cache": str(self.traces or self.out / "cache")}),
            "--", "--gen_kwargs", f"max_gen_toks={benchmarks.WRITTEN_TOKENS}",
        )  # fmt: skip

    def gather(self) -> None:
        """Write the tables of each seed."""
        for seed in self.setting.seeds:
            results.gather(self.out, seed, self.out / "results" / f"seed{seed}")

    def analyse(self) -> None:
        """Answer the protocol's questions."""
        Analysis(self.out / "results", self.out / "analysis").run()


def saves(tokens: int, shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Token counts after these shares of a run, rounded down to whole steps."""
    steps = tokens // TOKENS_PER_STEP
    return tuple(int(steps * share) * TOKENS_PER_STEP for share in shares)


def rbridge(*arguments: str, cwd: Path | None = None) -> None:
    """Run the ``rbridge`` command; end with its exit code if it fails."""
    status = subprocess.call([sys.executable, "-m", "rbridge_tasks", *arguments], cwd=cwd)
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
    parser.add_argument("--compile", action="store_true", help="compile models for training; needs a C++ compiler")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of proxies and targets; default: the setting's")
    parser.add_argument("--traces", type=Path, help="cache folder of traces with confidences; default: make them")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    _start_worker()
    if args.traces and not args.traces.is_dir():
        parser.error(
            f"--traces: there is no folder {args.traces}; give a cache of traces, as <out>/cache of a replication"
        )
    setting = SETTINGS[args.setting]
    if args.seeds:
        setting = replace(setting, seeds=tuple(args.seeds))
    traces = args.traces.resolve() if args.traces else None
    replication = Replication(setting, args.out.resolve(), args.jobs, args.device, args.compile, traces)
    for name in args.stages:
        replication.stage(name)


if __name__ == "__main__":
    main()
