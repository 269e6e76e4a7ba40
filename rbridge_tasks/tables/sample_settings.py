"""Settings of a samples file, read from the results file of the same evaluation beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rbridge_tasks.tables.comparable import Measured, check_comparable, differences
from rbridge_tasks.tables.joined_items import Prompts
from rbridge_tasks.tables.lm_eval_results import ResultsError, ResultsFile, Score, result_files
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.settings import ITEMS_AND_PROMPTS, settings_of
from rbridge_tasks.tables.token_scores_file import SUFFIX


class SamplesFile(NamedTuple):
    """A samples file that is compared with others: its benchmark, what users call it, and its path."""

    benchmark: str
    name: str
    path: Path


def check_samples(files: Sequence[SamplesFile], metric: str, *, allow: bool) -> tuple[list[str], Prompts]:
    """Refuse samples files of one benchmark whose evaluations had different settings.

    Args:
        files: all that are compared.
        metric: that is compared.
        allow: see ``comparable.check_comparable``.

    Returns:
        Lines on different or unknown settings, and how ``join_items`` treats different prompts: it refuses them unless
        the settings of all files are known. With equal settings a prompt may contain the date, which is reported.

    Raises:
        IncomparableError: settings differ.
        ResultsError: a results file is damaged.
    """
    known: list[Measured] = []
    unknown: list[Path] = []
    for benchmark, name, path in files:
        settings = settings_beside(path, metric)
        if settings is None:
            unknown.append(path)
        else:
            known.append(Measured(benchmark, metric, name, settings))
    lines = check_comparable(known, allow=allow)
    if unknown:
        lines.append(
            f"{counted(len(unknown), 'samples file')} without the results file of the same evaluation beside it, such "
            f"as {unknown[0]}: shots, chat template, traces and confidences could not be compared"
        )
    if any(difference.refused for difference in differences(known)):
        return lines, "ignore"
    return lines, "refuse" if unknown else "report"


def results_beside(samples: Path) -> Path | None:
    """The results file of the evaluation that wrote a samples file: lm-eval writes the same time into both names.

    A file of token scores keeps its results itself.
    """
    if samples.suffix == SUFFIX:
        return samples
    date = samples.stem.rpartition("_")[2]
    return next(iter(sorted(samples.parent.glob(f"*_{date}.json"))), None) if date else None


def settings_beside(samples: Path, metric: str) -> dict[str, str] | None:
    """Settings of a metric of a samples file; None where no results file of that evaluation lies beside it.

    The results file is the one with the time of the samples file in its name; else the only one in the folder that
    holds the task. Number and checksum of the items are not among the settings: samples files hold the items.

    Args:
        samples: ``samples_<task>_<date>.jsonl``.
        metric: as in a score table.

    Raises:
        ResultsError: the results file of that time is damaged.
    """
    task = samples.stem.removeprefix("samples_").rpartition("_")[0]
    beside = results_beside(samples)
    results = ResultsFile(beside) if beside is not None else _only_results_of(task, samples.parent)
    if results is None:
        return None
    settings = settings_of(Score(task, metric, math.nan, math.nan, math.nan), results)
    return {name: value for name, value in settings.items() if name != ITEMS_AND_PROMPTS}


def _only_results_of(task: str, folder: Path) -> ResultsFile | None:
    candidates: list[ResultsFile] = []
    for path in result_files(folder):
        if path.parent == folder:
            try:
                results = ResultsFile(path)
            except ResultsError:  # a file that has nothing to do with these samples
                continue
            candidates += [results] if task in results.section("results") else []
    return candidates[0] if len(candidates) == 1 else None
