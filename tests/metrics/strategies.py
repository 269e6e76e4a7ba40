"""Random traces, tokenizations and scores: any Unicode, cut at any byte."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st


def cases(count: int) -> settings:
    """Settings of a property test over ``count`` cases; fewer in ``make test-fast``, more in ``make test-random``."""
    return settings(max_examples=max(1, count * settings().max_examples // 100))


#: Text that tokenizers and offset maps get wrong: characters of 1 to 4 bytes, glyphs of several characters, controls.
AWKWARD = (
    "\x00",
    "\n",
    "\r\n",
    "\t ",
    "e\u0301",  # e and a combining acute accent: two characters, one glyph
    "\u0e01\u0e33",  # Thai, with a combining vowel
    "👩\u200d👩\u200d👧\u200d👦",  # a family: seven characters joined by zero-width joiners
    "🏳\ufe0f\u200d🌈",
    "👍🏽",  # skin tone modifier
    "🇰🇷",  # two regional indicators
    "שלום",
    "\u202eمرحبا\u202c",  # right to left, with explicit direction marks
    "𝔘",
    "𠜎",
    "\U0010ffff",
    "\ufeff",
    "\ufffd",
    "한국어",
    "\u1112\u1161\u11ab",  # the same syllable in three characters
    "ß½∑",
)


def texts(max_pieces: int = 12) -> st.SearchStrategy[str]:
    """Traces of at least one character, from every plane of Unicode. Surrogates are excluded: UTF-8 has none."""
    character = st.characters(exclude_categories=["Cs"])
    piece = st.one_of(character, st.sampled_from(AWKWARD), st.sampled_from(["Sum", " mod", "ulo", "= 12"]))
    return st.lists(piece, min_size=1, max_size=max_pieces).map("".join)


def logprobs() -> st.SearchStrategy[float]:
    """Log-probabilities, including certainty, impossibility and the -9999 of OpenAI-compatible servers."""
    return st.one_of(st.floats(-12.0, 0.0), st.sampled_from([0.0, -0.0, -1e-6, -745.0, -9999.0, float("-inf")]))


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    """Non-decreasing end offsets of tokens that tile ``length`` units; some tokens may be empty."""
    inside = draw(st.lists(st.integers(0, length), max_size=12))
    return [*sorted(inside), length]


@st.composite
def tilings(draw: st.DrawFn, length: int) -> list[int]:
    """Strictly increasing end offsets of tokens that tile ``length`` units; no token is empty."""
    inside = draw(st.sets(st.integers(1, length - 1), max_size=12)) if length > 1 else set()
    return [*sorted(inside), length]


@st.composite
def byte_tokens(draw: st.DrawFn, text: str) -> tuple[list[int], list[float]]:
    """A tokenization at arbitrary bytes of ``text``: end offset in bytes and log-probability of each token."""
    ends = draw(cuts(len(text.encode())))
    return ends, draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))


def nlls(tokens: int) -> st.SearchStrategy[list[float]]:
    """NLL of each of ``tokens`` proxy tokens, nats."""
    return st.lists(st.floats(0.0, 50.0), min_size=tokens, max_size=tokens)


def confidences(tokens: int | None = None) -> st.SearchStrategy[list[float]]:
    """Confidences of the tokens of one trace; ties are likely, as in real traces."""
    value = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return st.lists(value, min_size=tokens or 1, max_size=tokens or 20)
