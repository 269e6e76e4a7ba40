"""Run evaluations in processes that are killed at random moments and restarted; used by ``test_resume_kills.py``.

Modules are imported once and each evaluation is a fork, so that dozens of them take about as long as a few starts of
``lm_eval``. Results and events are written to files that the test reads.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = ["rbridge_gsm8k", "rbridge_arc_challenge"]
OPTIONS = {"rbridge_weights": "spans", "rbridge_cache": "sample"}


def evaluate(checkpoint: Path, cache: Path, output: Path, task_manager: Any, rank: int, ranks: int) -> None:
    """Score the sample with span weights under ``use_cache``; rank 0 writes results and samples at the end.

    A file beside the output gets a character for each event: F for a forward pass, D for a batch written to the store.
    """
    import torch
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM

    sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))
    from one_rank import GlooAccelerator
    from transformers import LlamaForCausalLM

    from rbridge_tasks.resume.store import ScoreStore

    events = os.open(output.with_suffix(f".events{rank}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def noted(function: Any, before: bytes, after: bytes) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            os.write(events, before)
            result = function(*args, **kwargs)
            os.write(events, after)
            return result

        return wrapped

    setattr(LlamaForCausalLM, "forward", noted(LlamaForCausalLM.forward, b"F", b""))  # noqa: B010  # a method, for mypy
    setattr(ScoreStore, "append", noted(ScoreStore.append, b"", b"D"))  # noqa: B010
    evaluator.add_env_info = lambda _results: None  # the original runs pip, which takes longer than the evaluation
    lm = HFLM(pretrained=str(checkpoint), device="cpu", batch_size=2)
    if ranks > 1:
        meeting_point = f"file://{output.with_suffix('.meeting')}"
        torch.distributed.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=ranks)
        lm._rank, lm._world_size, lm.accelerator = rank, ranks, GlooAccelerator()
    results = evaluator.simple_evaluate(
        model=lm, tasks=TASKS, task_manager=task_manager, num_fewshot=1, use_cache=str(cache), log_samples=True
    )
    if results is not None:
        output_fields = {name: results[name] for name in ("results", "samples")}
        output.with_suffix(".tmp").write_text(json.dumps(output_fields, default=str, sort_keys=True))
        output.with_suffix(".tmp").rename(output)
    output.with_suffix(".modules").write_text("\n".join(sys.modules))


def forked(function: Callable[[], None], log: Path) -> int:
    """Call the function in a fork, which then exits; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            function()
        code = 0
    except BaseException:  # no caller would print it
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def kept_bytes(cache: Path) -> int:
    """Total size of the score files of a cache."""
    return sum(file.stat().st_size for file in Path(f"{cache}_rbridge").rglob("*.scores"))


@dataclass
class Runs:
    """Starts evaluations of one checkpoint."""

    checkpoint: Path
    root: Path
    task_manager: Any

    def start(self, name: str, cache: Path, ranks: int = 1) -> list[int]:
        """Start the ranks of a run; return their process ids."""
        output = self.root / f"{name}.json"
        return [
            forked(
                functools.partial(evaluate, self.checkpoint, cache, output, self.task_manager, rank, ranks),
                output.with_suffix(f".log{rank}"),
            )
            for rank in range(ranks)
        ]

    def end(self, name: str, children: Sequence[int]) -> None:
        """Wait for a run; raise an error if it fails."""
        for rank, child in enumerate(children):
            if os.waitpid(child, 0)[1]:
                raise RuntimeError((self.root / f"{name}.log{rank}").read_text()[-3000:])

    def kill(self, children: Sequence[int], cache: Path, size: int, delay: float) -> None:
        """Kill a run ``delay`` seconds after the cache has ``size`` bytes, or after the run's end."""
        while (
            kept_bytes(cache) < size and os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.0005)
        time.sleep(delay)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)

    def chain(self, name: str, kills: int, total: int, *, ranks: int = 1) -> None:
        """Start and kill a run ``kills`` times, then let it end; the runs are ``NAME-0``, ``NAME-1``, ..."""
        random_moments, cache = random.Random(name), self.root / f"cache-{name}"
        for number, part in enumerate(sorted(random_moments.random() for _ in range(kills))):
            children = self.start(f"{name}-{number}", cache, ranks)
            self.kill(children, cache, int(part * total), random_moments.uniform(0, 0.03))
        last = f"{name}-{kills}"
        self.end(last, self.start(last, cache, ranks))


def main(checkpoint: str, folder: str, chains: str, kills: str) -> None:
    """Make all runs: one without kills, killed ones, two at the same time, and some with two ranks."""
    from lm_eval.tasks import TaskManager

    from rbridge_tasks.harness.task_folder import TASKS_PATH

    root = Path(folder)
    manager = TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=OPTIONS)
    runs = Runs(Path(checkpoint), root, manager)
    runs.end("whole", runs.start("whole", root / "cache-whole"))
    for module in (root / "whole.modules").read_text().splitlines():
        with contextlib.suppress(Exception):  # some modules can only be imported by others
            importlib.import_module(module)
    total = kept_bytes(root / "cache-whole")
    for chain in range(int(chains)):
        runs.chain(str(chain), int(kills), total)
    twins = [(name, runs.start(name, root / "cache-twins")) for name in ("twin-0", "twin-1")]
    for name, children in twins:
        runs.end(name, children)
    runs.end("twins-later", runs.start("twins-later", root / "cache-twins"))
    runs.end("ranks-whole", runs.start("ranks-whole", root / "cache-ranks-whole", ranks=2))
    runs.chain("ranks", 2, total, ranks=2)
    runs.end("ranks-later", runs.start("ranks-later", root / "cache-ranks"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
