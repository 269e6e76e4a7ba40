"""The cost of a build: estimated, and spent."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rbridge_traces.answer_form import AnswerFormat
from rbridge_traces.benchmark import benchmark_named
from rbridge_traces.errors import TraceError
from rbridge_traces.generation import prompt
from rbridge_traces.questions import Question

PRICES_OF = "September 2025"
PRICES = {
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4-turbo": (10.0, 30.0),
    "gpt-3.5-turbo": (0.5, 1.5),
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5-nano": (0.05, 0.4),
    "o3": (2.0, 8.0),
    "o4-mini": (1.1, 4.4),
}
"""US dollars for a million tokens of prompt and of answer, as OpenAI listed them in ``PRICES_OF``."""

_CHARACTERS_PER_TOKEN = 4
_TOKENS_A_MESSAGE = 4  # what a chat template puts around each
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt_usd: float
    answer_usd: float

    def cost_usd(self, prompt_tokens: int, answer_tokens: int) -> float:
        """What so many tokens cost.

        >>> Price(2.5, 10).cost_usd(1_000_000, 100_000)
        3.5
        """
        return (prompt_tokens * self.prompt_usd + answer_tokens * self.answer_usd) / 1e6


@dataclass(frozen=True)
class CostEstimate:
    """The cost of the questions still to be asked.

    Attributes:
        items: questions still to be asked.
        prompt_tokens: of all of them, at four characters a token.
        answer_tokens: of all of them, by ``Benchmark.answer_tokens``.
        most_answer_tokens: if every answer ran to its limit.
        price: None where it is not known.
    """

    items: int
    prompt_tokens: int
    answer_tokens: int
    most_answer_tokens: int
    price: Price | None

    @property
    def cost_usd(self) -> float | None:
        """The expected cost; None where the price is not known."""
        return None if self.price is None else self.price.cost_usd(self.prompt_tokens, self.answer_tokens)

    @property
    def most_usd(self) -> float | None:
        """The cost if every answer ran to its limit; None where the price is not known."""
        return None if self.price is None else self.price.cost_usd(self.prompt_tokens, self.most_answer_tokens)


def estimate(
    questions: Sequence[Question], price: Price | None, *, max_tokens: int, form: AnswerFormat | None = "json"
) -> CostEstimate:
    """CostEstimate what it costs to ask some questions of one benchmark once each.

    >>> question = Question("csqa", "1", "Where is it?", None, "A")
    >>> estimate([question] * 1000, Price(2.5, 10), max_tokens=2048).answer_tokens
    90000
    """
    characters = sum(len(message["content"]) for question in questions for message in prompt.messages(question, form))
    prompt_tokens = math.ceil(characters / _CHARACTERS_PER_TOKEN) + 2 * _TOKENS_A_MESSAGE * len(questions)
    answer = sum(min(benchmark_named(question.benchmark).answer_tokens, max_tokens) for question in questions)
    return CostEstimate(len(questions), prompt_tokens, answer, max_tokens * len(questions), price)


def price_of(model: str, given: str | None = None) -> Price | None:
    """The price of a model: as given, else as listed here; None where neither is.

    Args:
        model: as the server calls it; a date behind a listed name is allowed.
        given: ``IN,OUT``, US dollars for a million tokens.

    Raises:
        TraceError: ``given`` is not two amounts.

    >>> price_of("gpt-4o-2024-08-06"), price_of("my-llama"), price_of("my-llama", "0.1,0.2")
    (Price(prompt_usd=2.5, answer_usd=10.0), None, Price(prompt_usd=0.1, answer_usd=0.2))
    """
    if given is None:
        return Price(*PRICES[name]) if (name := _DATED.sub("", model)) in PRICES else None
    try:
        into, out = (float(part) for part in given.split(","))
    except ValueError:
        into = out = math.nan
    if not (0 <= into < math.inf and 0 <= out < math.inf):
        raise TraceError(
            f"--price {given!r} is not IN,OUT; write two amounts in US dollars per 1M tokens, as in 2.5,10"
        )
    return Price(into, out)
