"""``rbridge sweep`` from Python: the plan of a request, and its run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.executor import Executor
from rbridge_tasks.sweeping.local import LocalExecutor
from rbridge_tasks.sweeping.plan import SweepPlan, plan
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.request import SweepRequest, SweepResult, Watch
from rbridge_tasks.sweeping.scoring_loop import Tally, score_all, watch
from rbridge_tasks.sweeping.shards import OutputFolder, Shard, cannot_write
from rbridge_tasks.sweeping.slurm import SlurmExecutor
from rbridge_tasks.sweeping.watching import Watcher, reached
from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.rows import Note, counted
from rbridge_tasks.tables.score_table import write_scores
from rbridge_traces.files import LockedError, locked

Say = Callable[[str], None]


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
    """Let one sweep at a time work in a folder. A process that dies releases it.

    Raises:
        SweepError: another sweep is at work there, or nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.root / ".lock", wait=False))
        except LockedError as error:
            raise SweepError(
                f"another rbridge sweep is at work in {folder.root}; wait for it, or give another --output"
            ) from error
        except OSError as error:
            raise cannot_write(folder.root, error) from error
        yield


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
            return SweepResult(str(folder.root), scored=progress.scored, stopped=True, interrupted=True)
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
            progress.say(f"the watch was ended with {progress.scored} scored" + (f"; {how}" if unfinished else ""))
            return SweepResult(str(folder.root), scored=progress.scored, stopped=True, interrupted=unfinished)
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
