"""What a benchmark is: a name, the format of its questions, worked examples, and how answers are graded.

``SHIPPED`` holds the benchmarks of the paper. Any other name is a benchmark, too: ``definition`` reads how it is
defined, from a file beside its traces, and everything has a default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rbridge_traces.errors import TraceError, did_you_mean

if TYPE_CHECKING:
    from rbridge_traces.schema import Trace

QUESTION_TEMPLATE = "Question: {question}\n{choices}\nAnswer:"
"""The question as it stands before a trace. ``{choices}`` are lines ``A. text``; without choices its line is left out.
``{code}`` is the question without white space at its end."""

Grader = Literal["choice", "number", "math", "text", "code", "none"]
"""How a final answer is compared with the gold answer."""

DEFAULT_SHOTS = 5
"""Worked examples before a question, as in the paper, where so many are given."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TASK_SUFFIXES = ("_cf", "_gold", "_scb", "_gen")
_TASK_GROUPS = ("proxies", "comparators")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: letters, digits, ``_`` and ``-``; ``rbridge_<name>`` is its task.
        question_template: text before a trace; see ``QUESTION_TEMPLATE``.
        fewshot: worked examples in order; "shipped" for those of this package; or a number of examples to take from
            the traces, never the scored item.
        grader: how answers are graded. None decides by item: items with choices by the choice, a gold answer that is a
            number by its value, any other by its words.
        multiple_choice: whether its items have choices; None where traces tell.
        subject: stands for ``[task]`` in the prompt of the paper, which asks a frontier model for a trace.
        answer_tokens: mean tokens of a frontier model's answer, for cost estimates.
        aliases: other names in published data.
    """

    name: str
    question_template: str = QUESTION_TEMPLATE
    fewshot: tuple[Trace, ...] | int | Literal["shipped"] = ()
    grader: Grader | None = None
    multiple_choice: bool | None = None
    subject: str = "reasoning"
    answer_tokens: int = 300
    aliases: tuple[str, ...] = ()

    @property
    def default_shots(self) -> int:
        """Worked examples before a question unless another number is asked for."""
        if isinstance(self.fewshot, int):
            return self.fewshot
        return DEFAULT_SHOTS if self.fewshot == "shipped" else min(DEFAULT_SHOTS, len(self.fewshot))


# The mean answer tokens are an assumption: GPT-4o's 10,162 answers to the paper's prompt, as its authors published
# them, have 2,316,067 tokens; how these spread over the benchmarks is our guess.
SHIPPED = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="math500", fewshot="shipped", grader="math", multiple_choice=False, subject="math", answer_tokens=420,
            aliases=("math_500", "math"),
        ),
        Benchmark(
            name="mmlu_pro_stem", fewshot="shipped", grader="choice", multiple_choice=True, subject="STEM",
            answer_tokens=276, aliases=("mmlu_pro",),
        ),
        Benchmark(
            name="gsm8k", fewshot="shipped", grader="number", multiple_choice=False, subject="math", answer_tokens=175
        ),
        Benchmark(
            name="arc_challenge", fewshot="shipped", grader="choice", multiple_choice=True, subject="science",
            answer_tokens=110, aliases=("arc_c", "ai2_arc"),
        ),
        Benchmark(
            name="csqa", fewshot="shipped", grader="choice", multiple_choice=True, subject="commonsense",
            answer_tokens=90, aliases=("cqa", "commonsense_qa"),
        ),
        Benchmark(
            name="humaneval", fewshot="shipped", grader="code", multiple_choice=False, subject="coding",
            answer_tokens=250, aliases=("human_eval", "openai_humaneval"),
            question_template="Question: Complete the Python function.\n{code}\n{choices}\nAnswer:",
        ),
    )
}  # fmt: skip
"""The benchmarks of the paper, by name, in its order."""


def benchmark_named(name: str) -> Benchmark:
    """A shipped benchmark, or one of this name with every default."""
    return SHIPPED.get(name) or Benchmark(name=name)


def check_benchmark(name: str) -> None:
    """Refuse a name that no benchmark can have.

    Raises:
        TraceError: other characters than letters, digits, ``_`` and ``-``; another name of a shipped benchmark; or the
            name of a variant of our tasks.
    """
    if name in SHIPPED:
        return
    if not _NAME.fullmatch(name):
        raise TraceError(f"{name!r} cannot name a benchmark; use letters, digits, '_' and '-', as in aime25")
    if (shipped := benchmark_called(name)) is not None:
        raise TraceError(f"{name} is another name of {shipped}; write {shipped}")
    if name.endswith(_TASK_SUFFIXES) or name.partition("_")[0] in _TASK_GROUPS:
        raise TraceError(
            f"{name!r} cannot name a benchmark: rbridge_{name} would be the name of a variant or group of tasks; leave "
            f"out {'the ending ' + name[name.rindex('_') :] if name.endswith(_TASK_SUFFIXES) else 'its first word'}"
        )


def is_benchmark_name(name: str) -> bool:
    """Whether a benchmark can have this name."""
    try:
        check_benchmark(name)
    except TraceError:
        return False
    return True


def check_shipped(name: str) -> None:
    """Refuse a benchmark that this package ships nothing for.

    Raises:
        TraceError: lists the shipped benchmarks, and the closest of them.
    """
    if name not in SHIPPED:
        raise TraceError(
            f"{name!r} is none of the benchmarks that come with this package{did_you_mean(name, SHIPPED)}: "
            f"{', '.join(SHIPPED)}"
        )


def plain(name: str) -> str:
    """A name in lower case, without spaces and punctuation.

    >>> plain("ARC-Challenge"), plain("finalAnswer")
    ('arcchallenge', 'finalanswer')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


_SHIPPED_BY_PLAIN_NAME = {
    plain(name): benchmark.name for benchmark in SHIPPED.values() for name in (benchmark.name, *benchmark.aliases)
}


def benchmark_called(name: str) -> str | None:
    """The shipped benchmark with this name or alias, or None.

    >>> benchmark_called("MATH-500"), benchmark_called("cqa"), benchmark_called("squad")
    ('math500', 'csqa', None)
    """
    return _SHIPPED_BY_PLAIN_NAME.get(plain(name))
