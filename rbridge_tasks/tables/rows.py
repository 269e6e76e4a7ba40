"""Rows of a score table to be: which are of one checkpoint, which are the latest, what is unknown of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from rbridge_tasks.tables.comparable import Measured
from rbridge_tasks.tables.lm_eval_results import ResultsError
from rbridge_tasks.tables.settings import DTYPE, ITEMS_AND_PROMPTS, QUANTISATION


class CollectError(ResultsError):
    """Results that make no score table."""


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "score"), counted(2, "results file"), counted(2, "series")
    ('1 score', '2 results files', '2 series')
    """
    return f"{number} {noun}" if number == 1 or noun.endswith("series") else f"{number} {noun}s"


@dataclass(frozen=True)
class Note:
    """A remark on something that was left out, is unknown or doubtful.

    Attributes:
        kind: short name of the reason.
        count: number of scores, files or keys.
        text: the line to show.
    """

    kind: str
    count: int
    text: str


@dataclass(frozen=True)
class ScoreRow:
    """A score and its checkpoint.

    Attributes:
        run, model, params, tokens: of the checkpoint; None where unknown.
        measured: benchmark, metric and settings.
        value, stderr, n: the score.
        task: lm-eval's name of the task.
        date: of the evaluation, seconds since 1970.
        run_given: the user named the run.
        named: run and size from the names: equal for checkpoints of one architecture.
        doubt: why the tokens in the name were not used.
        file: the results file.
    """

    run: str
    model: str
    params: float | None
    tokens: float | None
    measured: Measured
    value: float
    stderr: float
    n: float
    task: str
    date: float
    run_given: bool
    named: tuple[str, float | None]
    doubt: str | None
    file: Path

    @property
    def checkpoint(self) -> tuple[str | float | None, ...]:
        """Key that two evaluations of one checkpoint share; it holds the model where size or tokens are unknown."""
        known = self.params is not None and self.tokens is not None
        return self.run, self.params, self.tokens, None if known else self.model


def with_exact_params(rows: list[ScoreRow]) -> list[ScoreRow]:
    """Fill in unknown parameters: from a row of the same run and size with an exact count, else from the name."""
    exact: dict[tuple[str, float | None], set[float]] = {}
    for row in rows:
        if row.params is not None and row.named[1] is not None:
            exact.setdefault(row.named, set()).add(row.params)

    def params(row: ScoreRow) -> float | None:
        counted = exact.get(row.named, set())
        return next(iter(counted)) if len(counted) == 1 else row.named[1]

    return [row if row.params is not None else replace(row, params=params(row)) for row in rows]


def check_checkpoints(rows: list[ScoreRow]) -> None:
    """Refuse two models, two tasks, or two precisions of one model under one name: one would replace the other."""
    models: dict[tuple[object, ...], ScoreRow] = {}
    scores: dict[tuple[object, ...], dict[str, ScoreRow]] = {}
    for row in rows:
        first = models.setdefault(row.checkpoint, row)
        if not _same_model(first.model, row.model) and not (first.run_given and row.run_given):
            raise CollectError(
                f"{first.model} and {row.model} both look like run {row.run!r} at {row.tokens:g} tokens; tell them "
                "apart, or say that they are one, with --runs FILE (a table with the columns model and run)"
            )
        earlier = scores.setdefault((*row.checkpoint, row.measured.benchmark, row.measured.metric), {"task": row})
        if earlier["task"].task != row.task:
            raise CollectError(
                f"{earlier['task'].task} and {row.task} both give {row.measured.metric} of {row.measured.benchmark} "
                f"for {row.model}; rename one of them only"
            )
        for setting in (DTYPE, QUANTISATION):
            if setting in row.measured.settings:
                _check_precision(setting, earlier.setdefault(setting, row), row)


def _check_precision(setting: str, first: ScoreRow, row: ScoreRow) -> None:
    earlier, later = (score.measured.settings[setting] for score in (first, row))
    if earlier != later:
        raise CollectError(
            f"{row.model} was evaluated on {row.measured.benchmark} with {setting} {earlier} ({first.file}) and "
            f"{later} ({row.file}), and one score would replace the other; leave one of the files out, or name the "
            "runs apart with --runs FILE (a table with the columns path and run: the path of a results file or its "
            "folder)"
        )


def _same_model(name_a: str, name_b: str) -> bool:
    """Whether two names are of one model: they are equal, or one path ends with the other."""
    short, long = sorted((os.path.normpath(name_a), os.path.normpath(name_b)), key=len)
    return short == long or long.endswith(os.sep + short)


def latest(rows: list[ScoreRow]) -> tuple[list[ScoreRow], list[Note]]:
    """The latest result of each checkpoint, benchmark and metric."""
    last: dict[tuple[object, ...], ScoreRow] = {}
    replaced: list[tuple[ScoreRow, ScoreRow]] = []
    for row in sorted(rows, key=lambda row: row.date):
        what = (*row.checkpoint, row.measured.benchmark, row.measured.metric)
        if what in last:
            replaced.append((last[what], row))
        last[what] = row
    if not replaced:
        return [*last.values()], []
    old, new = replaced[0]
    text = (
        f"{counted(len(replaced), 'score')} replaced by later ones, such as {old.measured.benchmark} "
        f"{old.measured.metric} of {old.model}: {old.value:.6g} ({old.file}) by {new.value:.6g} ({new.file})"
    )
    return [*last.values()], [Note("replaced", len(replaced), text + _changes(old, new))]


def _changes(old: ScoreRow, new: ScoreRow) -> str:
    """The settings that changed between an evaluation and the one that replaces it."""
    before, after = old.measured.settings, new.measured.settings
    changed = [
        f"{name} was {before[name]} and is {after[name]}"
        for name in before
        if name != ITEMS_AND_PROMPTS and after.get(name, before[name]) != before[name]
    ]
    return f"; {'; '.join(changed)}" if changed else ""


def unknown(rows: list[ScoreRow]) -> list[Note]:
    """Notes on models without parameters or tokens."""
    notes = []
    for what in ("params", "tokens"):
        models = {row.model: row.doubt for row in rows if getattr(row, what) is None}
        if models:
            first, doubt = next(iter(models.items()))
            why = f" ({doubt})" if doubt and what == "tokens" else ""
            text = (
                f"{what} unknown for {counted(len(models), 'model')}, such as {first}{why}; give them with --runs FILE"
            )
            notes.append(Note(f"{what} unknown", len(models), text))
    return notes
