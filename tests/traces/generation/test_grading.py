"""Grading of final answers in the forms in which models write them."""

from __future__ import annotations

import signal
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import Choice
from rbridge_traces.generation.grading import chosen_label, grade, number_in

ELEMENTS = (Choice("A", "iron"), Choice("B", "carbon"), Choice("C", "carbon dioxide"), Choice("D", "3 g"))
NUMBERED = (Choice("1", "iron"), Choice("2", "carbon"), Choice("3", "gold"), Choice("4", "a lead"))


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("$\\boxed{B}$", "B"),
        ("B. carbon", "B"),
        ("B) carbon", "B"),
        ("(B) carbon", "B"),
        ("B: carbon", "B"),
        ("B - carbon", "B"),
        ("carbon", "B"),
        ("Carbon.", "B"),
        ('"carbon"', "B"),
        ("Answer: B", "B"),
        ("The answer is (B).", "B"),
        ("The correct answer is option B", "B"),
        ("So it must be \\boxed{\\text{B}}, not A.", "B"),
        ("It is carbon, of course.", "B"),
        ("carbon dioxide", "C"),
        ("It is carbon dioxide.", "C"),
        ("D. 3 g", "D"),
        ("3 g", "D"),
        ("A carbon compound", "B"),
        ("iron or carbon", None),
        ("A and B", None),
        ("Answer: A or answer: B", None),
        ("E", None),
        ("", None),
    ],
)
def test_a_choice_is_recognised_by_label_or_text(answer: str, label: str | None) -> None:
    """A choice is recognised in every way models name it; an answer that names two choices names none."""
    assert chosen_label(answer, ELEMENTS) == label


@pytest.mark.parametrize(
    ("answer", "label"), [("2", "2"), ("(2)", "2"), ("2. carbon", "2"), ("lead", None), ("Gold", "3")]
)
def test_labels_may_be_numbers(answer: str, label: str | None) -> None:
    """Some items of ARC have the labels 1 to 4."""
    assert chosen_label(answer, NUMBERED) == label


@given(st.integers(2, 10), st.data())
def test_every_label_and_every_text_names_its_choice(count: int, data: st.DataObject) -> None:
    """Among choices with different texts, both the label and the text identify a choice."""
    texts = data.draw(st.lists(st.from_regex(r"[a-z]{3,8}( [a-z]{3,8}){0,2}", fullmatch=True), min_size=count,
                               max_size=count, unique=True))  # fmt: skip
    choices = [Choice("ABCDEFGHIJ"[number], text) for number, text in enumerate(texts)]
    right = data.draw(st.sampled_from(choices))
    for answer in (right.label, f"({right.label}) {right.text}", right.text, right.text.upper() + "."):
        assert grade("mmlu_pro_stem", answer, right.label, choices) is True
        assert not any(grade("mmlu_pro_stem", answer, choice.label, choices) for choice in choices if choice != right)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("18", 18),
        ("$18", 18),
        ("18 dollars", 18),
        ("$1,200.50 in total", Fraction("1200.5")),
        ("\\boxed{70{,}000}", 70000),
        ("\\boxed{\\text{18}}", 18),
        ("$\\frac{1}{2}$", Fraction(1, 2)),
        ("2 1/2 hours", Fraction(5, 2)),
        ("-3", -3),
        ("\u22123", -3),
        ("50%", 50),
        ("50\\%", 50),
        ("5 + 13 = 18", 18),
        ("1 450 000", 1450000),
        ("**42**", 42),
        (".5", Fraction(1, 2)),
        ("18.00", 18),
        ("1e5", 100000),
        ("about -2.5E-3 metres", Fraction("-0.0025")),
        ("$1.5 \\times 10^{3}$", 1500),
        ("7 \u00d7 10^2", 700),
        ("10^3", 1000),
        ("$-10^{6}$ metres", -1000000),
        ("about 10^{-2}", Fraction(1, 100)),
        ("1.5*10^3", 1500),
        ("1.5 * 10^3", 1500),
        ("1.5 x 10^3", 1500),
        ("110^3", 3),
        ("10^2/3", Fraction(2, 3)),
        ("- 5", -5),
        ("\\boxed{\u2212 1,200.50}", Fraction("-1200.5")),
        ("- \\frac{1}{2}.", Fraction(-1, 2)),
        ("x = - 5 metres", -5),
        ("- 5 apples", 5),
        ("The answer - 5", 5),
        ("10 - 5", 5),
        ("5-7", -7),
        ("2e", 2),
        ("$-\\frac{1}{2}$", Fraction(-1, 2)),
        ("\\boxed{\\frac{-1}{2}}", Fraction(-1, 2)),
        ("\\frac12", Fraction(1, 2)),
        ("$-2\\frac{1}{2}$", Fraction(-5, 2)),
        ("3-\\frac{1}{2}", Fraction(1, 2)),
        ("1" * 5000, None),
        ("3/0", None),
        ("none", None),
        ("", None),
    ],
)
def test_a_number_is_found_in_whatever_surrounds_it(answer: str, value: Fraction | int | None) -> None:
    """Signs, separators, units and LaTeX around a number do not change its value."""
    assert number_in(answer) == value


@given(st.integers(-(10**9), 10**9))
def test_every_way_to_write_a_number_is_right(number: int) -> None:
    """Every spelling of a number is right, and the next number is wrong."""
    for answer in (f"{number}", f"{number:,}", f"${number:,}.00", f"\\boxed{{{number}}} apples"):
        assert grade("gsm8k", answer, str(number)) is True
        assert grade("gsm8k", answer, str(number + 1)) is False


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("14/3", "\\frac{14}{3}", True),
        ("4.67", "\\frac{14}{3}", False),
        ("Evelyn", "\\text{Evelyn}", True),
        ("90 degrees", "90^\\circ", True),
        ("3*sqrt(13)", "3\\sqrt{13}", True),
        ("1 + 2 sqrt(5)", "2\\sqrt5 + 1", True),
        ("70√2", "70 \\sqrt{2}", True),
        ("(3, pi/2)", "\\left( 3, \\frac{\\pi}{2} \\right)", True),
        ("-2, 1", "1,-2", True),
        ("x = 5", "5", True),
        ("5", "x=5", True),
        ("The answer is \\boxed{42}.", "42", True),
        ("The answer is 43.", "42", False),
        ("$18.90", "\\$18.90", True),
        ("52_8", "52_8", True),
        ("50%", "50\\%", True),
        ("C", "\\text{(C)}", True),
        ("(-oo, 2]", "(-\\infty, 2]", True),
        ("10 cm", "10", True),
        ("10080", "10{,}080", True),
        ("q - p", "p - q", False),
        ("1 or 2", "2", False),
        ("2", "1,2", False),
        ("", "5", False),
        ("{{{", "5", False),
    ],
)
def test_mathematical_answers_are_compared_by_what_they_mean(answer: str, gold: str, right: bool) -> None:
    """Other spellings of the gold answer are right, other values are wrong, and nonsense raises no error."""
    assert grade("math500", answer, gold) is right


def test_a_thread_can_grade() -> None:
    """Outside the main thread, grading works without the time limit that needs a signal handler."""
    results: list[bool | None] = []
    thread = threading.Thread(target=lambda: results.append(grade("math500", "0.5", "\\frac{1}{2}")))
    thread.start()
    thread.join()
    assert results == [True]


def test_what_cannot_be_known_is_null() -> None:
    """HumanEval programs, missing answers and missing gold answers get no grade."""
    assert grade("humaneval", "return 1", "return 1") is None
    assert grade("gsm8k", None, "1") is None
    assert grade("csqa", "A", None, ELEMENTS) is None


@pytest.mark.slow
def test_an_answer_that_takes_for_ever_is_wrong_and_the_caller_keeps_its_alarm() -> None:
    """The limit stops a tower of powers; the next answer is graded, and the caller's timer and handlers are kept."""
    handlers = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGVTALRM)]
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        assert grade("math500", "9^{9^{9^{9}}}", "5") is False
        assert grade("math500", r"\frac{1}{2}", "0.5") is True
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGVTALRM)] == handlers
