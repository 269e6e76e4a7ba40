"""A trace, and the rules that make it valid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_traces.benchmark import SHIPPED
from rbridge_traces.errors import TraceError
from rbridge_traces.unknown_logprobs import known_logprobs

BENCHMARKS = tuple(SHIPPED)
"""Names of the benchmarks that come with this package."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer option of a multiple-choice item."""

    label: str
    text: str


@dataclass(frozen=True, eq=False)
class Trace:
    """A frontier model's reasoning on one benchmark item, with its confidence in each character if known.

    Offsets count characters, that is Unicode code points of ``trace``, as ``len`` does. Sequences of any kind are
    accepted for ``choices``, ``spans`` and the two arrays; they are stored as below, the arrays read-only. Empty
    ``choices`` or ``spans`` become None.

    Attributes:
        benchmark: its name.
        item_id: the item's id, unique within the benchmark.
        question: the item as put to the model, without the choices.
        trace: the reasoning R^phi, without the final answer.
        choices: answer options in order; None for an open question.
        final_answer: the answer the frontier model came to.
        gold: the benchmark's own answer; for a multiple-choice item the label of the right choice.
        correct: whether the frontier model's answer is right.
        token_end: int32, shape (frontier tokens,), end offset of each token in characters; the last equals
            ``len(trace)``.
        token_logprob: float32, shape (frontier tokens,), log-probability of each token in nats; NaN where it is
            unknown. Placeholders (see ``known_logprobs``) are stored as unknown.
        spans: the marked regions of span mode, ``[start, end)`` in characters, in order.

    Raises:
        TraceError: a field breaks one of the rules above; names the benchmark, the item and the first place.
    """

    benchmark: str
    item_id: str
    question: str
    trace: str
    choices: tuple[Choice, ...] | None = None
    final_answer: str | None = None
    gold: str | None = None
    correct: bool | None = None
    token_end: npt.NDArray[np.int32] | None = None
    token_logprob: npt.NDArray[np.float32] | None = None
    spans: tuple[tuple[int, int], ...] | None = None

    @property
    def name(self) -> str:
        """The name in messages: benchmark and item."""
        return f"{self.benchmark}/{self.item_id}"

    @property
    def answer(self) -> str:
        """The final answer, or the gold answer where the model's is not known; empty without both."""
        return self.final_answer or self.gold or ""

    @property
    def has_confidence(self) -> bool:
        """Whether the frontier model's confidence is known for half of the characters or more, as rBridge NLL needs."""
        if self.token_end is None or self.token_logprob is None:
            return False
        known = np.diff(self.token_end, prepend=0)[~np.isnan(self.token_logprob)]
        return 2 * int(known.sum()) >= len(self.trace)

    @property
    def unknown_tokens(self) -> int:
        """Number of frontier tokens whose log-probability is unknown."""
        return 0 if self.token_logprob is None else int(np.isnan(self.token_logprob).sum())

    def __post_init__(self) -> None:
        try:
            self._validate()
        except TraceError as error:
            raise TraceError(f"trace {self.name}: {error}") from None

    def _validate(self) -> None:
        object.__setattr__(self, "choices", tuple(() if self.choices is None else self.choices) or None)
        self._check_texts()
        if (self.token_end is None) != (self.token_logprob is None):
            raise TraceError("it has only one of token_end and token_logprob; give both, or neither")
        if self.token_end is not None:
            object.__setattr__(self, "token_end", _token_ends(self.token_end, len(self.trace)))
            object.__setattr__(self, "token_logprob", _token_logprobs(self.token_logprob, len(self.token_end)))
        object.__setattr__(self, "spans", _spans(() if self.spans is None else self.spans, len(self.trace)) or None)

    def _check_texts(self) -> None:
        for field in ("benchmark", "item_id", "question", "trace", "final_answer", "gold"):
            text = getattr(self, field)
            if text is not None or field not in ("final_answer", "gold"):
                check_text(field, text)
        for choice in self.choices or ():
            if not isinstance(choice, Choice):
                raise TraceError(f"its choices hold a {type(choice).__name__}, not a Choice (found {brief(choice)})")
            check_text("choice label", choice.label)
            check_text(f"choice {choice.label}", choice.text)
        if not self.item_id.strip():
            raise TraceError("its item_id is empty; every trace needs one of its own")
        if not self.trace.strip():
            raise TraceError("its trace is empty; leave out items without reasoning")
        labels = [choice.label for choice in self.choices or ()]
        if len(set(labels)) < len(labels):
            raise TraceError(f"two choices share a label ({', '.join(labels)}); each needs its own")
        if type(self.correct) not in (bool, type(None)):
            raise TraceError(f"its correct is {self.correct!r}, not true, false or null")


def check_text(field: str, text: object) -> None:
    """Refuse what is not text, or not valid Unicode."""
    if not isinstance(text, str):
        raise TraceError(f"its {field} is a {type(text).__name__}, not text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TraceError(
            f"its {field} holds half a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}, "
            "which is not text; export it again as valid UTF-8"
        ) from None


def _numbers(field: str, values: object, kinds: str) -> npt.NDArray[Any]:
    """``values`` as a one-dimensional array whose dtype kind is one of ``kinds``."""
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        raise TraceError(f"its {field} is not a plain list of numbers") from None
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in kinds:
        what = "whole numbers" if kinds == "iu" else "numbers"
        raise TraceError(f"its {field} is not a list of {what}, one for each token (found {brief(values)})")
    return array


def _token_ends(values: object, characters: int) -> npt.NDArray[np.int32]:
    ends = _numbers("token_end", values, "iu")
    if ends[0] < 1 or not (ends[1:] > ends[:-1]).all():
        at = 0 if ends[0] < 1 else 1 + int(np.argmax(ends[1:] <= ends[:-1]))
        before = f"after {ends[at - 1]}, where the token before it ends" if at else "after 0"
        raise TraceError(f"token {at} ends at character {ends[at]}; token_end must increase, here to {before}")
    if ends[-1] != characters:
        raise TraceError(f"token_end reaches character {ends[-1]} of a trace of {characters} code points; tile it")
    return _frozen(ends.astype(np.int32))


def _token_logprobs(values: object, tokens: int) -> npt.NDArray[np.float32]:
    if isinstance(values, (list, tuple)):
        values = [math.nan if value is None else value for value in values]
    logprobs = _numbers("token_logprob", values, "fiu")
    if logprobs.size != tokens:
        raise TraceError(f"{tokens} token_end but {logprobs.size} token_logprob; one of each for every token")
    return _frozen(known_logprobs(logprobs).astype(np.float32))


def _spans(values: Iterable[Iterable[int]], characters: int) -> tuple[tuple[int, int], ...]:
    try:
        pairs = values.tolist() if isinstance(values, np.ndarray) else values
        spans = tuple((start, end) for start, end in pairs)
    except (TypeError, ValueError):
        raise TraceError(f"its spans are not [start, end) pairs (found {brief(values)})") from None
    reached = 0
    for start, end in spans:
        if type(start) is not int or type(end) is not int:
            raise TraceError(f"span [{start}, {end}) is not a pair of whole numbers")
        if not reached <= start < end <= characters:
            raise TraceError(
                f"span [{start}, {end}) is empty, out of order, overlapping or outside the trace: "
                f"expected a start of at least {reached} and an end of at most {characters} characters"
            )
        reached = end
    return spans


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def brief(value: object) -> str:
    """A value as messages show it, in 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
