"""Score shards on this machine: by one worker process, or by one for each of several GPUs."""

from __future__ import annotations

import itertools
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, cast

from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.executor import Executor, Outcome
from rbridge_tasks.sweeping.shards import OutputFolder, Shard

#: Models that can be replaced in a process; others start processes of their own, which keep the memory.
_REPLACED_IN_PLACE = ("hf", "huggingface", "hf-auto")
_IDLE_SECONDS = 60.0  # after which a worker that waits for checkpoints gives its memory back
_TO_END_SECONDS = 5.0
_LONGEST_REASON = 400  # characters


class Worker:
    """A process that scores shards, and the shard that it scores now."""

    def __init__(self, folder: OutputFolder, environment: dict[str, str]) -> None:
        self.folder = folder
        self.shard: Shard | None = None
        self.since = time.monotonic()
        self.scored = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rbridge_tasks.sweeping.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # each shard has a log
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends its workers itself
        )
        self.answers = cast("IO[bytes]", self.process.stdout)

    def give(self, shard: Shard) -> None:
        """Have a shard scored."""
        self.shard, self.since = shard, time.monotonic()
        request = json.dumps({"folder": str(self.folder.root), "shard": shard.to_dict()}) + "\n"
        self.folder.log(shard.name).unlink(missing_ok=True)
        self.folder.failure_file(shard.name).unlink(missing_ok=True)
        stdin = cast("IO[bytes]", self.process.stdin)
        try:
            stdin.write(request.encode())
            stdin.flush()
        except BrokenPipeError:
            return  # the process has ended; its answers show that

    def answer(self) -> Outcome:
        """The outcome of the shard, to be called when the process has printed or ended. The worker is free after it."""
        shard = cast("Shard", self.shard)
        line = self.answers.readline()
        self.shard, self.since = None, time.monotonic()
        if line:
            self.scored += 1
            return Outcome(shard, seconds=json.loads(line)["seconds"], started=self.scored == 1)
        reason = _reason(self.folder, shard, self.process.wait())
        if self.folder.has(shard.name):  # another process was faster
            return Outcome(shard, seconds=self.folder.record(shard.name).seconds, started=True)
        self.folder.fail(shard.name, reason)
        return Outcome(shard, failure=reason)

    def end(self) -> None:
        """End the process, also while it scores."""
        cast("IO[bytes]", self.process.stdin).close()
        try:
            self.process.wait(_TO_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()


class LocalExecutor(Executor):
    """Scores shards in the order in which they were submitted.

    Args:
        folder: of the sweep.
        jobs: workers at once; with GPUs each sees its own.
    """

    def __init__(self, folder: OutputFolder, jobs: int = 1) -> None:
        self._folder, self._jobs = folder, jobs
        self._waiting: deque[Shard] = deque()
        self._workers: dict[int, Worker] = {}
        self._environments = _environments(jobs)

    @property
    def shards_left(self) -> list[Shard]:
        return [*self.at_work, *self._waiting]

    @property
    def at_work(self) -> list[Shard]:
        return [worker.shard for worker in self._workers.values() if worker.shard is not None]

    @property
    def at_once(self) -> int:
        return self._jobs

    @property
    def queued(self) -> int:
        return 0

    def submit(self, shards: Sequence[Shard]) -> None:
        self._waiting.extend(shards)
        self._assign()

    def wait(self, seconds: float) -> list[Outcome]:
        with selectors.DefaultSelector() as selector:
            for slot, worker in self._workers.items():
                if worker.shard is not None:
                    selector.register(worker.answers, selectors.EVENT_READ, slot)
            if not selector.get_map():
                time.sleep(seconds)
                ready = []
            else:
                ready = [key.data for key, _ in selector.select(seconds)]
        outcomes = []
        for slot in ready:
            worker = self._workers[slot]
            outcomes.append(worker.answer())
            reusable = outcomes[-1].shard.settings.model in _REPLACED_IN_PLACE
            if worker.process.poll() is not None or outcomes[-1].failure is not None or not reusable:
                self._workers.pop(slot).end()
        self._assign()
        return outcomes

    def cancel(self) -> None:
        self.end()

    def end(self) -> None:
        """End all workers. Finished batches of their shards are kept for the next sweep."""
        for slot in [*self._workers]:
            self._workers.pop(slot).end()
        self._waiting.clear()

    def interrupted(self) -> str:
        self.end()
        return "the same command goes on from here; finished batches are kept"

    def _assign(self) -> None:
        for slot in range(self._jobs):
            worker = self._workers.get(slot)
            if worker is not None and worker.shard is None and worker.process.poll() is not None:  # killed while idle
                self._workers.pop(slot).end()
                worker = None
            if self._waiting and (worker is None or worker.shard is None):
                if worker is None:
                    worker = self._workers[slot] = Worker(self._folder, self._environments[slot])
                worker.give(self._waiting.popleft())
            elif worker is not None and worker.shard is None and time.monotonic() - worker.since > _IDLE_SECONDS:
                self._workers.pop(slot).end()


def _reason(folder: OutputFolder, shard: Shard, returncode: int) -> str:
    """Why a worker ended, in a line: the error it printed, or the signal that killed it."""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"its process was killed by {name}" + ("; out of memory, perhaps" if name == "SIGKILL" else "")
    log = folder.log(shard.name)
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    ours = re.findall(r"^rbridge: error: (.+)", text, re.M)
    raised = [text[match.start() :] for match in re.finditer(r"^[\w.]+(?:Error|Exception|Interrupt)\b", text, re.M)]
    messages = ours or raised or text.splitlines() or [f"its process ended with exit code {returncode} and no word"]
    return " ".join(re.sub(r"^rbridge_tasks[\w.]+Error: ", "", messages[-1]).split())[:_LONGEST_REASON]


def _environments(jobs: int) -> list[dict[str, str]]:
    """Environment variables of each of several workers: the GPU that it sees, or its share of the processor."""
    if jobs == 1:
        return [{}]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        import torch

        devices = [str(index) for index in range(torch.cuda.device_count())]
    else:
        names = [device for device in visible.split(",") if device.strip()]
        devices = list(itertools.takewhile(lambda name: name.strip() != "-1", names))  # as CUDA reads them
    if not devices:
        threads = str(max((os.cpu_count() or 1) // jobs, 1))
        return [{} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": threads}] * jobs
    if jobs > len(devices):
        raise SweepError(f"--jobs {jobs}, and {len(devices)} visible GPUs; give at most one job a GPU")
    return [{"CUDA_VISIBLE_DEVICES": device} for device in devices[:jobs]]
