"""A job of Slurm: it scores its shards with one worker, as a sweep on one machine does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rbridge_tasks.sweeping.local import LocalExecutor
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.scoring_loop import score_all
from rbridge_tasks.sweeping.shards import OutputFolder, Shard


class ScoreShards:
    """Scores the missing ones among its shards, so it can be started again at any time.

    Args:
        root: the sweep's folder, on a disk that all nodes see.
        shards: to score in turn.
    """

    def __init__(self, root: str, shards: Sequence[Shard]) -> None:
        self._root = root
        self._shards = [shard.to_dict() for shard in shards]

    def __call__(self) -> None:
        """Score missing shards; failures are recorded in the sweep's folder."""
        folder = OutputFolder(self._root)
        missing = [shard for shard in map(Shard.from_dict, self._shards) if not folder.has(shard.name)]
        executor = LocalExecutor(folder)
        try:
            with Progress(len(missing), sys.stdout) as progress:
                score_all(missing, executor, folder, progress, give_up=False)
        finally:
            executor.end()

    def checkpoint(self) -> Any:
        """The job to queue again after a preemption or time limit: the same, because finished shards are skipped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
