"""Samples files of our tasks: the evaluation of each, and the token scores of its traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbridge_metrics import ScoreError, TokenScores
from rbridge_tasks.tables.lm_eval_results import ResultsFile, benchmark_of
from rbridge_tasks.tables.sample_settings import results_beside
from rbridge_tasks.tables.samples import SamplesError, sample_rows, samples_in
from rbridge_tasks.tables.token_scores_file import SUFFIX, write_token_scores

_OURS = "a samples file of rbridge_<benchmark> or rbridge_proxies_<benchmark>, as lm_eval --log_samples names it"


@dataclass(frozen=True)
class ScoredTrace:
    """One line of a samples file.

    Attributes:
        item: id of the item.
        text: the trace.
        scores: its token scores.
        where: item and file, for errors.
        doc: the whole item, as the task laid it out: question, choices, spans, ...
    """

    item: str
    text: str
    scores: TokenScores
    where: str
    doc: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def spelled(self) -> Iterator[tuple[int, str]]:
        """Each token id with its characters of the trace, except the first token, which may begin before the trace."""
        tokens = zip(self.scores.token_id, self.scores.token_start, self.scores.token_end, strict=True)
        for token, start, end in list(tokens)[1:]:
            yield int(token), self.text[start:end]


@dataclass
class Evaluation:
    """The samples of one benchmark from one run of lm-eval.

    Attributes:
        results: the results file, with the model.
        benchmark: its name.
        files: samples files by task; their traces are usually the same.
    """

    results: ResultsFile
    benchmark: str
    files: dict[str, Path] = field(default_factory=dict)

    def traces(self) -> Iterator[ScoredTrace]:
        """The traces in the order of the files, each once.

        Raises:
            SamplesError: a file is damaged or no samples file of ours, or two files hold different traces of an item.
        """
        seen: dict[str, tuple[Path, tuple[object, ...]]] = {}
        for path in self.files.values():
            for number, row in sample_rows(path):
                item, where = _item(row, number, path)
                identity = tuple(row.get(name) for name in ("prompt_hash", "target_hash"))
                if item not in seen:
                    seen[item] = path, identity
                    yield _scored_trace(row, item, where)
                    continue
                first, same = seen[item]
                if first == path:
                    raise SamplesError(f"item {item} stands twice in {path}; give a file of a single evaluation")
                if same != identity:
                    raise SamplesError(
                        f"item {item} of {self.benchmark} has different traces or prompts in {first} and {path}; name "
                        "one of the two files"
                    )


def evaluations(sources: Sequence[str | Path]) -> list[Evaluation]:
    """Group samples files by the evaluation that wrote them.

    Args:
        sources: samples files of our tasks, and folders to search for them and below; files of other tasks found in a
            folder are passed over.

    Raises:
        SamplesError: a source is not there, a folder holds no samples of ours, a file that was named is not ours, or no
            results file lies beside it. A file of token scores needs none.
        ResultsError: the results file cannot be read.
    """
    by_key: dict[tuple[Path, str], Evaluation] = {}
    results: dict[Path, ResultsFile] = {}
    for path, task in _files(sources):
        beside = _results_beside(path)
        if beside not in results:
            results[beside] = ResultsFile(beside)
        key = beside, benchmark_of(task)
        by_key.setdefault(key, Evaluation(results[beside], key[1])).files[task] = path
    return [*by_key.values()]


def keep_token_scores_only(folder: Path) -> None:
    """Replace the samples files of our trace tasks in a folder and below it by files of token scores.

    Raises:
        SamplesError, ResultsError: a samples file is damaged, or no results file lies beside it.
    """
    for path in sorted(folder.rglob("samples_*.jsonl")):
        if task := _task(path):
            results = ResultsFile(_results_beside(path)).data
            write_token_scores(path.with_suffix(SUFFIX), task, (row for _, row in sample_rows(path)), results)
            path.unlink()


def _files(sources: Sequence[str | Path]) -> Iterator[tuple[Path, str]]:
    """Samples files of our tasks, each once, with its task."""
    files: dict[Path, tuple[Path, str]] = {}
    for source in map(Path, sources):
        inside = [(path, task) for path in samples_in(source) if (task := _task(path))]
        if not inside and source.is_dir():
            raise SamplesError(
                f"no samples in {source}: neither it nor a folder in it holds {_OURS}; run lm_eval with --log_samples "
                "and --output_path"
            )
        if not inside:
            raise SamplesError(f"{source} is not named as samples of our tasks are; expected {_OURS}")
        for path, task in inside:
            files.setdefault(path.resolve(), (path, task))
    yield from files.values()


def _task(path: Path) -> str | None:
    """The task in the name of a samples file, if its responses are token scores of a benchmark's traces."""
    task, separator, _ = path.name.removeprefix("samples_").rpartition("_")
    return task if separator and path.name.startswith("samples_") and is_trace_task(task) else None


def is_trace_task(task: str) -> bool:
    """Whether the responses of an lm-eval task are token scores of a benchmark's traces."""
    return task in {f"rbridge_{kind}{benchmark_of(task)}" for kind in ("", "proxies_")}


def _results_beside(path: Path) -> Path:
    """The results file of the same evaluation."""
    beside = results_beside(path)
    if beside is None:
        date = path.stem.rpartition("_")[2]
        raise SamplesError(
            f"no results_{date}.json lies beside {path}, which says what was evaluated; keep the two files together"
        )
    return beside


def _item(row: dict[str, Any], number: int, path: Path) -> tuple[str, str]:
    doc = row.get("doc")
    if not isinstance(doc, dict) or not isinstance(doc.get("item_id"), str) or not isinstance(doc.get("trace"), str):
        raise SamplesError(f"line {number + 1} of {path} has no doc with item_id and trace; expected {_OURS}")
    return doc["item_id"], f"item {doc['item_id']} of {path}"


def _scored_trace(row: dict[str, Any], item: str, where: str) -> ScoredTrace:
    try:
        response = row["resps"][0][0]
        if not isinstance(response, (str, TokenScores)):
            raise TypeError(f"{response!r:.60} is no text")  # noqa: TRY301  # as any malformed line
        scores = response if isinstance(response, TokenScores) else TokenScores.from_json(response)
    except (KeyError, IndexError, TypeError) as error:
        raise SamplesError(f"{where} has no token scores under resps ({error}); expected {_OURS}") from error
    except ScoreError as error:
        raise SamplesError(f"{where}: {error}") from error
    text = row["doc"]["trace"]
    offsets = [*scores.token_start.tolist(), *scores.token_end.tolist()]
    if offsets and not 0 <= min(offsets) <= max(offsets) <= len(text):
        raise SamplesError(
            f"{where} has tokens from character {min(offsets)} to {max(offsets)} of a trace of {len(text)} characters; "
            "score the trace again"
        )
    return ScoredTrace(item, text, scores, where, row["doc"])
