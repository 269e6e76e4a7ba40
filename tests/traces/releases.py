"""Releases to read: the same completions and tokens in the layouts that authors may choose."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .answers import Answer, Cut, answer_of, chat, legacy, write_characters

REASONINGS = (
    "First, 12 + 30 = 42.\nSo it is 42.",
    'He says "naïve café", that is C:\\temp\tor so.',
    "\\frac{1}{2} of 84 is 42; 한국어 😀 𝔘.",
    "  White space around it.  ",
    "One {brace} and a ``` fence.",
    "Short.",
)


@dataclass(frozen=True)
class Item:
    """A completion with its tokens and the fields of its benchmark item."""

    number: int
    answer: Answer
    cut: Cut

    @property
    def question(self) -> str:
        """A question that is unique among the items."""
        return f"What is question {self.number}?"

    @property
    def gold(self) -> str:
        """The right answer."""
        return str(40 + self.number)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The tokens as ``{token, logprob, bytes}``."""
        entries: list[dict[str, Any]] = chat(self.answer.raw, self.cut)["logprobs"]["content"]
        return entries


def items(count: int = len(REASONINGS), seed: int = 0) -> list[Item]:
    """Completions with every kind of escape, cut into tokens at any byte."""
    rng = random.Random(seed)
    return [_item(rng, number) for number in range(count)]


def _item(rng: random.Random, number: int) -> Item:
    reasoning = REASONINGS[number % len(REASONINGS)]
    characters = write_characters(reasoning, rng.choices(range(6), k=len(reasoning)))
    before, after = rng.choice([("", ""), ("```json\n", "\n```"), ("Sure:\n", "")])
    tail = f'", "final_answer": "{40 + number}"}}{after}'
    answer = answer_of(f'{before}{{"reasoning": "', characters, tail, reasoning, str(40 + number))
    size = len(answer.raw.encode())
    ends = [0, *sorted(rng.sample(range(1, size), size // 4)), size]
    pieces = [answer.raw.encode()[start:end] for start, end in pairwise(ends)]
    return Item(number, answer, Cut(pieces, [-rng.expovariate(2.0) for _ in pieces]))


# ---------------------------------------------------------------- files


def as_json(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a JSON array, gzipped if the name says so."""
    _put(path, json.dumps(rows, ensure_ascii=False))


def as_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON Lines, gzipped if the name says so."""
    _put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def as_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def in_parts(folder: Path, name: str, rows: Sequence[dict[str, Any]], parts: int = 3) -> None:
    """Write JSON Lines, distributed over several files."""
    size = -(-len(rows) // parts)
    for part in range(parts):
        as_lines(folder / f"{name}-{part:05}-of-{parts:05}.jsonl", rows[part * size : (part + 1) * size])


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


# ---------------------------------------------------------------- layouts


def record(item: Item) -> dict[str, Any]:
    """A completion with the package's own field names."""
    return {
        "item_id": f"item-{item.number}",
        "question": item.question,
        "reasoning": item.answer.reasoning,
        "completion": item.answer.raw,
        "final_answer": item.answer.final_answer,
        "gold": item.gold,
        "correct": True,
    }


def rows_of(item: Item, **item_field: Any) -> list[dict[str, Any]]:
    """One row per token, with the fields that identify the item."""
    return [item_field | {"position": position} | entry for position, entry in enumerate(item.entries)]


def plain(folder: Path, items: Sequence[Item]) -> None:
    """One JSON array of completions; token rows in parts."""
    as_json(folder / "completions.json", [record(item) for item in items])
    in_parts(folder, "tokens", [row for item in items for row in rows_of(item, item_id=f"item-{item.number}")])


def shuffled(folder: Path, items: Sequence[Item]) -> None:
    """The plain layout with shuffled token rows and gzipped parts."""
    as_json(folder / "completions.json.gz", [record(item) for item in items])
    rows = [row for item in items for row in rows_of(item, item_id=f"item-{item.number}")]
    random.Random(1).shuffle(rows)
    for part in range(11):
        as_lines(folder / f"part-{part}.jsonl.gz", rows[part::11])


def other_names(folder: Path, items: Sequence[Item]) -> None:
    """Other field names; positions from 1; numeric ids; the prompt includes its instruction."""
    as_json(
        folder / "cot.json",
        [
            {
                "problem_id": 100 + item.number,
                "prompt": f"{item.question}\n\nRespond ONLY with a JSON object, and so on",
                "cot": item.answer.reasoning,
                "rawResponse": item.answer.raw,
                "prediction": item.answer.final_answer,
                "Answer": item.gold,
                "is_correct": 1,
            }
            for item in items
        ],
    )
    rows = [
        {"problem_id": 100 + item.number, "index": at, "text": e["token"], "utf8": e["bytes"], "lp": e["logprob"]}
        for item in items
        for at, e in enumerate(item.entries, start=1)
    ]
    in_parts(folder, "logprobs", rows)


def by_row_number(base: int) -> Callable[[Path, Sequence[Item]], None]:
    """Token rows with the row number of their item and no positions; completions without ids or raw text."""

    def write(folder: Path, items: Sequence[Item]) -> None:
        fields = ("question", "reasoning", "final_answer", "gold", "correct")
        as_json(folder / "gsm8k.json", [{name: record(item)[name] for name in fields} for item in items])
        rows = [{"index": item.number + base} | entry for item in items for entry in item.entries]
        in_parts(folder, "gsm8k", rows)

    return write


def lists(folder: Path, items: Sequence[Item]) -> None:
    """A Parquet file with one row of parallel lists per completion; the record's reasoning is stripped."""
    stripped = [record(item) | {"reasoning": item.answer.reasoning.strip()} for item in items]
    as_json(folder / "completions.json", stripped)
    rows = [
        {
            "item_id": f"item-{item.number}",
            "tokens": [entry["token"] for entry in item.entries],
            "token_bytes": [entry["bytes"] for entry in item.entries],
            "logprobs": item.cut.logprobs,
        }
        for item in reversed(items)
    ]
    as_parquet(folder / "tokens.parquet", rows)


def probabilities(folder: Path, items: Sequence[Item]) -> None:
    """Probabilities instead of log-probabilities; all files are Parquet."""
    as_parquet(folder / "a.parquet", [record(item) for item in items])
    rows = [row for item in items for row in rows_of(item, item_id=f"item-{item.number}")]
    for row in rows:
        row["prob"] = math.exp(row.pop("logprob"))
        del row["top_logprobs"]
    as_parquet(folder / "b.parquet", rows)


def responses(layout: Callable[[str, Cut], dict[str, Any]]) -> Callable[[Path, Sequence[Item]], None]:
    """Completions that consist of the raw response with its tokens, the question and the gold answer."""

    def write(folder: Path, items: Sequence[Item]) -> None:
        rows = [
            {
                "id": f"item-{item.number}",
                "question": item.question,
                "answer": item.gold,
                "response": {"id": "chatcmpl-1", "model": "gpt-4o", "choices": [layout(item.answer.raw, item.cut)]},
            }
            for item in items
        ]
        as_lines(folder / "responses.jsonl", rows)

    return write


def batch(folder: Path, items: Sequence[Item]) -> None:
    """A batch output file beside the completions, whose parsed answer is in an object."""
    parsed = [
        {
            "custom_id": f"item-{item.number}",
            "problem": item.question,
            "answer": item.gold,
            "output": {"reasoning": item.answer.reasoning, "final_answer": item.answer.final_answer},
        }
        for item in items
    ]
    as_json(folder / "completions.json", parsed)
    as_lines(
        folder / "batch.jsonl",
        [
            {
                "id": f"batch_req_{item.number}",
                "custom_id": f"item-{item.number}",
                "response": {"status_code": 200, "body": {"choices": [chat(item.answer.raw, item.cut)]}},
            }
            for item in items
        ],
    )


def objects(folder: Path, items: Sequence[Item]) -> None:
    """One row with a list of token objects per completion; the question identifies the item."""
    as_json(folder / "completions.json", [record(item) for item in items])
    rows = [{"question": item.question, "logprobs": {"content": item.entries}} for item in items]
    in_parts(folder, "logprobs", rows, parts=2)


LAYOUTS: dict[str, Callable[[Path, Sequence[Item]], None]] = {
    "plain": plain,
    "shuffled": shuffled,
    "other names": other_names,
    "by row number from 0": by_row_number(0),
    "by row number from 1": by_row_number(1),
    "lists": lists,
    "probabilities": probabilities,
    "Chat Completions responses": responses(chat),
    "legacy responses": responses(legacy),
    "batch output": batch,
    "lists of objects": objects,
}
