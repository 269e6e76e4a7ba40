"""What ``rbridge sweep`` does once its options are read, and what it prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from rbridge_tasks.cli.output import note, print_json, print_table
from rbridge_tasks.sweeping.checkpoints import Checkpoint
from rbridge_tasks.sweeping.plan import Plan, plan
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.settings import Settings
from rbridge_tasks.sweeping.shards import OutputFolder
from rbridge_tasks.sweeping.sweep import (
    Executor,
    Finished,
    TableOptions,
    failures_text,
    only_sweep,
    renewed_table,
    run,
    set_aside,
    watch,
)
from rbridge_tasks.sweeping.watching import Watcher, reached
from rbridge_tasks.tables.rows import Note, counted
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from rbridge_tasks.tables.collect import Collected

_INTERRUPTED = 130
_FAILED = 1
_NOTES_SHOWN = 5


@dataclass(frozen=True)
class Course:
    """A sweep as it was asked for.

    Attributes:
        find: gives the checkpoints; None for a watch.
        watched: folders to watch.
        slurm: options of Slurm jobs; None for this machine.
    """

    output: str
    settings: Settings
    find: Callable[[], list[Checkpoint]] | None
    watched: Sequence[str]
    include_final: bool
    until: float | None
    idle_seconds: float | None
    poll_seconds: float
    settle_seconds: float
    jobs: int
    slurm: Mapping[str, Any] | None
    table: TableOptions


def run_course(course: Course, *, dry_run: bool, as_json: bool) -> int:
    """Make the sweep, and give the exit code: 0, 1 where a checkpoint failed, 130 where it was interrupted."""
    folder = OutputFolder(course.output)
    checkpoints = course.find() if course.find is not None else None
    if dry_run:
        _print_plan(_plan(course, folder, checkpoints), as_json=as_json)
        return 0
    folder.make()
    with only_sweep(folder):
        executor = _executor(course, folder)
        try:
            if checkpoints is None:
                return _watch(course, folder, executor, as_json=as_json)
            return _run(course, folder, executor, _plan(course, folder, checkpoints), as_json=as_json)
        finally:
            executor.end()


def _plan(course: Course, folder: OutputFolder, checkpoints: list[Checkpoint] | None) -> Plan:
    if checkpoints is not None:
        return plan(checkpoints, course.settings, folder)
    return Watcher(course.watched, course.settings, folder, settle_seconds=0, include_final=course.include_final)()


def _executor(course: Course, folder: OutputFolder) -> Executor:
    from rbridge_tasks.sweeping.local import LocalExecutor

    if course.slurm is None:
        return LocalExecutor(folder, course.jobs)
    from rbridge_tasks.sweeping.slurm import SlurmExecutor

    return SlurmExecutor(folder, **course.slurm)


def _run(course: Course, folder: OutputFolder, executor: Executor, planned: Plan, *, as_json: bool) -> int:
    set_aside(planned, folder, note)
    shards = planned.to_score
    if there := planned.count("scored"):
        note(f"{there} of {counted(len(planned.checkpoints), 'checkpoint')} scored before")
    for one in planned.checkpoints:
        if one.state == "incomplete":
            note(f"{one.checkpoint.label} is left for later: {one.why}")
    with Progress(len(shards)) as progress:
        try:
            finished = run(shards, executor, folder, progress)
        except KeyboardInterrupt:
            how = executor.interrupted()
            progress.say(f"interrupted with {progress.done} of {counted(len(shards), 'checkpoint')} done; {how}")
            return _INTERRUPTED
    found, notes = renewed_table(folder, course.table)
    _print_end(folder, planned, finished, found, notes, as_json=as_json)
    return _FAILED if finished.failed else 0


def _watch(course: Course, folder: OutputFolder, executor: Executor, *, as_json: bool) -> int:
    looking = Watcher(
        course.watched, course.settings, folder,
        settle_seconds=course.settle_seconds, include_final=course.include_final,
    )  # fmt: skip
    seen = Plan()

    def find() -> list[Any]:
        new = looking()
        set_aside(new, folder, note)
        seen.checkpoints += [one for one in new.checkpoints if one.state != "incomplete"]
        return new.to_score

    def ended(done: Sequence[Any], idle_seconds: float) -> bool:
        if course.until is not None and reached(done, looking.steps, course.until):
            return True
        return course.idle_seconds is not None and idle_seconds >= course.idle_seconds

    def renew() -> None:
        renewed_table(folder, course.table)

    with Progress(0) as progress:
        try:
            progress.say(f"watching {', '.join(course.watched)}; Ctrl-C ends")
            finished = watch(
                find, executor, folder, progress, renew=renew, ended=ended, poll_seconds=course.poll_seconds
            )
        except KeyboardInterrupt:
            left = executor.left
            how = executor.interrupted()
            progress.say(f"the watch was ended with {progress.done} scored" + (f"; {how}" if left else ""))
            return _INTERRUPTED if left else 0
    for path, why in looking.waiting.items():
        note(f"{path.name} was not complete: {why}")
    found, notes = renewed_table(folder, course.table)
    _print_end(folder, seen, finished, found, notes, as_json=as_json)
    return _FAILED if finished.failed else 0


def _print_plan(planned: Plan, *, as_json: bool) -> None:
    lines: list[dict[str, Any]] = [
        {
            "checkpoint": one.checkpoint.label,
            "run": one.checkpoint.named.run,
            "step": one.checkpoint.named.step,
            "tokens": one.checkpoint.named.tokens,
            "state": one.state,
            "why": one.why,
            "tasks": [*one.shard.settings.tasks] if one.shard else [],
        }
        for one in planned.checkpoints
    ]
    if as_json:
        print_json(lines)
        return
    rows = [
        [str(line["checkpoint"]), str(line["run"]), *(_count(line[name]) for name in ("step", "tokens")),
         str(line["state"]), ",".join(line["tasks"]), str(line["why"])]
        for line in lines
    ]  # fmt: skip
    print_table("", ("checkpoint", "run", "step", "tokens", "state", "tasks to score", "why"), rows)
    typer.echo(
        f"{len(planned.to_score)} to score, {planned.count('scored')} scored, {planned.count('incomplete')} incomplete"
    )


def _count(number: Any) -> str:
    return "-" if number is None else count_text(number)


def _print_end(
    folder: OutputFolder,
    planned: Plan,
    finished: Finished,
    found: Collected | None,
    notes: Sequence[Note],
    *,
    as_json: bool,
) -> None:
    table = folder.root / "scores.parquet"
    if as_json:
        print_json(
            {
                "output": str(folder.root),
                "scored": finished.scored,
                "scored_before": planned.count("scored"),
                "incomplete": [one.checkpoint.label for one in planned.checkpoints if one.state == "incomplete"],
                "failed": [
                    dict(zip(("checkpoint", "reason", "log"), map(str, one), strict=True)) for one in finished.failed
                ],
                "table": str(table) if found else None,
                "scores": len(found.table) if found else 0,
                "notes": [vars(one) for one in notes],
            }
        )
        return
    for line in failures_text(finished):
        note(line)
    for one in notes[:_NOTES_SHOWN]:
        note(one.text)
    if found is not None:
        typer.echo(
            f"{counted(finished.scored, 'checkpoint')} scored now, {planned.count('scored')} before; "
            f"{counted(len(found.table), 'score')} in {table} and scores.csv"
        )
    else:
        typer.echo(f"{counted(finished.scored, 'checkpoint')} scored; no score table")
