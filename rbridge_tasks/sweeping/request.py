"""A sweep as it is asked for, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.scoring_loop import FailedShard
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.slurm import SlurmOptions
from rbridge_tasks.sweeping.watching import SETTLE_SECONDS
from rbridge_tasks.tables.collect import Collected
from rbridge_tasks.tables.rows import Note
from rbridge_traces.files import plain


@dataclass(frozen=True)
class Watch:
    """How a live run is followed.

    Attributes:
        folders: of the runs; they need not exist yet.
        until: the watch ends after this step.
        idle_seconds: the watch ends after so long without a new checkpoint.
        poll_seconds: between two searches.
        settle_seconds: how long a checkpoint must stay unchanged.
    """

    folders: Sequence[str]
    until: float | None = None
    idle_seconds: float | None = None
    poll_seconds: float = 10.0
    settle_seconds: float = SETTLE_SECONDS


@dataclass(frozen=True)
class SweepRequest:
    """A sweep as it was asked for.

    Attributes:
        source: the checkpoints, see ``checkpoints.find``; or the live runs to watch.
        output: folder for shards, logs and the score table.
        settings: of lm-eval.
        include_final: score the model in a run's own folder beside its checkpoints too.
        jobs: checkpoints at once on this machine, on a GPU each.
        slurm: options of Slurm jobs; None for this machine.
        runs, metrics, include_sample: of the score table, see ``collect``.
    """

    source: Sequence[Checkpoint] | Watch
    output: str = "sweep"
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    include_final: bool = False
    jobs: int = 1
    slurm: SlurmOptions | None = None
    runs: str | None = None
    metrics: Sequence[str] = ()
    include_sample: bool = False


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep.

    Attributes:
        output: its folder.
        scored: checkpoints scored in this run.
        scored_before: checkpoints scored in earlier runs.
        incomplete: labels of checkpoints that are not written completely.
        failed: checkpoints that could not be scored.
        scores: the score table of all shards; None where there is none.
        notes: on the score table.
        stopped: Ctrl-C ended it, and the score table was not made.
        interrupted: Ctrl-C ended it with work left.
    """

    output: str
    scored: int = 0
    scored_before: int = 0
    incomplete: tuple[str, ...] = ()
    failed: tuple[FailedShard, ...] = ()
    scores: Collected | None = None
    notes: tuple[Note, ...] = ()
    stopped: bool = False
    interrupted: bool = False

    @property
    def table_file(self) -> str:
        """The file of the score table."""
        return f"{self.output}/scores.parquet"

    def to_frame(self) -> pd.DataFrame:
        """The score table.

        Raises:
            SweepError: there is none.
        """
        if self.scores is None:
            raise SweepError(f"the sweep {self.output} has no score table; see its notes and failures")
        return self.scores.table

    def to_dict(self) -> dict[str, Any]:
        """The summary as values that JSON can hold: what ``--json`` prints."""
        summary: dict[str, Any] = plain(
            {
                "output": self.output,
                "scored": self.scored,
                "scored_before": self.scored_before,
                "incomplete": self.incomplete,
                "failed": [asdict(failure) for failure in self.failed],
                "table": self.table_file if self.scores else None,
                "scores": len(self.scores.table) if self.scores else 0,
                "notes": [asdict(note) for note in self.notes],
            }
        )
        return summary
