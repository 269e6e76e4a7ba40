"""Output of ``rbridge sweep``: the plan of a dry run, the result, and its exit code."""

from __future__ import annotations

from typing import Any

import typer

from rbridge_tasks.cli.output import note as say
from rbridge_tasks.cli.output import print_json, print_table
from rbridge_tasks.sweeping.plan import SweepPlan
from rbridge_tasks.sweeping.request import SweepResult
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

__all__ = ["exit_code", "print_plan", "print_result", "say"]

_INTERRUPTED = 130
_FAILED = 1
_NOTES_SHOWN = 5


def exit_code(result: SweepResult) -> int:
    """0, 1 where a checkpoint failed, 130 where the sweep was interrupted."""
    return _INTERRUPTED if result.interrupted else _FAILED if result.failed else 0


def print_plan(plan: SweepPlan, *, as_json: bool) -> None:
    """Print every checkpoint with its state, and how many are in each state."""
    lines: list[dict[str, Any]] = [
        {
            "checkpoint": planned.checkpoint.label,
            "run": planned.checkpoint.named.run,
            "step": planned.checkpoint.named.step,
            "tokens": planned.checkpoint.named.tokens,
            "state": planned.state,
            "why": planned.why,
            "tasks": [*planned.shard.settings.tasks] if planned.shard else [],
        }
        for planned in plan.checkpoints
    ]
    if as_json:
        print_json(lines)
        return
    rows = [
        [line["checkpoint"], line["run"], _count(line["step"]), _count(line["tokens"]), line["state"],
         ",".join(line["tasks"]), line["why"]]
        for line in lines
    ]  # fmt: skip
    print_table("", ("checkpoint", "run", "step", "tokens", "state", "tasks to score", "why"), rows)
    scored, incomplete = (len(plan.in_state(state)) for state in ("scored", "incomplete"))
    typer.echo(f"{len(plan.to_score)} to score, {scored} scored, {incomplete} incomplete")


def _count(number: float | None) -> str:
    return "-" if number is None else count_text(number)


def print_result(result: SweepResult, *, as_json: bool) -> None:
    """Print the summary of a sweep, with failures and notes on stderr; nothing where Ctrl-C ended it."""
    if result.stopped:
        return
    if as_json:
        print_json(result.to_dict())
        return
    for failure in result.failed:
        say(f"{failure.checkpoint}: {failure.reason} (log: {failure.log})")
    if result.failed:
        say(f"{counted(len(result.failed), 'checkpoint')} could not be scored; the same command tries them again")
    for line in result.notes[:_NOTES_SHOWN]:
        say(line.text)
    if result.scores is None:
        typer.echo(f"{counted(result.scored, 'checkpoint')} scored; no score table")
        return
    typer.echo(
        f"{counted(result.scored, 'checkpoint')} scored now, {result.scored_before} before; "
        f"{counted(len(result.scores.table), 'score')} in {result.table_file} and scores.csv"
    )
