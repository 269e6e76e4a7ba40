"""A process that scores shards one after the other by lm-eval's own command; started as a module, told on its stdin.

It reads a line of JSON for each shard and answers with one when its results are in place. Whatever goes wrong ends the
process: what it printed is in the shard's log, and a new one goes on with the next shard, with nothing left over from
the failure. It also ends when its starter is gone.
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
from rbridge_tasks.sweeping.checkpoints import SweepError
from rbridge_tasks.sweeping.identity import contents, files_of, stamps
from rbridge_tasks.sweeping.shards import OutputFolder, Shard, decisive, shard_of


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

    started = time.monotonic()
    one, name = shard.checkpoint, shard.name
    if one.is_local and not Path(one.pretrained).is_dir():
        raise SweepError(
            f"{one.label} is no longer there; its trainer keeps fewer checkpoints than are waiting, perhaps"
        )
    files = files_of(one, shard.settings)
    seen = contents(files)
    identity = json.dumps([one.commit, sorted((path, entry["sha256"]) for path, entry in seen.items())])
    work = folder.work / f"{name}.{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    written = work / f"out-{uuid.uuid4().hex}"  # a twin, on a node that was given up too early, may be at it as well
    written.mkdir(parents=True)
    kept = ["--output_path", str(written), "--log_samples", "--use_cache", str(work / "answers")]
    run_lm_eval([*shard.settings.arguments(one), *kept], shard.settings.tasks)
    results = _results(written, folder.log(name))
    loaded = results.get("config", {}).get("model_sha")
    moved = not one.is_local and loaded and loaded != one.commit
    if moved or stamps(files) != {path: entry["stamps"] for path, entry in seen.items()}:
        raise SweepError(f"{one.label} was written to while it was scored; start the sweep again when it is finished")
    seconds = time.monotonic() - started
    record = {
        "checkpoint": {"pretrained": one.pretrained, "revision": one.revision, "commit": one.commit},
        "tasks": [*shard.settings.tasks],
        "settings": decisive(one, shard.settings),
        "files": seen,
        "traces": _traces(results),
        "seconds": round(seconds, 3),
        "with_start": first,
        "versions": {name: metadata.version(name) for name in ("rbridge-tasks", "lm_eval", "torch", "transformers")},
    }
    folder.finish(shard, written, record)
    folder.clear_work(name)
    return seconds


def _results(written: Path, log: Path) -> dict[str, Any]:
    """What lm-eval wrote. It goes on after a failure to write, with a line in its log."""
    found = [*written.rglob("results_*.json")]
    if len(found) != 1:
        raise SweepError(f"lm-eval wrote {len(found)} results files where one was expected; see {log}")
    results: dict[str, Any] = json.loads(found[0].read_bytes())
    for task in results.get("configs", {}):
        if not [*written.rglob(f"samples_{task}_*.jsonl")]:
            raise SweepError(f"lm-eval wrote no samples of {task}; see {log}")
    return results


def _traces(results: dict[str, Any]) -> dict[str, Any]:
    """Where the traces of each of our tasks came from."""
    noted = {task: (config.get("metadata") or {}).get("rbridge_traces") for task, config in results["configs"].items()}
    kept = ("location", "source", "sample", "files")
    return {task: {key: traces.get(key) for key in kept} for task, traces in noted.items() if traces}


def main() -> None:
    """Answer what comes on stdin until it ends."""
    prepare_command()
    if "SLURM_JOB_ID" in os.environ:  # Slurm signals all processes of a job; the one that started this one decides
        for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(waiting, busy), daemon=True).start()
    first = True
    while line := waiting.get():
        asked = json.loads(line)
        folder, shard = OutputFolder(asked["folder"]), shard_of(asked["shard"])
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
    """Hand on what is asked. When nobody is left to ask, end at once what is under way."""
    for line in sys.stdin:
        busy.set()
        waiting.put(line)
    if busy.is_set():
        os._exit(1)
    waiting.put("")


if __name__ == "__main__":
    main()
