"""Read a published release: join completions with the log-probabilities of their tokens, and check them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rbridge_traces.completions import completion_of_tokens
from rbridge_traces.errors import CompletionError, NoTraceError, TraceError, TraceImportError, UnusableItemError
from rbridge_traces.extraction import Reasoning, counted_repairs
from rbridge_traces.gold import gold_label_if_known
from rbridge_traces.question_matching import with_questions
from rbridge_traces.reasoning_match import reasoning_in
from rbridge_traces.release.answers import PublishedAnswer, read_answers
from rbridge_traces.release.fields import map_fields
from rbridge_traces.release.folders import release_files, release_folders
from rbridge_traces.release.join import join
from rbridge_traces.release.report import Readers, ReleaseReport, counted
from rbridge_traces.release.token_rows import add_tokens, has_probabilities, layout_of, listed_tokens, read_token_rows
from rbridge_traces.release.token_table import TokenTable
from rbridge_traces.schema import Trace
from rbridge_traces.unknown_logprobs import known_logprobs


def release_readers(
    root: Path, overrides: Mapping[str, str], questions: str | None = None, *, skip_mismatched: bool = False
) -> Readers:
    """A reader for each benchmark of a release in a folder; the arguments are those of ``read_release``.

    Raises:
        TraceImportError: the folder holds no benchmark.
    """
    read = partial(read_release, overrides=overrides, questions=questions, skip_mismatched=skip_mismatched)
    return {benchmark: partial(read, benchmark, folder) for benchmark, folder in release_folders(root).items()}


def read_release(
    benchmark: str, folder: Path, *, overrides: Mapping[str, str], questions: str | None, skip_mismatched: bool
) -> ReleaseReport:
    """Read the completions of a benchmark with their tokens, and extract the reasoning of each.

    Args:
        benchmark: its name.
        folder: of its files.
        overrides: fields with other names than ``map_fields`` knows.
        questions: a file of the benchmark's questions, to fill in what the release lacks.
        skip_mismatched: leave out, and count, what does not fit together, instead of refusing it. Items of which the
            authors have no trace themselves, their completion malformed or its reasoning empty, are counted always.

    Raises:
        TraceImportError: a file cannot be read, a field is missing, or completions and tokens do not fit together;
            names file, row, the fields used and what was expected.
    """
    files = release_files(folder, overrides)
    answers, of_answers = read_answers(files.completions, overrides)
    dropped: Counter[str] = Counter()
    if files.tokens:
        table, of_tokens = read_token_rows(files.tokens, overrides)
        items, unknown = join(table, of_tokens, answers, of_answers, skip_mismatched=skip_mismatched)
        dropped["token rows of no completion"] = unknown
        used = of_tokens.of
        if not skip_mismatched:
            _refuse_missing(answers, items)
    else:
        table, items, used = _own_tokens(answers, overrides)
    answers = _with_questions(benchmark, answers, questions)
    traces, repairs = [], []
    for number, (answer, item) in enumerate(zip(answers, items, strict=True)):
        try:
            reasoning = _reasoning(answer, table, item)
            traces.append(_trace(benchmark, number, answer, reasoning))
            repairs.append(reasoning.repairs)
        except NoTraceError as error:
            dropped[str(error)] += 1
        except UnusableItemError as error:
            if not skip_mismatched:
                raise TraceImportError(
                    f"{answer.asked.place}: {error}; the fields used are {_shown(of_answers.of)} of the completions "
                    f"and {_shown(used)} of the tokens; name others with --field, or leave such items out with "
                    "--skip-mismatched"
                ) from error
            dropped[error.reason] += 1
    if not traces:
        raise TraceImportError(f"{folder}: none of {len(answers)} completions became a trace ({counted(dropped)})")
    return ReleaseReport(traces, +dropped, len(table), counted_repairs(repairs))


def _with_questions(benchmark: str, answers: list[PublishedAnswer], path: str | None) -> list[PublishedAnswer]:
    """Fill in what completions lack of their questions, if they lack the text or a file of questions is given."""
    if path is None and all(answer.asked.question for answer in answers):
        return answers
    asked = with_questions(benchmark, [answer.asked for answer in answers], path)
    return [dataclasses.replace(answer, asked=known) for answer, known in zip(answers, asked, strict=True)]


def _refuse_missing(answers: Sequence[PublishedAnswer], items: Sequence[int | str]) -> None:
    """Refuse completions without token rows first: most likely a file is missing."""
    missing = [
        answer for answer, item in zip(answers, items, strict=True) if isinstance(item, str) and not answer.failed
    ]
    if missing:
        raise TraceImportError(
            f"{missing[0].asked.place}: it has no token rows, as {len(missing)} of {len(answers)} completions (is a "
            "part missing?); fetch the token rows again, or leave such items out with --skip-mismatched"
        )


def _reasoning(answer: PublishedAnswer, table: TokenTable, item: int | str) -> Reasoning:
    """Cut the reasoning of an item out of its tokens, which have to spell the published completion.

    Raises:
        NoTraceError: the completion is malformed, or its reasoning empty.
        UnusableItemError: tokens and texts differ; shows where.
    """
    if answer.failed:
        raise NoTraceError(answer.failed)
    if isinstance(item, str):
        raise UnusableItemError(item, "without tokens")
    pieces, logprobs = table.of(item)
    try:
        known_logprobs(logprobs)
    except TraceError as error:
        raise UnusableItemError(str(error), "unusable log-probabilities") from error
    try:
        completion = completion_of_tokens(pieces, logprobs, text=answer.raw)
    except CompletionError as error:
        raise UnusableItemError(str(error), "tokens of another text") from error
    return reasoning_in(completion, answer.reasoning, answer.final_answer)


def _trace(benchmark: str, number: int, answer: PublishedAnswer, reasoning: Reasoning) -> Trace:
    asked = answer.asked
    try:
        return Trace(
            benchmark=benchmark,
            item_id=asked.item_id if asked.item_id is not None else str(number),
            question=asked.question or "",
            trace=reasoning.text,
            choices=asked.choices,
            final_answer=reasoning.final_answer,
            gold=gold_label_if_known(asked.gold, asked.choices),
            correct=answer.correct,
            token_end=reasoning.token_end,
            token_logprob=reasoning.token_logprob,
        )
    except TraceError as error:
        raise UnusableItemError(str(error), "not valid") from error


def _own_tokens(
    answers: Sequence[PublishedAnswer], overrides: Mapping[str, str]
) -> tuple[TokenTable, list[int | str], Mapping[str, str]]:
    """The tokens of completions that contain them, and the item of each in the table, or why it has none."""
    rows = [answer.row for answer in answers]
    fields = map_fields("tokens", rows, overrides)
    if layout_of(rows, fields) != "listed":
        raise fields.missing("tokens and their log-probabilities, and there are no token rows beside them", "logprob")
    table = TokenTable(unit="row", probabilities=has_probabilities(fields))
    table.begin(answers[0].asked.place.rpartition(",")[0])
    items: list[int | str] = []
    for number, row in enumerate(rows, start=1):
        try:
            tokens, item = listed_tokens(row, fields), table.item(str(number))
            add_tokens(table, item, tokens, number)
            items.append(item)
        except TraceError as error:
            items.append(str(error))
    return table, items, fields.of


def _shown(used: Mapping[str, str]) -> str:
    return ", ".join(f"{target}={name or 'the row itself'}" for target, name in used.items())
