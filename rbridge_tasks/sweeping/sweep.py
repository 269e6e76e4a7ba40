"""``rbridge sweep`` from Python: what is asked for, the plan, the run, and its result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import filelock
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.atomic import plain
from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.executor import Executor
from rbridge_tasks.sweeping.local import LocalExecutor
from rbridge_tasks.sweeping.plan import SweepPlan, plan
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.scoring_loop import FailedShard, Tally, score_all, watch
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard
from rbridge_tasks.sweeping.slurm import SlurmExecutor, SlurmOptions
from rbridge_tasks.sweeping.watching import SETTLE_SECONDS, Watcher, reached
from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.rows import Note, counted
from rbridge_tasks.tables.score_table import write_scores

Say = Callable[[str], None]


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


def plan_sweep(request: SweepRequest) -> SweepPlan:
    """Compare a request with what is scored already. Nothing is written.

    Raises:
        SweepError: a checkpoint was scored with other settings.
    """
    folder = OutputFolder(request.output)
    if isinstance(request.source, Watch):
        return _watcher(request, request.source, folder, settle_seconds=0)()
    return plan(request.source, request.settings, folder)


def sweep(request: SweepRequest, *, say: Say = lambda _: None) -> SweepResult:
    """Score checkpoints on lm-eval tasks, each loaded once, into one score table. The same request resumes.

    Args:
        request: the checkpoints, the settings and the place.
        say: is called with each line on checkpoints that are skipped or scored again.

    Raises:
        SweepError: the folder cannot be written or another sweep uses it; a checkpoint was scored with other settings;
            Slurm refuses the jobs.
    """
    folder = OutputFolder(request.output)
    folder.make()
    with only_sweep(folder):
        executor: Executor = (
            SlurmExecutor(folder, request.slurm) if request.slurm else LocalExecutor(folder, request.jobs)
        )
        try:
            if isinstance(request.source, Watch):
                return _follow(request, request.source, folder, executor, say)
            return _score(request, folder, executor, say)
        finally:
            executor.end()


@contextlib.contextmanager
def only_sweep(folder: OutputFolder) -> Iterator[None]:
    """Let one sweep at a time work in a folder. The lock ends with its process.

    Raises:
        SweepError: another sweep works there.
    """
    lock = filelock.FileLock(folder.root / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise SweepError(
            f"another rbridge sweep is at work in {folder.root}; wait for it, or give another --output"
        ) from error
    except (NotImplementedError, OSError):  # a disk without locks
        pass
    try:
        yield
    finally:
        lock.release()


def _score(request: SweepRequest, folder: OutputFolder, executor: Executor, say: Say) -> SweepResult:
    planned = plan_sweep(request)
    _set_aside(planned, folder, say)
    if scored_before := len(planned.in_state("scored")):
        say(f"{scored_before} of {counted(len(planned.checkpoints), 'checkpoint')} scored before")
    for checkpoint in planned.in_state("incomplete"):
        say(f"{checkpoint.checkpoint.label} is left for later: {checkpoint.why}")
    shards = planned.to_score
    with Progress(len(shards)) as progress:
        try:
            tally = score_all(shards, executor, folder, progress)
        except KeyboardInterrupt:
            how = executor.interrupted()
            progress.say(f"interrupted with {progress.done} of {counted(len(shards), 'checkpoint')} done; {how}")
            return SweepResult(str(folder.root), scored=progress.done, stopped=True, interrupted=True)
    return _result(request, folder, planned, tally)


def _follow(request: SweepRequest, source: Watch, folder: OutputFolder, executor: Executor, say: Say) -> SweepResult:
    watcher = _watcher(request, source, folder, settle_seconds=source.settle_seconds)
    seen = SweepPlan()

    def find_new() -> list[Shard]:
        new = watcher()
        _set_aside(new, folder, say)
        seen.checkpoints += [planned for planned in new.checkpoints if planned.state != "incomplete"]
        return new.to_score

    def ended(finished: Sequence[Shard], idle_seconds: float) -> bool:
        if source.until is not None and reached(finished, watcher.scored_steps, source.until):
            return True
        return source.idle_seconds is not None and idle_seconds >= source.idle_seconds

    def renew_table() -> None:
        make_table(request, folder)

    with Progress(0) as progress:
        try:
            progress.say(f"watching {', '.join(source.folders)}; Ctrl-C ends")
            tally = watch(
                find_new, executor, folder, progress,
                after_each=renew_table, ended=ended, poll_seconds=source.poll_seconds,
            )  # fmt: skip
        except KeyboardInterrupt:
            unfinished = bool(executor.shards_left)
            how = executor.interrupted()
            progress.say(f"the watch was ended with {progress.done} scored" + (f"; {how}" if unfinished else ""))
            return SweepResult(str(folder.root), scored=progress.done, stopped=True, interrupted=unfinished)
    for path, why in watcher.waiting.items():
        say(f"{path.name} was not complete: {why}")
    return _result(request, folder, seen, tally)


def _watcher(request: SweepRequest, source: Watch, folder: OutputFolder, *, settle_seconds: float) -> Watcher:
    return Watcher(
        source.folders, request.settings, folder, settle_seconds=settle_seconds, include_final=request.include_final
    )


def _set_aside(planned: SweepPlan, folder: OutputFolder, say: Say) -> None:
    """Move outdated shards out of the results."""
    for checkpoint in planned.checkpoints:
        for name in checkpoint.replaced:
            place = folder.put_aside(name).relative_to(folder.root)
            say(f"{checkpoint.checkpoint.label}: {checkpoint.why}; its scores are in {place} now")


def make_table(request: SweepRequest, folder: OutputFolder) -> tuple[Collected | None, list[Note]]:
    """Collect all shards into ``scores.parquet`` and ``scores.csv``; a note says why there is no table."""
    if not any(True for _ in folder.records()):
        return None, []
    try:
        scores = collect(
            folder.shards, runs=request.runs, metrics=request.metrics, include_sample=request.include_sample
        )
        for suffix in ("parquet", "csv"):
            write_scores(scores.table, folder.root / f"scores.{suffix}")
    except RBridgeError as error:
        return None, [Note("no table", 1, f"no score table: {error}")]
    return scores, scores.notes


def _result(request: SweepRequest, folder: OutputFolder, planned: SweepPlan, tally: Tally) -> SweepResult:
    scores, notes = make_table(request, folder)
    return SweepResult(
        str(folder.root),
        scored=tally.scored,
        scored_before=len(planned.in_state("scored")),
        incomplete=tuple(checkpoint.checkpoint.label for checkpoint in planned.in_state("incomplete")),
        failed=tuple(tally.failed),
        scores=scores,
        notes=tuple(notes),
    )
