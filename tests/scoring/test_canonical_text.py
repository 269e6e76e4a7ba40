"""Each character of a normal form is mapped to the characters of the text that it comes from."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbridge_tasks.scoring.canonical_text import Form, extends_character, source_spans

from ..metrics.strategies import cases

MARKS = st.text("aeo x\u0301\u0308\u0323\u0327\u1112\u1161\u11ab\u0995\u09c7\u09be½ﬁ\uff76\uff9e\u212b", max_size=12)


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("cafe\u0301 x", "NFC", [(0, 1), (1, 2), (2, 3), (3, 5), (5, 6), (6, 7)]),
        ("\u1112\u1161\u11ab", "NFC", [(0, 3)]),
        ("e\u0301\u0323", "NFC", [(0, 3), (0, 3)]),  # ẹ and the acute accent: normalisation reorders the marks
        (" \u0301\u0323", "NFC", [(0, 1), (1, 3), (1, 3)]),
        ("a\u0301\u0301b", "NFC", [(0, 2), (2, 3), (3, 4)]),
        ("ﬁx", "NFKC", [(0, 1), (0, 1), (1, 2)]),
        ("", "NFC", []),
    ],
)
def test_worked_by_hand(text: str, form: Form, expected: list[tuple[int, int]]) -> None:
    """Composed, expanded and reordered characters."""
    spans = source_spans(text, form)
    assert spans is not None
    assert [tuple(span) for span in spans.tolist()] == expected


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_spans_cover_the_text_in_order(form: Form) -> None:
    """For any text; and the normal form of a span contains the character that maps to it."""

    @cases(300)
    @example("a\u0327\u0323\u0301\u0301 b")
    @example("a\uff9e\u0301")  # the accent composes with the base across a half-width mark
    @given(st.one_of(MARKS, st.text(max_size=10)))
    def check(text: str) -> None:
        spans = source_spans(text, form)
        assert spans is not None
        normalised = normalize(form, text)
        assert len(spans) == len(normalised)
        covered_to = previous_start = 0
        for character, (start, end) in zip(normalised, spans.tolist(), strict=True):
            assert previous_start <= start <= covered_to <= end
            assert start < end
            assert character in normalize(form, text[start:end])
            previous_start, covered_to = start, end
        assert covered_to == len(text)

    check()


def test_characters_that_extend_another() -> None:
    """Marks, Hangul vowels and finals, and half-width voicing marks extend a character; letters and spaces do not."""
    text = "e\u0301 x\u1112\u1161\u11ab\uff76\uff9e漢"
    assert [position for position in range(len(text)) if extends_character(text, position)] == [1, 5, 6, 8]
