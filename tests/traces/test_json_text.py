r"""Decoding of LaTeX that a model wrote into JSON with single backslashes, beside regular JSON escapes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import (
    MalformedCompletionError,
    completion_of_tokens,
    extract_reasoning,
    parse_completion,
)
from rbridge_traces.json_text import decode_strings
from rbridge_traces.latex_names import NAMES

from ..metrics.strategies import cases
from .answers import assert_confidence


def written(raw: str) -> str:
    """A completion whose reasoning has this raw text between its quotes."""
    return f'{{"reasoning": "{raw}", "final_answer": "4"}}'


COMMANDS = r"""
x \to \infty | x\to\infty | f: X \to Y | \lim_{x\to0} | a \ne b | a\ne b | $a\ne b$ | x\neq0 | x \neq 0. | \nu = 5
Let \nu = 3. | frequency $\nu$ | \(\nu\) | $$\nu = 3$$ | \tan x = 1 | \tan(x) | \sin x / \tan x | \tan^2 x | x^\top y
\boxed{5} | \bar{x} | \binom{n}{k} | 5\text{ cm} | \rho g h | \left( x \right) | \nabla f | x \notin A | p \nmid q
$p\nmid q$ | $A \ni x$ | \underline{a} | \upsilon | \uparrow | \u{x} | p \land \neg q | \neg p | \nexists x | \tfrac12
2\times3 | \theta | A\rightarrow B | \lfloor x \rfloor | \forall x | \therefore x | \triangle ABC | \tag{1} | \tilde{x}
10\% | \$5 | \{1, 2\} | a\,b | \sqrt{2} | \frac{a}{b} \\ c | \begin{cases} 1 & x \\ 2 & y \end{cases} | \d+\b\w+
"""


@pytest.mark.parametrize("raw", [case.strip() for case in COMMANDS.strip().replace("\n", "|").split("|")])
def test_a_command_with_a_single_backslash_stays_as_it_was_written(raw: str) -> None:
    """A command is kept if the text has no other backslash, alone or within a text."""
    assert parse_completion(written(raw))[0] == raw


GENUINE = [
    r"First.\nNow",
    r"a tab\tand a line\nbreak",
    r"name\tage\nbob\t3",
    r"He said \"no\".\nNot yes.",
    r"a\r\nb",
    r"Done.\ni think so",
    r"Solve:\nu = x^2",
    r"Let u be:\n\nu = x^2",
    r"x = 3;\nu = 4",
    r"so:\ni = 0\ne = 2\nneq = 4\neq = 5",
    r"while lo < hi:\n\tmid = 2\n\to = 3\n\tan = 1\n\text = 'x'\n\top = 2",
    r"def f():\n    lo = 0\nmid = 3\nless(mid)\nsucc.next = 1",
    r"u8 = 1\nu8 | 2",
    r"\\frac{1}{2}\nu = 4 and \\nu, C:\\temp\\new\\bin\\fig\\tan",
    r"re.match(r'\\bword\\b\\d+\\n', s)",
    r"print(\"a\\nb\\tc\")",
    r"\\[\nu = 3\n\\]",
    r"\\begin{align}\nx &= 1 \\\\ y &= 2\n\\end{align}",
    r"\u00e9\u2028\ud83d\ude00\/",
    r"a\bc and \f alone",
]


@pytest.mark.parametrize("raw", GENUINE)
def test_what_json_says_stays(raw: str) -> None:
    """Line breaks, tabs, quotes and escaped backslashes are decoded in prose, tables, programs, paths and patterns."""
    assert parse_completion(written(raw))[0] == json.loads(f'"{raw}"')
    (decoded,) = decode_strings([raw])
    assert decoded.repairs == 0
    assert decoded.as_json == decoded.text


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (r"\\frac{1}{2} \times \\pi \sqrt{2}", r"\frac{1}{2} \times \pi \sqrt{2}"),
        (r"$\\alpha \neq \beta$.\nNext \\nu.", "$\\alpha \\neq \\beta$.\nNext \\nu."),
        (r"\\( \frac{1}{2} \\)", r"\( \frac{1}{2} \)"),
        (r"\[\n   \nu = 3\n\]", "\\[\n   \\nu = 3\n\\]"),
        (r"\begin{array}{c|c}\ni \backslash j &", "\\begin{array}{c|c}\ni \\backslash j &"),
        (
            r"\begin{align*}x &= 1 \\\nu &= 2 \\\frac12\end{align*}",
            "\\begin{align*}x &= 1 \\\\\nu &= 2 \\\\\\frac12\\end{align*}",
        ),
        (r"it\'s \\(x\\)", r"it's \(x\)"),
    ],
)
def test_mixed_texts(raw: str, meant: str) -> None:
    """Escaped and single backslashes, and line breaks beside commands, are each decoded correctly."""
    assert parse_completion(written(raw))[0] == meant


def test_one_string_shows_how_the_other_is_to_be_read() -> None:
    r"""``\\ `` in the final answer is a row break in LaTeX if the reasoning does not escape its backslashes."""
    raw = r'{"reasoning": "So \sqrt{4} = 2.", "final_answer": "\begin{pmatrix} 1 \\ 2 \end{pmatrix}"}'
    assert parse_completion(raw) == (r"So \sqrt{4} = 2.", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}")


def test_a_repaired_command_keeps_the_confidence_of_each_character() -> None:
    r"""``\frac`` becomes five characters, each with its own raw character's probability; ``\n`` has a mean."""
    raw = written(r"\frac1\n2\\sqrt")
    probability = list(np.linspace(0.05, 1.0, len(raw)))
    reasoning = extract_reasoning(completion_of_tokens([bytes([byte]) for byte in raw.encode()], np.log(probability)))
    assert (reasoning.text, reasoning.repairs) == ("\\frac1\n2\\sqrt", 1)
    at = raw.index("\\")
    sizes = [1] * 6 + [2, 1, 2, 1, 1, 1, 1]
    expected = []
    for size in sizes:
        expected.append(math.fsum(probability[at : at + size]) / size)
        at += size
    assert_confidence(reasoning.token_end, reasoning.token_logprob, expected)


COMMON = [
    "frac",
    "times",
    "theta",
    "text",
    "beta",
    "boxed",
    "right",
    "rho",
    "neq",
    "nabla",
    "sqrt",
    "alpha",
    "cdot",
    "underline",
]


@cases(300)
@given(st.lists(st.sampled_from([*sorted(NAMES), "[", "(", "{", ",", " ", "%"]), min_size=1, max_size=6))
def test_commands_in_any_order_survive_both_ways_of_writing(names: list[str]) -> None:
    """A formula is the same with escaped and with single backslashes."""
    formula = "$x " + " + ".join(f"\\{name} y" for name in names) + "$"
    assert parse_completion(written(formula))[0] == formula
    assert parse_completion(json.dumps({"reasoning": formula, "final_answer": "4"}))[0] == formula


@cases(200)
@given(st.lists(st.tuples(st.sampled_from(COMMON), st.booleans(), st.sampled_from([" ", "{x}", "\\n", " 2.\\nNow "]))))
def test_commands_survive_where_only_some_are_escaped(commands: list[tuple[str, bool, str]]) -> None:
    """Each backslash is decoded independently, and so is each line break between commands."""
    raw = "x " + "".join(("\\\\" if doubled else "\\") + name + ("{x}" + behind) for name, doubled, behind in commands)
    meant = "x " + "".join(f"\\{name}{{x}}{behind}" for name, _, behind in commands).replace("\\n", "\n")
    meant = meant.replace("\neq", "\\neq").replace("\nabla", "\\nabla")
    assert parse_completion(written(raw))[0] == meant


@cases(300)
@given(st.text(st.sampled_from(' "\\/abefinotuxz{}()[]0.=é😀'), max_size=40).filter(str.strip))
def test_what_a_json_writer_wrote_is_read_as_it_was(text: str) -> None:
    """The number of escaped backslashes is unchanged, whatever surrounds them."""
    assert parse_completion(json.dumps({"reasoning": text}, ensure_ascii=False))[0] == text


@pytest.mark.parametrize(
    "raw", ['{"reasoning": "a\\', '{"reasoning": "a\\"}', '{"reasoning": "\\u12"', "\\", '{"reasoning": \\"a\\"}']
)
def test_broken_objects_stay_broken(raw: str) -> None:
    """Only escapes within strings are repaired."""
    with pytest.raises(MalformedCompletionError):
        parse_completion(raw)
