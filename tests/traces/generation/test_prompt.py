"""The prompt, and the cost estimate of a build."""

from __future__ import annotations

import math

import pytest

from rbridge_traces import BENCHMARKS, SHIPPED, Choice
from rbridge_traces.generation import prompt
from rbridge_traces.generation.cost import PRICES, Price, estimate, price_of
from rbridge_traces.questions import Question

from ..support import complaint
from .support import some_questions

#: Traces of GPT-4o that the paper's authors published, by benchmark.
PUBLISHED = {
    "arc_challenge": 1172,
    "csqa": 1221,
    "gsm8k": 1319,
    "humaneval": 164,
    "math500": 495,
    "mmlu_pro_stem": 5791,
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_template_with_a_question_in_it_is_what_is_asked(benchmark: str) -> None:
    """The template in the manifest, filled with a question, is the prompt that was sent."""
    (question,) = some_questions(1, benchmark)
    if benchmark in ("mmlu_pro_stem", "arc_challenge"):
        question = Question(benchmark, "1", question.question, (Choice("A", "x"),), "A")
    system, user = prompt.messages(question)
    whole = f"system: {system['content']}\n\nuser: {user['content']}"
    listed = "\n".join(f"{choice.label}. {choice.text}" for choice in question.choices or ())
    filled = prompt.template(benchmark).replace("[question]", question.question)
    assert whole == filled.replace('[choices, one a line, as "A. text"]', listed)


def test_any_difference_in_what_is_shown_is_another_digest() -> None:
    """Question, choices and benchmark change the digest; the gold answer, which is not shown, does not."""
    base = Question("csqa", "1", "q", (Choice("A", "x"),), "A")
    changed = [
        Question("csqa", "1", "q ", (Choice("A", "x"),), "A"),
        Question("csqa", "1", "q", (Choice("B", "x"),), "A"),
        Question("csqa", "1", "q", (Choice("A", "y"),), "A"),
        Question("arc_challenge", "1", "q", (Choice("A", "x"),), "A"),
    ]
    assert len({prompt.digest(question) for question in [base, *changed]}) == 5
    assert prompt.digest(Question("csqa", "2", "q", (Choice("A", "x"),), None)) == prompt.digest(base)


def test_the_assumed_lengths_add_up_to_what_was_published() -> None:
    """The assumed answer lengths give the total number of tokens of the published traces to within 1%."""
    assert sum(PUBLISHED.values()) == 10_162
    total = sum(SHIPPED[benchmark].answer_tokens * count for benchmark, count in PUBLISHED.items())
    assert total == pytest.approx(2_316_067, rel=0.01)


def test_an_estimate_counts_what_is_sent_and_what_may_come_back() -> None:
    """Prompts are counted by characters, answers by the assumed length up to the limit, and dollars by the price."""
    questions = some_questions(200)
    characters = sum(len(message["content"]) for question in questions for message in prompt.messages(question))
    cost = estimate(questions, Price(2.5, 10), max_tokens=100)
    assert cost.prompt_tokens == math.ceil(characters / 4) + 8 * 200
    assert (cost.answer_tokens, cost.most_answer_tokens) == (20_000, 20_000)
    assert cost.cost_usd == pytest.approx((cost.prompt_tokens * 2.5 + 20_000 * 10) / 1e6)
    longer = estimate(questions, None, max_tokens=2048)
    assert (longer.answer_tokens, longer.most_answer_tokens) == (175 * 200, 2048 * 200)
    assert (longer.cost_usd, longer.most_usd) == (None, None)


@pytest.mark.parametrize("given", ["1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1", ""])
def test_a_price_that_is_none_is_one_line(given: str) -> None:
    """The message shows the format of a price."""
    assert "2.5,10" in complaint(price_of, "gpt-4o", given)


def test_a_listed_price_is_that_of_the_model_itself() -> None:
    """A date suffix matches the listed model, another model's name does not, and a given price takes precedence."""
    assert price_of("gpt-4o-mini-2024-07-18") == Price(*PRICES["gpt-4o-mini"])
    assert price_of("gpt-4o-audio") is None
    assert price_of("gpt-4o", "1,2") == Price(1, 2)
