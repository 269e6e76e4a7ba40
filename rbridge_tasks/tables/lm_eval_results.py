"""Read results files of lm-evaluation-harness: every layout of 0.4, and the flat one before it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.evaluated_model import model_of
from rbridge_tasks.tables.json_numbers import is_missing, number_of
from rbridge_tasks.tables.token_scores_file import SUFFIX, TokenScoresFileError, stored_results
from rbridge_traces.benchmark import is_benchmark_name

_NOT_METRICS = frozenset(("alias", "name", "sample_len", "sample_count"))
_PLACEHOLDERS = frozenset(("bypass",))  # written by --predict_only: 999, not a measurement
_YEAR_10000 = 253_402_300_800  # seconds since 1970; a larger date is in another unit
_FILE_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT)(\d\d-\d\d-\d\d(?:\.\d+)?)\.json$")


class ResultsError(RBridgeError, ValueError):
    """A file that does not hold results of lm-eval. The message is one line, whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class Score:
    """One number of a results file.

    Attributes:
        task: lm-eval's name of the task or group.
        metric: with the filter where it is not ``none``: ``exact_match,strict-match``.
        value: finite.
        stderr: NaN where lm-eval gives none.
        n: items, NaN where the file does not say.
    """

    task: str
    metric: str
    value: float
    stderr: float
    n: float


class ResultsFile:
    """A results file of lm-eval, or the results that a file of token scores keeps.

    Attributes:
        path: of the file.
        data: what it holds.
        model: what was evaluated.
        date: start of the evaluation, seconds since 1970; where nothing states it, the time of the file.
        stated_date: the same, None where nothing states it.
        scores: its finite numbers.
        unusable: values that are NaN, infinite or not a number, one line each.
        unusable_stderrs: standard errors that are present but not a number >= 0, one line each; "N/A" and NaN, which
            lm-eval writes where it computes none, are not among them.

    Raises:
        ResultsError: the file cannot be read, is no JSON, or is not of lm-eval.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = _load(path)
        self.model = model_of(self.section("config"), self.data.get("model_name"), path)
        self.stated_date = _stated_date(self.data, path)
        self.date = path.stat().st_mtime if self.stated_date is None else self.stated_date
        self.scores: list[Score] = []
        self.unusable: list[str] = []
        self.unusable_stderrs: list[str] = []
        groups = self.section("groups")
        for task, entry in (groups | self.section("results")).items():  # some versions write a group into both
            if isinstance(entry, dict) and task.strip():
                self._read_entry(task, {**groups[task], **entry} if isinstance(groups.get(task), dict) else entry)

    def section(self, *keys: str) -> dict[str, Any]:
        """An object inside the file; empty where there is none."""
        section: object = self.data
        for key in keys:
            section = section.get(key) if isinstance(section, dict) else None
        return section if isinstance(section, dict) else {}

    def members(self, task: str) -> list[str]:
        """The task itself, or all tasks of a group and of the groups in it."""
        groups = self.section("group_subtasks")
        tasks, waiting, seen = set(), [task], {task}
        while waiting:
            current = waiting.pop()
            listed = groups.get(current)
            inner = [str(name) for name in listed] if isinstance(listed, list) else []
            if not inner:
                tasks.add(current)
            waiting += [name for name in inner if name not in seen]
            seen.update(inner)
        return sorted(tasks)

    def metadata(self, task: str) -> dict[str, Any]:
        """The metadata of a task: from ``--metadata`` and from its configuration."""
        return self.section("configs", task, "metadata")

    def traces(self, task: str) -> dict[str, Any]:
        """Origin of the traces of one of our tasks; empty for other tasks."""
        return self.section("configs", task, "metadata", "rbridge_traces")

    def is_sample(self, task: str) -> bool:
        """Whether a task, or any task of a group, read the sample traces that ship with this package."""
        return any(self.traces(member).get("sample") is True for member in self.members(task))

    def _read_entry(self, task: str, entry: Mapping[str, Any]) -> None:
        filtered = any("," in key for key in entry)
        for key, value in entry.items():
            metric, comma, filter_name = key.partition(",")
            of_error = metric.removesuffix("_stderr")
            is_error = metric != of_error and f"{of_error}{comma}{filter_name}" in entry
            other = not metric.strip() or metric in _NOT_METRICS or metric in _PLACEHOLDERS
            if is_error or other or (filtered and "," not in key):
                continue
            name, number = with_filter(metric, filter_name), number_of(value)
            if math.isnan(number):
                self.unusable.append(f"{benchmark_of(task)} {name} is {str(value)[:40]!r} in {self.path}")
                continue
            given = entry.get(f"{metric}_stderr{comma}{filter_name}")
            stderr = number_of(given)
            if not stderr >= 0:
                stderr = math.nan
                if not is_missing(given):
                    line = f"{benchmark_of(task)} {name} has the standard error {str(given)[:40]!r} in {self.path}"
                    self.unusable_stderrs.append(line)
            self.scores.append(Score(task, name, number, stderr, self._items(task, key, entry)))

    def _items(self, task: str, key: str, entry: Mapping[str, Any]) -> float:
        """Number of items of a score; of a group the sum over its tasks."""
        counted = number_of(entry["sample_count"].get(key)) if isinstance(entry.get("sample_count"), dict) else math.nan
        noted = (self.section("n-samples").get(member) for member in self.members(task))
        total = sum(number_of(size.get("effective") if isinstance(size, dict) else size) for size in noted)
        sizes = (counted, total, number_of(entry.get("sample_len")))
        known = (number for number in sizes if number > 0 and number % 1 == 0)
        return next(known, math.nan)


def benchmark_of(task: str) -> str:
    """The benchmark that a task measures: tasks named ``rbridge_*`` lose prefix and variant, others keep their name.

    A task that lm-eval 0.5 read as a member of a group, ``group::task``, has the name that 0.4 gives it, ``task``.

    >>> benchmark_of("mmlu::mmlu_anatomy")
    'mmlu_anatomy'
    >>> benchmark_of("rbridge_gsm8k"), benchmark_of("gsm8k_cot"), benchmark_of("rbridge")
    ('gsm8k', 'gsm8k_cot', 'rbridge')
    >>> benchmark_of("rbridge_proxies_gsm8k"), benchmark_of("rbridge_csqa_cf"), benchmark_of("rbridge_comparators")
    ('gsm8k', 'csqa', 'rbridge_comparators')
    """
    task = task.rpartition("::")[2]
    if not task.startswith("rbridge_"):
        return task
    benchmark = task.removeprefix("rbridge_proxies_").removeprefix("rbridge_")
    benchmark = re.sub("_(?:cf|gold|scb|gen)$", "", benchmark)
    return benchmark if is_benchmark_name(benchmark) else task


def result_files(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it whose names mark them as results of lm-eval, sorted by path."""
    for path in sorted(folder.rglob("*.json")):
        if path.is_file() and (path.name.startswith("results") or _FILE_DATE.search(path.name)):
            yield path


def _load(path: Path) -> dict[str, Any]:
    expected = 'expected a results file of lm-eval, with "results" by task'
    try:
        data = stored_results(path) if path.suffix == SUFFIX else json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except TokenScoresFileError as error:
        raise ResultsError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON, or was cut off ({error}); {expected}") from error
    if not isinstance(data, dict):
        raise ResultsError(f"{path} holds a JSON {type(data).__name__}; {expected}")
    if not isinstance(data.get("results"), dict):
        raise ResultsError(f"{path} has no results (its keys: {', '.join([*data][:5]) or 'none'}); {expected}")
    return data


def _stated_date(data: Mapping[str, Any], path: Path) -> float | None:
    """When the evaluation began; else the date in the file's name; else None."""
    if 0 < number_of(data.get("date")) < _YEAR_10000:
        return number_of(data["date"])
    named = _FILE_DATE.search(path.name)
    if named:
        try:
            return datetime.fromisoformat(named.group(1) + named.group(2).replace("-", ":")).timestamp()
        except ValueError:  # no such day or hour
            pass
    return None


def with_filter(metric: str, filter_name: object) -> str:
    """The name of a metric in a score table: with lm-eval's filter, unless that is ``none``."""
    return metric if filter_name in ("", "none") else f"{metric},{filter_name}"
