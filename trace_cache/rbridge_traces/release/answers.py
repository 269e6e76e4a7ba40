"""Read published completions: question, answer, and their place in the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rbridge_traces.api_answers import ASKED
from rbridge_traces.completions import text_of_choice
from rbridge_traces.errors import TraceError, TraceImportError
from rbridge_traces.field_values import as_choices, as_correct, as_text
from rbridge_traces.question_matching import Asked
from rbridge_traces.release.fields import Fields, first_choice, map_fields
from rbridge_traces.rows import Row, numbered_rows, unit


@dataclass(frozen=True, eq=False)
class PublishedAnswer:
    """One published completion.

    Attributes:
        asked: file and row, item id, question without the rest of the prompt, choices and gold; None where no field
            has them.
        row: as it was read.
        correct, final_answer: as in ``Trace``.
        reasoning: as extracted by the authors; None if no field has it, empty if they found none.
        raw: the whole completion; None if no field has it.
    """

    asked: Asked
    row: Row
    reasoning: str | None
    raw: str | None
    final_answer: str | None
    correct: bool | None

    @property
    def failed(self) -> str | None:
        """Why the authors have no trace of this item, or None."""
        if self.reasoning is not None and not self.reasoning.strip():
            return "empty reasoning"
        return "empty completion" if self.raw is not None and not self.raw.strip() else None


def read_answers(paths: Sequence[str], overrides: Mapping[str, str]) -> tuple[list[PublishedAnswer], Fields]:
    """Read the completions of a benchmark.

    Args:
        paths: files in any form that ``read_rows`` knows.
        overrides: as ``map_fields`` takes them.

    Raises:
        TraceImportError: a file that cannot be read, neither reasoning nor completion in it, a field that is not what
            it should be, or an id that is there twice; names file and row.
    """
    rows = [(f"{path}, {unit(path)} {number}", row) for path in paths for number, row in numbered_rows(path)]
    fields = map_fields("completions", (row for _, row in rows), overrides)
    if not {"reasoning", "completion", "response"} & fields.of.keys():
        raise TraceImportError(f"{paths[0]}: {fields.missing('the reasoning or the whole completion', 'reasoning')}")
    answers = list(_answers(rows, fields))
    first: dict[str, str] = {}
    for place, item_id, *_ in (answer.asked for answer in answers):
        if item_id is not None and first.setdefault(item_id, place) != place:
            raise TraceImportError(
                f"{place}: its id ({fields.of['item_id']}) is {item_id}, as that of {first[item_id]}; name the field "
                "that tells the items apart with --field completions.item_id=FIELD"
            )
    return answers, fields


def _answers(rows: Sequence[tuple[str, Row]], fields: Fields) -> Iterator[PublishedAnswer]:
    texts_of = ("item_id", "question", "reasoning", "completion", "final_answer", "gold")
    get = {target: fields.getter(target) for target in ("response", "choices", "correct", *texts_of)}
    for place, row in rows:
        try:
            item_id, question, reasoning, raw, final_answer, gold = (as_text(name, get[name](row)) for name in texts_of)
            choices, correct = as_choices(get["choices"](row)), as_correct(get["correct"](row))
        except TraceError as error:
            raise TraceImportError(f"{place}: {error}") from error
        if raw is None and (response := get["response"](row)) is not None:
            raw = text_of_choice(first_choice(response))
        yield PublishedAnswer(
            asked=Asked(place, item_id, question and question.partition(ASKED)[0].rstrip(), choices, gold),
            row=row,
            reasoning="" if reasoning is None and "reasoning" in fields.of else reasoning,
            raw=raw,
            final_answer=final_answer,
            correct=correct,
        )
