"""Scores of lm-eval's results files with what other formats ask of them: the model's name on the Hub, the direction."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.catalogue import metric_info, plain_name
from rbridge_tasks.tables.collect import files_of
from rbridge_tasks.tables.lm_eval_results import ResultsError, ResultsFile, Score, benchmark_of
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.run_names import read_name
from rbridge_tasks.tables.score_table import is_score_table
from rbridge_tasks.tables.settings import settings_of
from rbridge_traces.files import exists

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class ExportError(RBridgeError, ValueError):
    """Results that cannot be exported, or an option that cannot be used."""


@dataclass(frozen=True)
class ExportedScore:
    """One score of a results file.

    Attributes:
        results: the file.
        score: the number.
        model_id: ``ORGANISATION/NAME``.
        lower_is_better: the metric's direction.
        settings: how it was measured, texts by name.
    """

    results: ResultsFile
    score: Score
    model_id: str
    lower_is_better: bool
    settings: Mapping[str, str]

    @property
    def benchmark(self) -> str:
        """The benchmark that the task measures."""
        return benchmark_of(self.score.task)


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        files: files that were written.
        scores: number of scores in them.
        left_out: a line for each reason for which scores were left out.
    """

    files: list[Path]
    scores: int
    left_out: list[str] = field(default_factory=list)


def exported_scores(
    paths: str | Path | Sequence[str | Path],
    *,
    metrics: Sequence[str] = (),
    developer: str | None = None,
    include_sample: bool = False,
) -> tuple[list[ExportedScore], list[str]]:
    """Scores that can be exported, and a line for each reason for which others are left out. Arguments: see ``export``.

    Raises:
        CollectError: a path does not exist or holds no results.
        ExportError: a score table was given; nothing is left.
        ResultsError: a file that was named holds no results. Such a file in a folder is left out and counted.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    _check(paths, developer)
    kept: list[ExportedScore] = []
    reasons: Counter[str] = Counter()
    for path, was_named in files_of(paths):
        try:
            results = ResultsFile(path)
        except ResultsError:
            if was_named:
                raise
            reasons["file left out: no results of lm-eval"] += 1
            continue
        model_id = model_id_of(results, developer)
        for score in results.scores:
            if metrics and not {score.metric, plain_name(score.metric)} & {*metrics}:
                continue
            lower = lower_is_better(score, results)
            if not include_sample and results.is_sample(score.task):
                reasons["score left out: measured on sample traces (--include-sample keeps them)"] += 1
            elif model_id is None:
                remedy = "--developer names its owner" if developer is None else "which holds no name"
                reasons[f"score left out: of a model given as the path {results.model.label} ({remedy})"] += 1
            elif lower is None:
                reasons[f"score left out: the direction of {score.metric} is unknown"] += 1
            else:
                kept.append(ExportedScore(results, score, model_id, lower, settings_of(score, results)))
    left_out = []
    for reason, many in reasons.items():
        noun, _, rest = reason.partition(" ")
        left_out.append(f"{counted(many, noun)} {rest}")
    if not kept:
        wanted = f" of the metric {', '.join(metrics)}" if metrics else ""
        raise ExportError(f"no score{wanted} to export" + "".join(f"; {line}" for line in left_out))
    return kept, left_out


def _check(paths: Sequence[str | Path], developer: str | None) -> None:
    if developer is not None and not _HUB_NAME.fullmatch(f"{developer}/x"):
        raise ExportError(
            f"{developer!r} is no name of an organisation on the Hub; --developer takes letters, digits, - _ ."
        )
    for path in paths:
        if is_score_table(path):
            raise ExportError(
                f"{path} is a score table, which does not state when and with what its scores were measured; give the "
                "results files, or the folder, that it was collected from"
            )


def model_id_of(results: ResultsFile, developer: str | None) -> str | None:
    """The evaluated model as ``ORGANISATION/NAME``; None for a path if no developer is given, or if it has no name.

    A path becomes the name of its last folder, with the one above it where the last names a checkpoint.
    """
    name = results.model.label.partition("@")[0]
    if _HUB_NAME.fullmatch(name) and not exists(name):
        return name
    parts = [re.sub(r"[^\w.+-]+", "_", part) for part in PurePath(name).parts if part.strip("./\\")]
    if developer is None or not parts:
        return None
    named = read_name(parts[-1])
    of_checkpoint = named.step is not None or named.tokens is not None
    return f"{developer}/{'_'.join(parts[-2:] if of_checkpoint else parts[-1:])}"


def lower_is_better(score: Score, results: ResultsFile) -> bool | None:
    """The direction of a metric, from the catalogue, else from the results file; None where neither has it."""
    known = metric_info(score.metric)
    if known is not None:
        return known.lower_is_better
    higher = results.section("higher_is_better", score.task).get(plain_name(score.metric))
    return not higher if isinstance(higher, bool) else None
