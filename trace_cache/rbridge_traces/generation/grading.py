"""Grade final answers: mathematical equivalence, equal numbers, the right choice, or equal words."""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from types import FrameType
from typing import Any

from rbridge_traces.benchmark import Benchmark, benchmark_named
from rbridge_traces.errors import TraceError
from rbridge_traces.generation.client import INSTALL
from rbridge_traces.schema import Choice
from rbridge_traces.text_answers import BOX

_SECONDS = 10.0  # of processor time for a pair of answers; some take for ever to simplify
_TYPESET = re.compile(r"\\(?:boxed|fbox|text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_MARKS = re.compile(r"[*_`$]|\\[()\[\],!;]|\\(?=%)")
_SCIENTIFIC = r"-?(?:\d+(?:\.\d+)?|\.\d+)[eE][-+]?\d{1,2}(?!\w)"
_NUMBER = re.compile(rf"{_SCIENTIFIC}|-?\d+(?:\s+\d+\s*/\s*\d+|\s*/\s*\d+|\.\d+)?|-?\.\d+")
_TEN_TO = r"10\s*\^\s*\{?\s*(-?\d{1,2})\s*\}?(?!\w)"
_TIMES_POWER = re.compile(rf"(?<=\d)\s*(?:\\times|\\cdot|[\u00d7\u00b7x])\s*{_TEN_TO}")
_POWER = re.compile(rf"(?<![\w.)}}^])(?<!\d\s){_TEN_TO}(?!\.\d|\s*/)")
_STAR = re.compile(r"(?<=\d)\s*\*\s*(?=10\s*\^)")  # a product, and no Markdown
_SPACED_MINUS = re.compile(  # elsewhere it may be a dash or a bullet
    rf"(?<==)\s*-\s+(?=\.?\d)|^\s*-\s+(?=(?:{_NUMBER.pattern})[\s.%]*$)"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}| )(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"((?<![\d)}])-|)\\[dt]?frac\s*(?:\{(-?\d+)\}\s*\{(\d+)\}|(\d)\s*(\d)(?!\d))")
_ANCHORS = ("$", "\\boxed", "\\(", "\\[")
_PROSE_WORDS = 3
_SPELLED = (  # what people type, and its LaTeX
    (re.compile(r"(?<![\\A-Za-z])pi(?![a-z])|\u03c0"), r"\\pi "),
    (re.compile(r"(?<![\\A-Za-z])(?:oo|infinity)(?![a-z])|\u221e"), r"\\infty "),
    (re.compile(r"(?:(?<![\\A-Za-z])sqrt|\u221a)\s*(?:\(([^()]*)\)|(\d+))"), r"\\sqrt{\1\2}"),
)


def check_grader(benchmark: Benchmark) -> None:
    """Refuse to go on without the package that grades a benchmark.

    Raises:
        TraceError: ``math-verify`` is needed and not installed; says how to get it.
    """
    if benchmark.grader == "math":
        try:
            import math_verify  # noqa: F401
        except ImportError:
            raise TraceError(
                f"answers to {benchmark.name} are graded by math-verify, which is not installed: {INSTALL}"
            ) from None


def grade(
    benchmark: Benchmark | str, final_answer: str | None, gold: str | None, choices: Sequence[Choice] | None = None
) -> bool | None:
    """Whether a final answer is right; None where that is not known.

    Args:
        benchmark: whose grader decides, or its name. Code is not executed.
        final_answer: as the model gave it.
        gold: the right answer; for multiple choice its label.
        choices: of a multiple-choice item.

    >>> grade("gsm8k", "$1,200 in total", "1200"), grade("math500", "0.5", r"\\frac{1}{2}")
    (True, True)
    >>> grade("aime25", "The answer is 70.", "70"), grade("capitals", "paris.", "Paris")
    (True, True)
    >>> choices = [Choice("A", "iron"), Choice("B", "carbon")]
    >>> [grade("arc_challenge", answer, "B", choices) for answer in ("(B)", "Carbon.", "Answer: A")]
    [True, True, False]
    """
    grader = (benchmark_named(benchmark) if isinstance(benchmark, str) else benchmark).grader
    if grader in ("code", "none") or final_answer is None or gold is None:
        return None
    if choices:
        return chosen_label(final_answer, choices) == gold
    if grader == "math":
        return _equivalent(final_answer, gold)
    if grader == "number" or (grader is None and _is_number(gold)):
        number, right = number_in(final_answer), number_in(gold)
        return number is not None and number == right
    return _same_words(final_answer, gold)


def number_in(text: str) -> Fraction | None:
    """The number that an answer names, the last one where there are several; None if there is none.

    >>> number_in("so \\\\boxed{1{,}250.50} dollars"), number_in("2 1/2 %"), number_in("1.5e3"), number_in("none")
    (Fraction(2501, 2), Fraction(5, 2), Fraction(1500, 1), None)
    """
    plain = _plain(_STAR.sub("\u00d7", _last_box(text))).replace("\u2212", "-").replace("\u202f", " ")
    plain = _FRACTION.sub(r" \1\2\4/\3\5 ", _THOUSANDS.sub("", plain))
    plain = _POWER.sub(r"1e\1", _TIMES_POWER.sub(r"e\1", plain))
    match = _NUMBER.findall(_SPACED_MINUS.sub("-", plain))
    try:
        return sum((Fraction(part) for part in _parts(match[-1])), Fraction(0)) if match else None
    except (ValueError, ZeroDivisionError):  # Python reads no number of more than 4,300 digits
        return None


def chosen_label(answer: str, choices: Sequence[Choice]) -> str | None:
    """The label of the choice that an answer names, by its label, its text, or both; None if it names none or several.

    >>> chosen_label("It is carbon, of course", [Choice("1", "iron"), Choice("2", "carbon")])
    '2'
    """
    plain = _plain(_last_box(answer)).strip()
    by_label = {choice.label.casefold(): choice.label for choice in choices}
    label = "|".join(re.escape(choice.label) for choice in choices)
    if match := re.fullmatch(rf"[(\[]?({label})[)\].:]*", plain, re.IGNORECASE):
        return by_label[match[1].casefold()]
    texts = [(_words(choice.text), choice.label) for choice in choices]
    named = [of for text, of in texts if text == _words(plain)]
    if len(named) == 1:
        return named[0]
    if match := re.match(
        rf"(?:[(\[]({label})[)\]]|({label})\s?[).:]|({label})\s+[-\u2013\u2014]\s)", plain, re.IGNORECASE
    ):
        return by_label[next(group for group in match.groups() if group).casefold()]
    stated = rf"\b(?:answer|option|choice)\b(?:\s+is)?\s*:?\s*[(\[]?({label})(?![\w'])"
    if len(labels := {hit.casefold() for hit in re.findall(stated, plain, re.IGNORECASE)}) == 1:
        return by_label[labels.pop()]
    inside = [(text, of) for text, of in texts if text and f" {text} " in f" {_words(plain)} "]
    longest = [of for text, of in inside if not any(text != other and text in other for other, _ in inside)]
    return longest[0] if len(longest) == 1 else None


def _is_number(gold: str) -> bool:
    """Whether a gold answer is one number and nothing else."""
    return _NUMBER.fullmatch(_THOUSANDS.sub("", gold.strip())) is not None


def _same_words(answer: str, gold: str) -> bool:
    """Whether two answers are equal but for case, white space, punctuation at their ends and typesetting."""
    first, second = (_plain(_last_box(text)).casefold().split() for text in (answer, gold))
    return " ".join(first).strip(" .,;:!?\"'") == " ".join(second).strip(" .,;:!?\"'")


def _equivalent(answer: str, gold: str) -> bool:
    """Whether two mathematical answers mean the same, by math-verify, else by equal text."""
    if _squeezed(answer) == _squeezed(gold):
        return True
    from math_verify import parse, verify

    level = logging.getLogger("math_verify").level
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # what it cannot parse is no news here
    try:
        with _time_limit(_SECONDS):
            right: list[Any] = parse(_readings(gold)[0], parsing_timeout=None)
            return any(
                verify(right, match, timeout_seconds=None)
                for reading in _readings(answer)
                if right and (match := parse(reading, parsing_timeout=None))
            )
    except _TooLongError:
        return False
    finally:
        logging.getLogger("math_verify").setLevel(level)


class _TooLongError(BaseException):
    """A computation has taken too long; no ``Exception``, which sympy and math-verify catch in many places."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise ``_TooLongError`` in the block once this process has used so many seconds of processor time.

    Processor time makes a grade independent of what else the machine does, and leaves the alarm, which the limits of
    math-verify take, to the caller. The timer goes on, as an exception that interrupts a destructor is lost. Only the
    main thread of a POSIX process can set one: elsewhere there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TooLongError

    previous = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds / 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL if previous is None else previous)  # None: set outside Python


def _readings(answer: str) -> list[str]:
    """An answer as LaTeX, and, where words show that it is a sentence, as that."""
    answer = answer.replace("\\$", "")
    if answer.count("$") == 1:  # an amount
        answer = answer.replace("$", "")
    for spelled, latex in _SPELLED:
        answer = spelled.sub(latex, answer)
    if any(mark in answer for mark in _ANCHORS):
        return [answer]
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", answer)
    return [f"${answer}$", answer] if len(words) >= _PROSE_WORDS else [f"${answer}$"]


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$]|\\[,!;: ]|\\(?:left|right)(?![a-z])", "", _plain(text)).rstrip(".").replace("dfrac", "frac")


def _last_box(text: str) -> str:
    """What the last ``\\boxed{}`` holds, where there is one."""
    boxes = BOX.findall(text)
    return boxes[-1] if boxes else text


def _plain(text: str) -> str:
    """Without Markdown and the LaTeX that only sets letters in type."""
    while (opened := _TYPESET.sub(r"\1", text)) != text:
        text = opened
    return _MARKS.sub("", text)


def _words(text: str) -> str:
    """Words and numbers of a text, in lower case, one space apart."""
    return " ".join(re.findall(r"[^\W_]+(?:[.'][^\W_]+)*|[-+]?\d+", text.casefold()))


def _parts(number: str) -> list[str]:
    """``2 1/2`` as whole and fraction; anything else as it is."""
    whole, space, fraction = number.partition(" ")
    if space and "/" in fraction and not fraction.strip().startswith("/"):
        sign = "-" if whole.startswith("-") else ""
        return [whole, sign + fraction.replace(" ", "")]
    return [number.replace(" ", "")]
