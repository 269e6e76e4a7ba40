"""A process that scores shards in turn by lm-eval's own command. It is started as a module and reads its stdin.

It reads a line of JSON for each shard and prints one when the results are in place. Any error ends the process: its
output is in the shard's log, and a new process scores the next shard. It also ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import sys
import threading
import time
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

from rbridge_tasks.harness.command_process import prepare_command
from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.identity import contents, files_of, stamps
from rbridge_tasks.sweeping.shards import OutputFolder, Reference, Shard, ShardRecord

_LONGEST_NAME = 240


def score(shard: Shard, folder: OutputFolder, *, first: bool) -> float:
    """Score a shard and put its results in place. What an earlier attempt finished of it is taken over.

    Args:
        first: whether it is the first of this process, whose start is part of its time.

    Returns:
        Seconds that it took.

    Raises:
        SweepError: lm-eval left no results, or the checkpoint was changed meanwhile, or is gone.
    """
    from rbridge_tasks.harness.lm_eval_command import run_lm_eval
    from rbridge_tasks.tables.trace_samples import keep_token_scores_only

    started = time.monotonic()
    checkpoint, name = shard.checkpoint, shard.name
    if checkpoint.is_local and not Path(checkpoint.pretrained).is_dir():
        raise SweepError(
            f"{checkpoint.label} is no longer there; its trainer keeps fewer checkpoints than are waiting, perhaps"
        )
    files = files_of(checkpoint, shard.settings)
    seen = contents(files)
    identity = json.dumps([checkpoint.commit, sorted((path, state.sha256) for path, state in seen.items())])
    work = folder.work / f"{name}.{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    written = work / f"out-{uuid.uuid4().hex}"  # another job may score it too, on a node that was given up too early
    written.mkdir(parents=True)
    # Given a folder, lm-eval adds one named after the model's whole path, which may exceed the 255 bytes of a name.
    long = len(checkpoint.pretrained.replace("/", "__").encode(errors="replace")) > _LONGEST_NAME
    output = written / "results.json" if long else written
    kept = ["--output_path", str(output), "--log_samples", "--use_cache", str(work / "answers")]
    run_lm_eval([*shard.settings.arguments(checkpoint), *kept], shard.settings.tasks)
    results = _results(written, folder.log(name))
    loaded = results.get("config", {}).get("model_sha")
    moved = not checkpoint.is_local and loaded and loaded != checkpoint.commit
    if moved or stamps(files) != {path: state.stamps for path, state in seen.items()}:
        raise SweepError(
            f"{checkpoint.label} was written to while it was scored; start the sweep again when it is finished"
        )
    if not shard.settings.keep_samples:
        keep_token_scores_only(written)
    seconds = time.monotonic() - started
    packages = ("rbridge-tasks", "lm_eval", "torch", "transformers")
    record = ShardRecord(
        checkpoint=Reference(pretrained=checkpoint.pretrained, revision=checkpoint.revision, commit=checkpoint.commit),
        tasks=shard.settings.tasks,
        settings=shard.settings.decisive(checkpoint),
        files=seen,
        traces=_traces(results),
        seconds=round(seconds, 3),
        with_start=first,
        versions={package: metadata.version(package) for package in packages},
    )
    folder.finish(shard, written, record)
    folder.clear_work(name)
    return seconds


def _results(written: Path, log: Path) -> dict[str, Any]:
    """The results that lm-eval wrote. A failure to write is only a line in its log."""
    files = [*written.rglob("results_*.json")]
    if len(files) != 1:
        raise SweepError(f"lm-eval wrote {len(files)} results files where one was expected; see {log}")
    results: dict[str, Any] = json.loads(files[0].read_bytes())
    for task in results.get("configs", {}):
        if not [*written.rglob(f"samples_{task}_*.jsonl")]:
            raise SweepError(f"lm-eval wrote no samples of {task}; see {log}")
    return results


def _traces(results: dict[str, Any]) -> dict[str, Any]:
    """Origin of the traces of each of our tasks."""
    configs = results["configs"].items()
    origins = {task: (config.get("metadata") or {}).get("rbridge_traces") for task, config in configs}
    kept = ("location", "source", "sample", "files")
    return {task: {key: traces.get(key) for key in kept} for task, traces in origins.items() if traces}


def main() -> None:
    """Score what stdin asks for until it ends."""
    prepare_command()
    if "SLURM_JOB_ID" in os.environ:  # Slurm signals all processes of a job; the parent process decides
        for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(waiting, busy), daemon=True).start()
    first = True
    while line := waiting.get():
        request = json.loads(line)
        folder, shard = OutputFolder(request["folder"]), Shard.from_dict(request["shard"])
        with folder.log(shard.name).open("wb") as log:
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
        seconds, first = score(shard, folder, first=first), False
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        busy.clear()
        print(json.dumps({"shard": shard.name, "seconds": seconds}), file=answers, flush=True)


def _listen(waiting: queue.SimpleQueue[str], busy: threading.Event) -> None:
    """Queue the lines of stdin. When it ends, end a score that is under way at once."""
    for line in sys.stdin:
        busy.set()
        waiting.put(line)
    if busy.is_set():
        os._exit(1)
    waiting.put("")


if __name__ == "__main__":
    main()
