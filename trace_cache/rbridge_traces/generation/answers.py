"""Judge the answers in a journal: a reasoning with its confidences, or the reason why it is unusable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rbridge_traces.answer_form import AnswerForm, read_choice
from rbridge_traces.completions import NoLogprobsError
from rbridge_traces.errors import TraceError
from rbridge_traces.extraction import Reasoning

Kind = Literal["ok", "malformed", "no log-probabilities", "no answer", "truncated", "filtered", "refused"]

RETRIED: tuple[Kind, ...] = ("malformed", "no log-probabilities", "no answer")
"""Outcomes after which a question is asked once more. The others are likely to repeat, at the same cost."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One judged answer.

    Attributes:
        item_id, digest: of the question, and of the prompt.
        turn: 1, plus 1 for every ``--retry-failed``.
        attempt: within the turn: 1, or 2 for the retry.
        kind, reason: ``ok``, or the kind of failure and its message.
        reasoning: for ``ok`` with log-probabilities.
        text, final_answer: for ``ok``.
        repairs: escapes that were read as LaTeX and not as JSON.
        model: as the server named it.
        prompt_tokens, completion_tokens: by the server's count; 0 if it gives none.
        decoding: how the answer was decoded.
        has_logprobs: whether the answer has log-probabilities.
    """

    item_id: str
    digest: str
    turn: int
    attempt: int
    kind: Kind
    reason: str = ""
    reasoning: Reasoning | None = None
    text: str | None = None
    final_answer: str | None = None
    repairs: int = 0
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    decoding: str = ""
    has_logprobs: bool = False


@dataclass
class Answers:
    """The last outcome of every item."""

    by_item: dict[str, Outcome] = field(default_factory=dict)
    any_logprobs: bool = False

    def add(self, outcome: Outcome) -> None:
        """Record the next outcome, in the order of the journal."""
        self.by_item[outcome.item_id] = outcome
        self.any_logprobs |= outcome.has_logprobs

    def next_attempt(self, item_id: str, *, retry_failed: bool) -> tuple[int, int] | None:
        """Turn and attempt in which to ask an item next; None if it is finished."""
        last = self.by_item.get(item_id)
        if last is None:
            return 1, 1
        if last.kind == "ok":
            return None
        if last.kind == "no answer" or (last.kind == "no log-probabilities" and not self.any_logprobs):
            return last.turn + 1, 1  # the server failed, not the item
        if last.kind in RETRIED and last.attempt == 1:
            return last.turn, 2
        return (last.turn + 1, 1) if retry_failed else None


def outcome_of(entry: Mapping[str, Any], form: AnswerForm, *, logprobs: bool) -> Outcome:
    """Read an entry of the journal.

    Args:
        entry: as ``Journal.append`` takes it.
        form: what to read from the answer.
        logprobs: whether confidences are wanted; without, the text alone counts.
    """
    usage = entry.get("usage") or {}
    choice = entry.get("choice") or {}
    listed = (choice.get("logprobs") or {}).get("content")
    return Outcome(
        **_judged(entry, choice, form, logprobs=logprobs),
        item_id=entry["item_id"],
        digest=entry["digest"],
        turn=entry["turn"],
        attempt=entry["attempt"],
        model=entry.get("model"),
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or len(listed or ()),
        decoding=entry.get("decoding") or "",
        has_logprobs=bool(listed),
    )


def listed_failures(outcomes: Iterable[Outcome]) -> str:
    """Failures by kind, with their number: ``2 malformed, 1 truncated``; empty without failures."""
    kinds = Counter(outcome.kind for outcome in outcomes if outcome.kind != "ok")
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _judged(entry: Mapping[str, Any], choice: Mapping[str, Any], form: AnswerForm, *, logprobs: bool) -> dict[str, Any]:
    """The fields of an outcome that follow from its answer."""
    if error := entry.get("error"):
        return {"kind": error["kind"], "reason": error["message"]}
    message = choice.get("message") or {}
    if not message.get("content") and (choice.get("finish_reason") == "content_filter" or message.get("refusal")):
        return {"kind": "filtered", "reason": str(message.get("refusal") or "by the server's content filter")}
    try:
        read = read_choice(choice, form, logprobs=logprobs)
        _check_text("final_answer", read.final_answer)
        _check_text("trace", read.trace)
    except NoLogprobsError as error:
        return {"kind": "no log-probabilities", "reason": str(error)}
    except TraceError as error:
        if choice.get("finish_reason") == "length":
            return {"kind": "truncated", "reason": "it is cut off at --max-tokens"}
        if choice.get("finish_reason") == "content_filter":
            return {"kind": "filtered", "reason": "it is cut off by the server's content filter"}
        return {"kind": "malformed", "reason": str(error)}
    return {
        "kind": "ok",
        "reasoning": read.tokens,
        "text": read.trace,
        "final_answer": read.final_answer,
        "repairs": read.repairs or 0,
    }


def _check_text(field: str, text: str | None) -> None:
    if not (text and text.strip()):
        raise TraceError(f"it has no {field}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TraceError(f"its {field} holds half a surrogate pair") from None
