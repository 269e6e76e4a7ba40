"""The questions of a benchmark, from the Hub or from a local copy in the authors' or the Hub's format."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from rbridge_traces.benchmark import check_benchmark
from rbridge_traces.errors import TraceError, TraceImportError, did_you_mean
from rbridge_traces.field_values import as_choices, as_text, from_cell, required_text
from rbridge_traces.gold import gold_label_if_known
from rbridge_traces.rows import Row, read_rows
from rbridge_traces.schema import BENCHMARKS, Choice

STEM = ("biology", "chemistry", "computer science", "engineering", "math", "physics")
"""The categories of MMLU-Pro that count as STEM."""


@dataclass(frozen=True)
class Question:
    """One item of a benchmark: what is asked, and the right answer.

    Attributes:
        benchmark: its name.
        item_id: the data set's own id of the item, else its row number from 0.
        question: the text, without the choices.
        choices: answer options in order; None for an open question.
        gold: the right answer, for multiple choice its label; for HumanEval a solution. None where it is not known.
    """

    benchmark: str
    item_id: str
    question: str
    choices: tuple[Choice, ...] | None
    gold: str | None


def load_questions(benchmark: str, *, path: str | None = None) -> list[Question]:
    """Read the questions of a benchmark, of MMLU-Pro those of its STEM categories.

    Args:
        benchmark: its name.
        path: a local copy (any form ``read_rows`` knows) with the fields of the Hub's data set or of the authors' own
            files. Default: the data set, fetched from the Hub or taken from its local cache. The rows of a benchmark
            that does not come with this package have the fields question and, optionally, item_id, choices and gold.

    Raises:
        TraceImportError: the file cannot be read, or a row is not a question of this benchmark; names file and row.
        TraceError: unknown benchmark, or the Hub does not give the data set.
    """
    check_benchmark(benchmark)
    rows = dataset_rows(benchmark, path=path)
    where = path or _KINDS[benchmark].name
    read = _KINDS[benchmark].read if benchmark in _KINDS else partial(_unpublished, benchmark)
    questions: list[Question] = []
    first_row: dict[str, int] = {}
    left_out: set[str] = set()
    for number, row in enumerate(rows):
        try:
            question = read(row, number)
        except TraceError as error:
            raise TraceImportError(f"{where}, row {number + 1}: {error}{_other_benchmark(benchmark, row)}") from error
        if question is None:
            left_out.add(str(row.get("category")))
            continue
        if question.item_id in first_row:
            raise TraceImportError(
                f"{where}, row {number + 1}: the id {question.item_id} is that of row {first_row[question.item_id]} "
                "too; each item needs its own"
            )
        first_row[question.item_id] = number + 1
        questions.append(question)
    if not questions:
        others = f" (only {', '.join(sorted(left_out))})" if left_out else ""
        raise TraceImportError(f"{where} holds no questions of {benchmark}{others}; give the whole test set")
    return questions


def dataset_rows(benchmark: str, *, path: str | None = None, option: str = "--questions FILE") -> Iterable[Row]:
    """The test set of a benchmark as it is published, row by row, with all its fields.

    Args:
        benchmark: its name.
        path: a local copy (any form ``read_rows`` knows). Default: the data set, fetched from the Hub or taken from its
            local cache.
        option: how a user names a local copy, for the error.

    Raises:
        TraceError: the file cannot be read, or the Hub does not give the data set.
    """
    if path is not None:
        return read_rows(path)
    if benchmark not in _KINDS:
        meant = did_you_mean(benchmark, _KINDS)
        raise TraceError(f"where {benchmark} is published is not known{meant}; give its questions with {option}")
    return _hub_rows(_KINDS[benchmark], option)


def questions_origin(benchmark: str, path: str | None) -> str:
    """Where questions come from, for people: the data set and its split, or the name of the file.

    >>> questions_origin("gsm8k", None), questions_origin("gsm8k", "/data/mine.jsonl")
    ('openai/gsm8k (test)', 'mine.jsonl')
    """
    check_benchmark(benchmark)
    if path is None:
        return _KINDS[benchmark].name if benchmark in _KINDS else benchmark
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _math500(row: Row, number: int) -> Question:
    return Question("math500", _id(row, "unique_id", number), _text(row, "problem"), None, _text(row, "answer"))


def _humaneval(row: Row, number: int) -> Question:
    gold = _text(row, "canonical_solution")
    return Question("humaneval", _id(row, "task_id", number), _text(row, "prompt"), None, gold)


def _gsm8k(row: Row, number: int) -> Question:
    solution = _text(row, "answer")
    _, marks, gold = solution.rpartition("####")
    if not marks or not gold.strip():
        raise TraceError(f"the answer does not end in '#### NUMBER' (it ends {solution[-30:]!r})")
    return Question("gsm8k", str(number), _text(row, "question"), None, gold.strip().replace(",", ""))


def _mmlu_pro_stem(row: Row, number: int) -> Question | None:
    category, options = _text(row, "category"), _field(row, "options")
    if category not in STEM:
        return None
    if not isinstance(options, list) or not 1 < len(options) <= len(string.ascii_uppercase):
        raise TraceError("its options are not a list of 2 to 26 texts")
    while options and options[-1] == "N/A":  # padding of items with fewer than ten options, in some versions
        options = options[:-1]
    pairs = zip(string.ascii_uppercase, options, strict=False)
    choices = tuple(Choice(label, required_text("choice", text)) for label, text in pairs)
    gold = _label(row, "answer", choices)
    return Question("mmlu_pro_stem", _id(row, "question_id", number), _text(row, "question"), choices, gold)


def _multiple_choice(benchmark: str, row: Row, number: int) -> Question:
    """An item of ARC or CommonsenseQA: flat as on the Hub, or with the stem and the choices inside ``question``."""
    inner = row.get("question")
    text = _text(inner, "stem") if isinstance(inner, dict) else _text(row, "question")
    listed = _field(inner if isinstance(inner, dict) and "choices" in inner else row, "choices")
    try:
        if isinstance(listed, dict):
            pairs = list(zip(listed["label"], listed["text"], strict=True))
        else:
            pairs = [(choice["label"], choice["text"]) for choice in listed]
    except (KeyError, TypeError, ValueError):
        raise TraceError("its choices are not labels and texts") from None
    choices = tuple(Choice(required_text("label", label), required_text("choice", text)) for label, text in pairs)
    question = Question(benchmark, _id(row, "id", number), text, choices, _label(row, "answerKey", choices))
    concept = (inner if isinstance(inner, dict) else row).get("question_concept")
    if benchmark == "csqa" and concept is None:
        raise TraceError("no field question_concept, which every question of CommonsenseQA has")
    if benchmark != "csqa" and concept is not None:
        raise TraceError("it has a question_concept, which ARC has not")
    return question


def _unpublished(benchmark: str, row: Row, number: int) -> Question:
    """An item of any other benchmark: fields item_id or id, question, choices, and gold or answer."""
    choices = as_choices(from_cell("choices", row.get("choices")))
    gold = as_text("gold", row.get("gold", row.get("answer")))
    item_id = _id(row, "item_id" if row.get("item_id") is not None else "id", number)
    return Question(benchmark, item_id, _text(row, "question"), choices, gold_label_if_known(gold, choices))


@dataclass(frozen=True)
class _Kind:
    """Where the questions of a benchmark are published, and how to read one row."""

    repo: str
    config: str | None
    split: str
    read: Callable[[Row, int], Question | None]

    @property
    def name(self) -> str:
        return f"{self.repo} ({self.split})"


_KINDS = {
    "math500": _Kind("HuggingFaceH4/MATH-500", None, "test", _math500),
    "mmlu_pro_stem": _Kind("TIGER-Lab/MMLU-Pro", None, "test", _mmlu_pro_stem),
    "gsm8k": _Kind("openai/gsm8k", "main", "test", _gsm8k),
    "arc_challenge": _Kind("allenai/ai2_arc", "ARC-Challenge", "test", partial(_multiple_choice, "arc_challenge")),
    "csqa": _Kind("tau/commonsense_qa", None, "validation", partial(_multiple_choice, "csqa")),
    "humaneval": _Kind("openai/openai_humaneval", None, "test", _humaneval),
}


def _hub_rows(kind: _Kind, option: str) -> Iterable[Row]:
    import datasets

    try:
        rows: Iterable[Row] = datasets.load_dataset(kind.repo, kind.config, split=kind.split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")[:200] or type(error).__name__
        raise TraceError(
            f"cannot load the data set {kind.repo} from the Hub: {reason}; connect to the Hub, or give a local copy "
            f"with {option}"
        ) from error
    return rows


def _other_benchmark(benchmark: str, row: Row) -> str:
    """The remedy for a row that is not a question of this benchmark."""
    if benchmark not in _KINDS:
        return "; expected the fields question and, where there are some, item_id, choices and gold"
    for other in BENCHMARKS:
        if other != benchmark:
            with suppress(TraceError):
                _KINDS[other].read(row, 0)
                return f"; it looks like {other}, so ask for --benchmark {other} or give the questions of {benchmark}"
    return f"; give the test set of {benchmark} as its authors or the Hub publish it"


def _field(row: Row, name: str) -> Any:
    if name not in row:
        raise TraceError(f"no field {name} (it has {', '.join(row) or 'none'})")
    return row[name]


def _text(row: Row, name: str) -> str:
    value = _field(row, name)
    if not isinstance(value, str) or not value.strip():
        raise TraceError(f"its {name} is {'empty' if isinstance(value, str) else type(value).__name__}, expected text")
    return value


def _id(row: Row, name: str, number: int) -> str:
    return as_text(name, row.get(name)) or str(number)


def _label(row: Row, name: str, choices: Iterable[Choice]) -> str | None:
    """The label of the right choice; None if the file withholds it, as contests do."""
    gold, labels = str(_field(row, name)), [choice.label for choice in choices]
    if gold and gold not in labels:
        raise TraceError(f"its {name} is {gold!r}, which is none of the labels {', '.join(labels)}")
    return gold or None
