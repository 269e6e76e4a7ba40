"""``rbridge collect``: results of many evaluations as one score table."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rbridge_tasks.tables.checkpoint_files import params_of_checkpoint, tokens_of_checkpoint
from rbridge_tasks.tables.comparable import Measured, differences
from rbridge_tasks.tables.lm_eval_results import ResultsError, ResultsFile, Score, benchmark_of, result_files
from rbridge_tasks.tables.rows import (
    CollectError,
    Note,
    ScoreRow,
    check_checkpoints,
    counted,
    latest,
    unknown,
    with_exact_params,
)
from rbridge_tasks.tables.run_names import read_name
from rbridge_tasks.tables.runs_table import Known, RunsTable
from rbridge_tasks.tables.score_table import COLUMNS, checked_scores, whole_letters
from rbridge_tasks.tables.settings import settings_of
from rbridge_tasks.tables.table_settings import SETTINGS, settings_text


@dataclass(frozen=True)
class Collected:
    """A score table and what there is to say about it."""

    table: pd.DataFrame
    files: int
    notes: list[Note]


@dataclass
class _Reading:
    """What was found on the way."""

    rows: list[ScoreRow] = field(default_factory=list)
    files: int = 0
    skipped: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    unusable_stderrs: list[str] = field(default_factory=list)
    folder_names: list[str] = field(default_factory=list)


def collect(
    sources: Sequence[str | Path],
    *,
    runs: str | Path | None = None,
    metrics: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    include_sample: bool = False,
) -> Collected:
    """Read results of lm-eval into a score table.

    Args:
        sources: results files, and folders to search for them.
        runs: table of what the user knows of runs (see ``RunsTable``); wins over names.
        metrics: keep these only, with or without a filter: ``acc``, ``exact_match``, ``exact_match,strict-match``.
        rename: benchmark for a task of lm-eval, where proxy and target use different tasks.
        include_sample: keep scores on the sample traces that ship with this package.

    Raises:
        CollectError: a source is not there or holds no results; nothing is left; two models, or two precisions of one
            model, claim to be one checkpoint.
        ResultsError: a file that was named is not one of results. Found in a folder, it is left out and counted.
        ScoreTableError: ``runs`` cannot be used.
    """
    known = RunsTable(runs) if runs is not None else None
    found = _Reading()
    for path, was_named in _files(sources):
        try:
            results = ResultsFile(path)
        except ResultsError as error:
            if was_named:
                raise
            found.skipped.append(str(error))
            continue
        _add(found, results, known, rename or {}, include_sample)
    notes = _notes_of_reading(found)
    rows, metric_notes = _with_metrics(found, metrics)
    table, more = one_table(rows, known, runs)
    return Collected(table, found.files, notes + metric_notes + more)


def one_table(
    rows: list[ScoreRow], known: RunsTable | None, runs: str | Path | None
) -> tuple[pd.DataFrame, list[Note]]:
    """The latest score of each checkpoint, benchmark and metric as a score table, and what is in doubt about it.

    Args:
        rows: scores, at least one.
        known: what the user told of runs, after all rows were made with it.
        runs: where that was read from.

    Raises:
        CollectError: two models, or two precisions of one model, claim to be one checkpoint.
    """
    rows = with_exact_params(rows)
    check_checkpoints(rows)
    notes = [Note("settings differ", 1, one.text) for one in differences(row.measured for row in rows)]
    rows, replaced = latest(rows)
    notes += replaced + unknown(rows)
    keys = known.unused() if known else []
    if keys:
        text = f"{counted(len(keys), 'key')} of {runs} without a result, such as {keys[0]!r}"
        notes.append(Note("runs unused", len(keys), text))
    return _table(rows), notes


def _files(sources: Sequence[str | Path]) -> Iterable[tuple[Path, bool]]:
    """Files to read, each once, and whether the user named them."""
    files: dict[Path, tuple[Path, bool]] = {}
    for source in map(Path, sources):
        if source.is_dir():
            inside = [*result_files(source)]
            if not inside:
                raise CollectError(
                    f"no results in {source}: neither it nor a folder in it holds a results_*.json; give the folder "
                    "that lm_eval --output_path wrote to"
                )
            for path in inside:
                files.setdefault(path.resolve(), (path, False))
        elif source.exists():
            files[source.resolve()] = (source, True)
        else:
            raise CollectError(f"there is no file or folder {str(source)!r}; give results of lm_eval --output_path")
    return files.values()


def _add(
    found: _Reading, results: ResultsFile, known: RunsTable | None, rename: Mapping[str, str], include_sample: bool
) -> None:
    found.files += 1
    found.unusable += results.unusable
    found.unusable_stderrs += results.unusable_stderrs
    if results.model.named_by_folder:
        found.folder_names.append(str(results.path))
    kept = [score for score in results.scores if include_sample or not results.is_sample(score.task)]
    found.samples += [f"{score.task} in {results.path}" for score in results.scores if score not in kept]
    found.rows += rows_of_scores(results, kept, known, rename)


def rows_of_scores(
    results: ResultsFile, scores: Iterable[Score], known: RunsTable | None, rename: Mapping[str, str] | None = None
) -> list[ScoreRow]:
    """Scores of one evaluation with the checkpoint that they are of, as its results file and ``known`` tell it."""
    model = results.model
    named = read_name(model.name, model.revision)
    told = known.known(model, results.path, named.run) if known else Known()
    folder = Path(model.name)
    local = os.path.isdir(folder) and model.revision is None  # noqa: PTH112  # takes any text; Path.is_dir does not
    step_tokens = named.step * told.tokens_per_step if told.tokens_per_step and named.step is not None else None
    tokens = _first(told.tokens, step_tokens, named.tokens, lambda: tokens_of_checkpoint(folder) if local else None)
    params = _first(told.params, model.params, lambda: params_of_checkpoint(folder) if local else None)
    return [
        ScoreRow(
            run=told.run or named.run,
            model=model.label,
            params=params,
            tokens=tokens,
            measured=Measured(
                (rename or {}).get(score.task) or benchmark_of(score.task),
                score.metric,
                model.label,
                settings_of(score, results),
            ),
            value=score.value,
            stderr=score.stderr,
            n=score.n,
            task=score.task,
            date=results.date,
            run_given=told.run is not None,
            named=(named.run, named.params),
            doubt=named.doubt,
            file=results.path,
        )
        for score in scores
    ]


def _first(*choices: float | Callable[[], float | None] | None) -> float | None:
    """The first that is known; functions are asked only when it comes to them."""
    for choice in choices:
        value = choice() if callable(choice) else choice
        if value is not None:
            return value
    return None


def _notes_of_reading(found: _Reading) -> list[Note]:
    kinds = (
        ("files skipped", found.skipped, "file", "left out: {}"),
        ("sample", found.samples, "score", "on sample traces left out (--include-sample keeps them), such as {}"),
        ("no number", found.unusable, "value", "left out, being no number: {}"),
        ("no standard error", found.unusable_stderrs, "standard error", "left out, not a number of 0 or more: {}"),
        ("named by folder", found.folder_names, "file", "without the model's name, which its folder gives: {}"),
    )
    return [
        Note(kind, len(items), f"{counted(len(items), noun)} {text.format(items[0])}")
        for kind, items, noun, text in kinds
        if items
    ]


def _with_metrics(found: _Reading, metrics: Sequence[str]) -> tuple[list[ScoreRow], list[Note]]:
    """Rows of the metrics asked for."""
    if not found.rows:
        reasons = [note.text for note in _notes_of_reading(found)]
        raise CollectError(
            f"nothing to collect in {counted(found.files, 'results file')}" + "".join(f"; {x}" for x in reasons)
        )
    present = Counter(row.measured.metric for row in found.rows)
    rows = [
        row
        for row in found.rows
        if not metrics or row.measured.metric in metrics or row.measured.metric.partition(",")[0] in metrics
    ]
    if not rows:
        raise CollectError(f"no score of the metric {', '.join(metrics)}; there are {', '.join(sorted(present))}")
    names = {name for metric in present for name in (metric, metric.partition(",")[0])}
    absent = sorted(set(metrics) - names)
    return rows, [Note("no such metric", len(absent), f"no score of the metric {', '.join(absent)}")] if absent else []


def _table(rows: list[ScoreRow]) -> pd.DataFrame:
    cells = [
        (
            *map(whole_letters, (row.run, row.model)),
            *(math.nan if number is None else number for number in (row.params, row.tokens)),
            *map(whole_letters, (row.measured.benchmark, row.measured.metric)),
            *(row.value, row.stderr, row.n, whole_letters(settings_text(row.measured.settings))),
        )
        for row in rows
    ]
    order = ["run", "params", "tokens", "model", "benchmark", "metric"]
    frame = pd.DataFrame(cells, columns=[*COLUMNS, SETTINGS]).sort_values(order, kind="stable", ignore_index=True)
    return checked_scores(frame if (frame[SETTINGS] != "").any() else frame.drop(columns=SETTINGS))
