"""What a job of Slurm does: score its shards with a worker of its own, as a sweep on one machine does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rbridge_tasks.sweeping.local import LocalExecutor
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.shards import OutputFolder, Shard, shard_of
from rbridge_tasks.sweeping.sweep import run


class ScoreShards:
    """Scores those of its shards that are missing, so that it may be started again at any time.

    Args:
        root: the sweep's folder, on a disk that all nodes see.
        shards: to score in turn.
    """

    def __init__(self, root: str, shards: Sequence[Shard]) -> None:
        self._root = root
        self._shards = [shard.as_json() for shard in shards]

    def __call__(self) -> None:
        """Score what is missing; what fails is noted in the sweep's folder."""
        folder = OutputFolder(self._root)
        missing = [shard for shard in map(shard_of, self._shards) if not folder.has(shard.name)]
        executor = LocalExecutor(folder)
        try:
            with Progress(len(missing), sys.stdout) as progress:
                run(missing, executor, folder, progress, give_up=False)
        finally:
            executor.end()

    def checkpoint(self) -> Any:
        """What is queued again when the job is preempted or out of time: the same, for what is finished is skipped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
