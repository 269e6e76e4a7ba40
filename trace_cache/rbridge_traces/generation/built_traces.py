"""Put questions and answers of a build together as graded traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.confidence import mean_confidence
from rbridge_traces.errors import TraceError
from rbridge_traces.extraction import counted_repairs
from rbridge_traces.generation.answers import Outcome, listed_failures
from rbridge_traces.generation.client import Connection
from rbridge_traces.generation.grading import grade
from rbridge_traces.questions import Question
from rbridge_traces.schema import Trace
from rbridge_traces.unknown_logprobs import UnknownTokens, unknown_tokens


@dataclass(frozen=True, eq=False)
class BuiltTraces:
    """Graded traces, in the order of the questions, the answers they come from, and the last failure of other items."""

    traces: list[Trace]
    answers: list[Outcome]
    failed: list[Outcome]

    @property
    def mean_confidence(self) -> float | None:
        """Over all tokens whose log-probability is known; None without confidences."""
        return mean_confidence(self.traces)

    @property
    def unknown(self) -> UnknownTokens:
        """Tokens whose log-probability is not known."""
        return unknown_tokens(self.traces)

    @property
    def repairs(self) -> str:
        """How many backslashes were repaired in how many answers; empty if none."""
        return counted_repairs(answer.repairs for answer in self.answers)

    def described(
        self, connection: Connection, form: AnswerForm, prompt: str, origin: str, build_id: str
    ) -> dict[str, Any]:
        """The fields of a manifest that say how the traces were made."""
        models = ", ".join(sorted({outcome.model or connection.model for outcome in self.answers}))
        failed = f"{len(self.failed)} failed: {listed_failures(self.failed)}" if self.failed else ""
        thinking = "traces are the model's thinking" if form.trace == "thinking" else ""
        facts = [f"questions of {origin}", thinking, failed, self.repairs, f"build {build_id}"]
        return {
            "frontier_model": models,
            "confidence_model": models if connection.logprobs else None,
            "prompt": prompt,
            "decoding": " or ".join(sorted({outcome.decoding for outcome in self.answers})),
            "note": "; ".join(filter(None, facts)),
        }


def traces_of(questions: Sequence[Question], outcomes: Sequence[Outcome]) -> BuiltTraces:
    """Put questions and answers together, and grade them.

    Args:
        questions: in the order that the traces are to have.
        outcomes: the last one of every question that was asked.

    Raises:
        TraceError: no item has a usable answer.
    """
    failed = [outcome for outcome in outcomes if outcome.kind != "ok"]
    by_id = {outcome.item_id: outcome for outcome in outcomes if outcome.kind == "ok"}
    if not by_id:
        raise TraceError(
            f"none of {len(questions)} items has a usable answer: {listed_failures(failed)} (the last: "
            f"{failed[-1].reason}); ask again with --retry-failed, or choose another model"
        )
    pairs = [(question, by_id[question.item_id]) for question in questions if question.item_id in by_id]
    return BuiltTraces([_trace(*pair) for pair in pairs], [outcome for _, outcome in pairs], failed)


def _trace(question: Question, outcome: Outcome) -> Trace:
    reasoning = outcome.reasoning
    return Trace(
        benchmark=question.benchmark,
        item_id=question.item_id,
        question=question.question,
        trace=outcome.text or "",
        choices=question.choices,
        final_answer=outcome.final_answer,
        gold=question.gold,
        correct=grade(question.benchmark, outcome.final_answer, question.gold, question.choices),
        token_end=None if reasoning is None else reasoning.token_end,
        token_logprob=None if reasoning is None else reasoning.token_logprob,
    )
