"""Import traces from a user's file: rows with the fields of a trace, or responses of a Completions API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.benchmark import check_benchmark
from rbridge_traces.errors import TraceError, TraceImportError, UnusableItemError, did_you_mean
from rbridge_traces.field_values import as_correct, as_text
from rbridge_traces.gold import CountFrom, read_gold
from rbridge_traces.question_matching import Asked, with_questions
from rbridge_traces.row_to_trace import (
    TARGETS,
    Draft,
    RowOptions,
    answers_of_row,
    draft_of,
)
from rbridge_traces.rows import read_rows
from rbridge_traces.schema import Trace

_EITHER = AnswerForm(format=None)
_ENOUGH_INDEXES = 16  # of four choices: only 1 in 100 files that count from 0 has no 0 among so many


@dataclass(frozen=True)
class ImportReport:
    """The traces of a file, and what was left out.

    Attributes:
        traces: in the order of the rows.
        skipped_empty: rows left out because their trace is empty.
        failed: answers left out because they give no trace, by reason.
        gold_indexes: traces whose gold was the index of a choice and is now its label.
        cut_off: traces whose answer reached its token limit.
        model: that gave the answers, where API responses name one.
        repairs: for each trace that was read out of a JSON answer, how many escapes were read as LaTeX.
    """

    traces: list[Trace]
    skipped_empty: int
    failed: Counter[str] = field(default_factory=Counter)
    gold_indexes: int = 0
    cut_off: int = 0
    model: str | None = None
    repairs: tuple[int, ...] = ()


def import_traces(
    path: str,
    *,
    benchmark: str,
    mapping: Mapping[str, str] | None = None,
    skip_empty: bool = False,
    skip_failed: bool = False,
    questions: str | None = None,
    gold_from: CountFrom | None = None,
    logprobs: bool = True,
    form: AnswerForm = _EITHER,
) -> ImportReport:
    """Read a file of any form ``read_rows`` knows as traces of one benchmark.

    A field of a trace that is not mapped is taken from the field of the same name if a row has it. ``item_id`` is then
    taken from item_id, custom_id, id, task_id, question_id or unique_id, whichever comes first, or is the number of the
    row. A trace that is the whole JSON answer of a model is cut down to its ``reasoning``; its ``final_answer`` counts
    where the row has none. Numbers become text where text is due (3 becomes ``3``, 3.0 ``3.0``). Choices are a list of
    texts (labelled A, B, ...), a list of ``{label, text}``, ``{"label": [...], "text": [...]}`` or an object of texts
    by label. The gold of an item with choices becomes a label (see ``gold_label``).

    A row that has no trace of its own may hold the response of a Completions API (see ``answers_in``). Its text, or the
    ``reasoning`` of the JSON object in it, is the trace, and its log-probabilities are the confidences. The question is
    then the field of that name, the last question of its prompt, or that of ``questions``.

    Args:
        path: local path, or any URL fsspec knows.
        benchmark: its name, of this package or any other.
        mapping: field of a trace -> field of the file. Dots lead into objects and lists: ``question.stem``,
            ``choices.0.text``. ``{"spans": "inline"}`` cuts ``<span>..</span>`` marks out of the trace.
        skip_empty: leave out rows whose trace is empty, and count them.
        skip_failed: leave out answers of an API that give no trace, and count them by reason.
        questions: a file of the benchmark's questions, to fill in questions, choices and golds that rows lack.
        gold_from: the index of the first choice, where golds are indexes. Default: 0, refused where that is doubtful.
        logprobs: take the log-probabilities of tokens that rows hold, and refuse a row with some in no known layout.
        form: what to read from answers of an API. Default: the ``reasoning`` of a JSON object, else the whole text.

    Raises:
        TraceImportError: the file cannot be read, or a row is not a valid trace; names the file and the row (from 1).
        TraceError: not a name of a benchmark.
    """
    check_benchmark(benchmark)
    options = RowOptions(mapping or {}, has_questions=questions is not None, logprobs=logprobs, form=form)
    for target in options.mapping:
        if target not in TARGETS:
            raise TraceImportError(
                f"cannot map to {target!r}{did_you_mean(target, TARGETS)}; a trace has the fields {', '.join(TARGETS)}"
            )
    drafts, failed, skipped = _drafts(path, options, skip_empty=skip_empty, skip_failed=skip_failed)
    models = {draft.model for draft in drafts}
    filled = _with_questions(benchmark, drafts, questions)
    traces, indexes = _traces(benchmark, filled, gold_from or 0)
    if gold_from is None and len(indexes) >= _ENOUGH_INDEXES and not any(float(index) == 0 for index in indexes):
        raise TraceImportError(
            f"{path}: none of its {len(indexes)} golds that are indexes of choices is 0, so they may count from 1; "
            "say --gold-from 0 or --gold-from 1"
        )
    return ImportReport(
        traces=traces,
        skipped_empty=skipped,
        failed=failed,
        gold_indexes=len(indexes),
        cut_off=sum(draft.cut_off for draft in drafts),
        repairs=tuple(draft.repairs for draft in drafts if draft.repairs is not None),
        model=models.pop() if len(models) == 1 else None,
    )


def _drafts(
    path: str, options: RowOptions, *, skip_empty: bool, skip_failed: bool
) -> tuple[list[Draft], Counter[str], int]:
    """The traces of all rows, failed answers by reason, and the number of empty traces."""
    drafts: list[Draft] = []
    failed: Counter[str] = Counter()
    empty = 0
    for number, row in enumerate(read_rows(path), start=1):
        place = f"{path}, row {number}"
        try:
            answers = answers_of_row(row, options)
            for position, answered in enumerate(answers, start=1):
                try:
                    draft = draft_of(row, place, answered, options)
                except UnusableItemError as error:
                    if not skip_failed:
                        raise TraceImportError(f"{error}; leave such answers out with --skip-failed") from error
                    failed[error.reason] += 1
                    continue
                if draft is None and not skip_empty:
                    raise TraceImportError(
                        "the trace is empty; leave such rows out with --skip-empty, or map the field that holds the "
                        "reasoning with trace=FIELD"
                    )
                if draft is None:
                    empty += 1
                    continue
                if len(answers) > 1 and not draft.named:
                    draft.values["item_id"] = f"{number}/{position}"
                drafts.append(draft)
        except TraceError as error:
            raise TraceImportError(f"{place}: {error}") from error
    return drafts, failed, empty


def _with_questions(benchmark: str, drafts: Sequence[Draft], path: str | None) -> Sequence[Draft]:
    """Fill in questions, choices and golds from a file of the benchmark's questions, where one is given."""
    if path is None or not drafts:
        return drafts
    asked = [
        Asked(
            draft.place,
            draft.values["item_id"] if draft.named else None,
            *(draft.values[name] for name in ("question", "choices", "gold")),
        )
        for draft in drafts
    ]
    for draft, known in zip(drafts, with_questions(benchmark, asked, path), strict=True):
        draft.values |= {name: value for name, value in known._asdict().items() if name != "place"}
    return drafts


def _traces(benchmark: str, drafts: Sequence[Draft], gold_from: CountFrom) -> tuple[list[Trace], list[Any]]:
    """The traces of drafts, each checked, no item twice, and the golds that are indexes of choices."""
    traces: list[Trace] = []
    indexes: list[Any] = []
    first: dict[str, str] = {}
    remedy = "give the label" + "; if indexes in this file count from 1, say --gold-from 1" * (gold_from == 0)
    for draft in drafts:
        given = draft.values["gold"]
        try:
            correct, gold = as_correct(draft.values["correct"]), as_text("gold", given)
            if gold and draft.values["choices"]:
                gold, by_index = read_gold(given, draft.values["choices"], gold_from, remedy)
                indexes += [given] * by_index
            final_answer = as_text("final_answer", draft.values["final_answer"])
            traces.append(
                Trace(benchmark, **draft.values | {"correct": correct, "gold": gold, "final_answer": final_answer})
            )
        except TraceError as error:
            raise TraceImportError(f"{draft.place}: {error}") from error
        item_id = traces[-1].item_id
        if item_id in first:
            raise TraceImportError(
                f"{draft.place}: the item_id {item_id} is that of {first[item_id]} too; "
                "keep one trace for each item, or map a field that tells the rows apart with item_id=FIELD"
            )
        first[item_id] = draft.place.rpartition(", ")[2]
    return traces, indexes
