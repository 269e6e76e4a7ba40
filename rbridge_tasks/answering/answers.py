"""Correct answers as text that a model reads, and a model's answers from the text that it wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.prompts import FINAL_ANSWER, question_text
from rbridge_traces import Trace

_FINAL_ANSWER = re.compile(re.escape(FINAL_ANSWER), re.IGNORECASE)
_FENCED = re.compile(r"\s*?(?P<indent>[ \t]*)```[\w+-]*[ \t\r]*\n(?P<code>.*?)(?:\n(?P=indent)```|\Z)", re.DOTALL)
_WORD = re.compile(r"\w+|[^\w\s]")


class AnswerError(RBridgeError):
    """Traces that lack the answers or choices which a task needs."""


# ---------------------------------------------------------------- what traces have to have


def require_gold(traces: Sequence[Trace], where: str) -> None:
    """Refuse traces if any has no gold answer, or a gold answer that is not the label of a choice.

    Raises:
        AnswerError: counts them and names the first.
    """
    _refuse(traces, where, lambda trace: not (trace.gold or "").strip(), "no gold answer of the data set")
    _refuse(traces, where, _has_other_labels, "a gold answer that is the label of none of their choices")


def require_final_answers(traces: Sequence[Trace], where: str) -> None:
    """Refuse traces if any has no final answer of the frontier model.

    Raises:
        AnswerError: counts them and names the first.
    """
    _refuse(traces, where, lambda trace: not (trace.final_answer or "").strip(), "no final answer of the model")


def require_choices(traces: Sequence[Trace], where: str) -> None:
    """Refuse traces if any has no gold answer among its choices, fewer than two choices, or a choice without text.

    Raises:
        AnswerError: counts them and names the first.
    """
    require_gold(traces, where)
    _refuse(traces, where, lambda trace: len(trace.choices or ()) < 2, "fewer than two choices")
    blank = "a choice without text"
    _refuse(traces, where, lambda trace: any(not choice.text.strip() for choice in trace.choices or ()), blank)


def _has_other_labels(trace: Trace) -> bool:
    return bool(trace.choices) and trace.gold not in [choice.label for choice in trace.choices or ()]


def _refuse(traces: Sequence[Trace], where: str, lacks: Callable[[Trace], bool], what: str) -> None:
    lacking = [trace for trace in traces if lacks(trace)]
    if lacking:
        first = lacking[0]
        labels = ", ".join(choice.label for choice in first.choices or ())
        example = f" (gold {first.gold!r}{f', choices {labels}' if labels else ''})"
        raise AnswerError(
            f"{len(lacking)} of {len(traces)} traces in {where} have {what}, such as {first.name}{example}; import "
            "them again with it, choose another source with rbridge_source, or leave out this task"
        )


# ---------------------------------------------------------------- what a model reads


def gold_text(doc: Mapping[str, Any]) -> str:
    """The data set's answer: the label of the right choice, the final answer of a problem, the code of a function.

    >>> gold_text({"gold": "    return a + b\\n"})
    '    return a + b'
    """
    return str(doc["gold"]).rstrip()


def cloze_question(doc: Mapping[str, Any]) -> str:
    """The question without its choices, up to and including ``Answer:``.

    >>> ice = {"label": "A", "text": "ice"}
    >>> print(cloze_question({"benchmark": "csqa", "question": "What melts?", "choices": [ice]}))
    Question: What melts?
    Answer:
    """
    return question_text({**doc, "choices": None})


def choice_texts(doc: Mapping[str, Any]) -> list[str]:
    """The texts of the choices, in order."""
    return [choice["text"] for choice in doc["choices"]]


def gold_choice(doc: Mapping[str, Any]) -> int:
    """Index of the correct choice, from 0. Labels may be letters or numbers; they are compared as text.

    >>> gold_choice({"gold": "3", "choices": [{"label": label, "text": "x"} for label in ("1", "2", "3", "4")]})
    2
    """
    return [choice["label"] for choice in doc["choices"]].index(doc["gold"])


# ---------------------------------------------------------------- what a model wrote


def reasoning_and_answer(generation: str) -> tuple[str, str | None]:
    """Split a generation into the reasoning and the text after the first ``Final answer:``.

    >>> reasoning_and_answer(" 3 + 4 = 7.\\nFinal answer: 7\\n\\nNext, ...")
    ('3 + 4 = 7.', ' 7\\n\\nNext, ...')
    >>> reasoning_and_answer("3 + 4 = 7.")
    ('3 + 4 = 7.', None)
    """
    mark = _FINAL_ANSWER.search(generation)
    if mark is None:
        return generation.strip(), None
    return generation[: mark.start()].strip(), generation[mark.end() :]


def answer_line(stated: str) -> str:
    """An answer of one line: the first that is not empty.

    >>> answer_line(" 7\\n\\nNext, ...")
    '7'
    """
    return stated.strip().partition("\n")[0].rstrip()


def answer_code(stated: str) -> str:
    """An answer that is code: without empty lines before it and Markdown fences around it, its indentation kept.

    >>> answer_code("\\n    return 7\\n")
    '    return 7'
    >>> answer_code("\\n```python\\n    return 7\\n```\\nThat is all.")
    '    return 7'
    """
    fenced = _FENCED.match(stated)
    lines = (fenced["code"] if fenced else stated).rstrip().split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    return "\n".join(lines)


def words(text: str) -> list[str]:
    """The words, numbers and punctuation marks of a text: tokens that do not depend on a model.

    >>> words("48/2 = 24 clips.")
    ['48', '/', '2', '=', '24', 'clips', '.']
    """
    return _WORD.findall(text)
