"""Join token rows to their completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rbridge_traces.errors import TraceImportError
from rbridge_traces.release.answers import PublishedAnswer
from rbridge_traces.release.fields import Fields, value_at
from rbridge_traces.release.token_table import TokenTable


def join(
    table: TokenTable,
    of_tokens: Fields,
    answers: Sequence[PublishedAnswer],
    of_answers: Fields,
    *,
    skip_mismatched: bool,
) -> tuple[list[int | str], int]:
    """Find the item of the token rows for each completion.

    The item of the token rows is looked up in the field of that name of the completions, in their id, and in their row
    number from 0 and from 1. The way that matches the most is taken, the first of equals.

    Returns:
        The item in ``table`` of each completion, or the reason why it has none, and the number of unmatched items.

    Raises:
        TraceImportError: none is found, or (unless ``skip_mismatched``) not all; names both sides' fields and the row.
    """
    tried = _ways(of_tokens, answers, of_answers)
    how, way = max(tried.items(), key=lambda tried: _fit(tried[1], table, answers))
    unknown = [name for name in table.items if name not in way]
    if unknown and (not skip_mismatched or len(unknown) == len(table.items)):
        field = of_tokens.of.get("item_id", "the number of the row")
        examples = ", ".join(list(way)[:3])
        place = table.first_place(table.items[unknown[0]])
        raise TraceImportError(
            f"{place}: {field} is {unknown[0]}, and no completion has that as {how} "
            f"(those have {examples}, ...); the token rows have {', '.join(of_tokens.present)}, the completions "
            f"{', '.join(of_answers.present)}; name the fields with --field tokens.item_id=FIELD and "
            "--field completions.item_id=FIELD, or leave such rows out with --skip-mismatched"
        )
    items: list[int | str] = ["it has no token rows"] * len(answers)
    for name, item in table.items.items():
        if name in way:
            items[way[name]] = item
    return items, len(unknown)


def _ways(of_tokens: Fields, answers: Sequence[PublishedAnswer], of_answers: Fields) -> dict[str, Mapping[str, int]]:
    """For each way to name completions: their numbers by name."""
    ways: dict[str, Mapping[str, int]] = {}
    for field in dict.fromkeys([of_tokens.of.get("item_id"), of_answers.of.get("item_id")]):
        named = {
            str(value): number
            for number, answer in enumerate(answers)
            if field is not None and (value := value_at(answer.row, field)) is not None
        }
        if len(named) == len(answers):
            ways[f"its {field}"] = named
    for base in (0, 1):
        ways[f"the number of its row from {base}"] = {str(n + base): n for n in range(len(answers))}
    return ways


def _fit(way: Mapping[str, int], table: TokenTable, answers: Sequence[PublishedAnswer]) -> tuple[int, int]:
    """Number of matched items, and of usable completions among them."""
    hits = [way[name] for name in table.items if name in way]
    return len(hits), sum(answers[number].failed is None for number in hits)
