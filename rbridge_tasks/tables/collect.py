"""``rbridge collect``: the results of many evaluations as one score table."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rbridge_tasks.tables.checkpoint_files import params_of_checkpoint, tokens_of_checkpoint
from rbridge_tasks.tables.comparable import Measured, differences
from rbridge_tasks.tables.lm_eval_results import ResultsError, ResultsFile, Score, benchmark_of, result_files
from rbridge_tasks.tables.names import UnknownNameError, listed
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
from rbridge_tasks.tables.score_table import COLUMNS, checked_scores
from rbridge_tasks.tables.settings import settings_of
from rbridge_tasks.tables.settings_columns import SETTINGS
from rbridge_tasks.tables.table_settings import settings_text
from rbridge_tasks.visible_text import encodable
from rbridge_traces.files import exists, is_folder, plain

#: What was left out or doubtful in the files: kind of the note, noun to count, text around an example.
_NOTES = {
    "files skipped": ("file", "left out: {}"),
    "sample": ("score", "on sample traces left out (--include-sample keeps them), such as {}"),
    "no number": ("value", "left out, being no number: {}"),
    "no standard error": ("standard error", "left out, not a number of 0 or more: {}"),
    "named by folder": ("file", "without the model's name, which its folder gives: {}"),
}


@dataclass(frozen=True)
class Collected:
    """A score table made from files of lm-eval.

    Attributes:
        table: see ``rbridge_tasks.tables.score_table``.
        files: how many files were read.
        notes: what was left out, is unknown or doubtful.
    """

    table: pd.DataFrame
    files: int
    notes: list[Note]

    def to_frame(self) -> pd.DataFrame:
        """The score table."""
        return self.table

    def runs(self) -> list[dict[str, Any]]:
        """A summary of each run and size: its checkpoints, range of tokens, benchmarks and number of scores."""
        return [
            {
                "run": run,
                "params": params,
                "checkpoints": rows.groupby(["model", "tokens"], dropna=False).ngroups,
                "tokens": [rows["tokens"].min(), rows["tokens"].max()],
                "benchmarks": sorted(set(rows["benchmark"])),
                "scores": len(rows),
            }
            for (run, params), rows in self.table.groupby(["run", "params"], dropna=False, sort=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The summary as values that JSON can hold: what ``--json`` prints, without the scores themselves."""
        summary: dict[str, Any] = plain(
            {
                "files": self.files,
                "scores": len(self.table),
                "runs": self.runs(),
                "notes": [asdict(note) for note in self.notes],
            }
        )
        return summary

    def _repr_html_(self) -> str:
        return str(self.table.to_html(notebook=True))


def collect(
    paths: str | Path | Sequence[str | Path],
    *,
    metrics: Sequence[str] = (),
    runs: str | Path | None = None,
    rename: Mapping[str, str] | None = None,
    include_sample: bool = False,
) -> Collected:
    """Read results of lm-eval into a score table.

    Args:
        paths: results files, and folders to search for them.
        metrics: keep only these, with or without a filter: ``acc``, ``exact_match``, ``exact_match,strict-match``.
        runs: table with the name, size and tokens of runs (see ``RunsTable``); it wins over what names say.
        rename: benchmark of a task of lm-eval, where proxy and target use different tasks.
        include_sample: keep scores on the sample traces that ship with this package.

    Raises:
        CollectError: a path does not exist or holds no results; nothing is left; two models, or two precisions of one
            model, claim to be one checkpoint.
        ResultsError: a file that was named holds no results. Such a file in a folder is left out and counted.
        ScoreTableError: ``runs`` cannot be used.
        UnknownNameError: no score has one of the metrics.
    """
    known = RunsTable(runs) if runs is not None else None
    rows: list[ScoreRow] = []
    skipped: dict[str, list[str]] = defaultdict(list)
    n_files = 0
    for path, was_named in files_of([paths] if isinstance(paths, (str, Path)) else paths):
        try:
            results = ResultsFile(path)
        except ResultsError as error:
            if was_named:
                raise
            skipped["files skipped"].append(str(error))
            continue
        n_files += 1
        skipped["no number"] += results.unusable
        skipped["no standard error"] += results.unusable_stderrs
        skipped["named by folder"] += [str(results.path)] if results.model.named_by_folder else []
        kept = [score for score in results.scores if include_sample or not results.is_sample(score.task)]
        skipped["sample"] += [f"{score.task} in {results.path}" for score in results.scores if score not in kept]
        rows += rows_of_scores(results, kept, known, rename)
    notes = [
        Note(kind, len(skipped[kind]), f"{counted(len(skipped[kind]), noun)} {text.format(skipped[kind][0])}")
        for kind, (noun, text) in _NOTES.items()
        if skipped[kind]
    ]
    if not rows:
        reasons = "".join(f"; {note.text}" for note in notes)
        raise CollectError(f"nothing to collect in {counted(n_files, 'results file')}{reasons}")
    rows, metric_notes = _with_metrics(rows, metrics)
    table, table_notes = one_table(rows, known, runs)
    return Collected(table, n_files, notes + metric_notes + table_notes)


def one_table(
    rows: list[ScoreRow], known: RunsTable | None, runs: str | Path | None
) -> tuple[pd.DataFrame, list[Note]]:
    """The latest score of each checkpoint, benchmark and metric as a score table, with notes.

    Args:
        rows: scores, at least one.
        known: the user's table of runs, after all rows were made with it.
        runs: path of that table.

    Raises:
        CollectError: two models, or two precisions of one model, claim to be one checkpoint.
    """
    rows = with_exact_params(rows)
    check_checkpoints(rows)
    notes = [Note("settings differ", 1, change.line) for change in differences(row.measured for row in rows)]
    rows, replaced = latest(rows)
    notes += replaced + unknown(rows)
    keys = known.unused() if known else []
    if keys:
        text = f"{counted(len(keys), 'key')} of {runs} without a result, such as {keys[0]!r}"
        notes.append(Note("runs unused", len(keys), text))
    return _table(rows), notes


def files_of(sources: Sequence[str | Path]) -> Iterable[tuple[Path, bool]]:
    """Files to read, each once, and whether the user named them rather than their folder."""
    files: dict[Path, tuple[Path, bool]] = {}
    for source in map(Path, sources):
        if is_folder(source):
            inside = [*result_files(source)]
            if not inside:
                raise CollectError(
                    f"no results in {source}: neither it nor a folder in it holds a results_*.json; give the folder "
                    "that lm_eval --output_path wrote to"
                )
            for path in inside:
                files.setdefault(path.resolve(), (path, False))
        elif exists(source):
            files[source.resolve()] = (source, True)
        else:
            raise CollectError(f"there is no file or folder {str(source)!r}; give results of lm_eval --output_path")
    return files.values()


def rows_of_scores(
    results: ResultsFile, scores: Iterable[Score], known: RunsTable | None, rename: Mapping[str, str] | None = None
) -> list[ScoreRow]:
    """Scores of one evaluation as rows, with the checkpoint that its results file and ``known`` name."""
    model = results.model
    named = read_name(model.name, model.revision)
    given = known.known(model, results.path, named.run) if known else Known()
    folder = Path(model.name)
    local = is_folder(folder) and model.revision is None
    step_tokens = named.step * given.tokens_per_step if given.tokens_per_step and named.step is not None else None
    tokens = _first(given.tokens, step_tokens, named.tokens, lambda: tokens_of_checkpoint(folder) if local else None)
    params = _first(given.params, model.params, lambda: params_of_checkpoint(folder) if local else None)
    return [
        ScoreRow(
            run=given.run or named.run,
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
            run_given=given.run is not None,
            named=(named.run, named.params),
            doubt=named.doubt,
            file=results.path,
        )
        for score in scores
    ]


def _first(*choices: float | Callable[[], float | None] | None) -> float | None:
    """The first value that is not None. Functions are called only when no earlier value is known."""
    for choice in choices:
        value = choice() if callable(choice) else choice
        if value is not None:
            return value
    return None


def _with_metrics(rows: list[ScoreRow], metrics: Sequence[str]) -> tuple[list[ScoreRow], list[Note]]:
    """Rows of the metrics asked for, and a note on metrics without a score."""
    if not metrics:
        return rows, []
    names = [{row.measured.metric, row.measured.metric.partition(",")[0]} for row in rows]
    kept = [row for row, of_row in zip(rows, names, strict=True) if of_row & {*metrics}]
    if not kept:
        present = Counter(row.measured.metric for row in rows)
        raise UnknownNameError(f"no score of the metric {', '.join(metrics)}; there are {listed(sorted(present), 40)}")
    absent = sorted({*metrics}.difference(*names))
    return kept, [Note("no such metric", len(absent), f"no score of the metric {', '.join(absent)}")] if absent else []


def _table(rows: list[ScoreRow]) -> pd.DataFrame:
    cells = [
        (
            *map(encodable, (row.run, row.model)),
            *(math.nan if number is None else number for number in (row.params, row.tokens)),
            *map(encodable, (row.measured.benchmark, row.measured.metric)),
            *(row.value, row.stderr, row.n, encodable(settings_text(row.measured.settings))),
        )
        for row in rows
    ]
    order = ["run", "params", "tokens", "model", "benchmark", "metric"]
    frame = pd.DataFrame(cells, columns=[*COLUMNS, SETTINGS]).sort_values(order, kind="stable", ignore_index=True)
    return checked_scores(frame if (frame[SETTINGS] != "").any() else frame.drop(columns=SETTINGS))
