"""Token scores come back from a samples file bit for bit, and other text is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import ScoreError, TokenScores, trace_nll

from .strategies import cases


def floats32(tokens: int) -> st.SearchStrategy[np.ndarray]:
    """Any float32, including both zeros, subnormals, infinities and NaN."""
    value = st.floats(width=32).map(np.float32)
    return st.lists(value, min_size=tokens, max_size=tokens).map(lambda values: np.array(values, dtype=np.float32))


def integers32(tokens: int) -> st.SearchStrategy[np.ndarray]:
    """Any int32."""
    value = st.integers(-(2**31), 2**31 - 1)
    return st.lists(value, min_size=tokens, max_size=tokens).map(lambda values: np.array(values, dtype=np.int32))


@st.composite
def token_scores(draw: st.DrawFn) -> TokenScores:
    """Scores of up to eight tokens with any of the optional arrays left out."""
    tokens = draw(st.integers(0, 8))
    count = st.integers(0, 10**9)
    return TokenScores(
        token_id=draw(integers32(tokens)),
        token_start=draw(integers32(tokens)),
        token_end=draw(integers32(tokens)),
        logprob=draw(floats32(tokens)),
        rank=draw(st.none() | integers32(tokens)),
        entropy=draw(st.none() | floats32(tokens)),
        max_logprob=draw(st.none() | floats32(tokens)),
        vocab_size=draw(count),
        context_tokens_cut=draw(count),
        windows=draw(count),
        confidence=draw(st.none() | floats32(tokens)),
    )


def example() -> TokenScores:
    """Two tokens, all arrays present."""
    return TokenScores(
        token_id=np.array([5, 9], np.int32),
        token_start=np.array([0, 2], np.int32),
        token_end=np.array([2, 5], np.int32),
        logprob=np.array([-0.1, -2.5], np.float32),
        rank=np.array([1, 7], np.int32),
        entropy=np.array([0.3, 1.5], np.float32),
        max_logprob=np.array([-0.1, -0.7], np.float32),
        vocab_size=50257,
        context_tokens_cut=3,
        windows=2,
        confidence=np.array([0.9, 0.58], np.float32),
    )


def assert_identical(actual: TokenScores, expected: TokenScores) -> None:
    """Every field the same: type, shape and bits. A NaN has many bit patterns and only needs to stay NaN."""
    for field in fields(TokenScores):
        value, wanted = getattr(actual, field.name), getattr(expected, field.name)
        assert type(value) is type(wanted), field.name
        if isinstance(wanted, np.ndarray):
            assert value.dtype == wanted.dtype, field.name
            assert value.shape == wanted.shape, field.name
            nan = np.isnan(wanted)
            assert np.array_equal(np.isnan(value), nan), field.name
            assert value[~nan].tobytes() == wanted[~nan].tobytes(), field.name
        else:
            assert value == wanted, field.name


@cases(600)
@given(token_scores())
def test_json_gives_the_same_bits_back(scores: TokenScores) -> None:
    """Every float32, int32 and absent array comes back unchanged from one line of JSON."""
    line = scores.to_json()
    assert "\n" not in line
    assert_identical(TokenScores.from_json(line), scores)


@cases(300)
@given(token_scores())
def test_any_json_reader_finds_the_same_numbers(scores: TokenScores) -> None:
    """The line is plain JSON: Python's reader gives the same float32 numbers."""
    raw = json.loads(scores.to_json())
    np.testing.assert_array_equal(np.array(raw["logprob"], dtype=np.float32), scores.logprob)
    assert raw["token_id"] == scores.token_id.tolist()
    assert ("entropy" in raw) == (scores.entropy is not None)


def test_str_is_the_json_of_the_samples_file() -> None:
    """A harness that converts responses to strings loses nothing."""
    assert_identical(TokenScores.from_json(str(example())), example())


def test_float_is_written_with_the_fewest_digits_that_hold_it() -> None:
    """0.1 as a float32 is written 0.1, not 0.10000000149011612: a samples file is a third of the size."""
    assert '"logprob":[-0.1,-2.5]' in example().to_json()


def test_wider_arrays_are_written_as_the_float32_they_stand_for() -> None:
    """Arrays computed in float64 are rounded once, when written."""
    wide = replace(example(), logprob=np.array([-0.1, -1 / 3]))
    read = TokenScores.from_json(wide.to_json()).logprob
    assert read.tobytes() == np.array([-0.1, -1 / 3], np.float32).tobytes()


def test_nll_is_the_negative_log_probability_in_double_precision() -> None:
    """Nats of at least 0 in float64, so that sums are not float32."""
    nll = example().nll
    assert nll.dtype == np.float64
    np.testing.assert_allclose(nll, [0.1, 2.5], rtol=1e-7)
    assert trace_nll(nll) == pytest.approx(1.3, rel=1e-7)


def changed(**values: object) -> str:
    """The example's line with fields replaced, or dropped where the value is ``...``."""
    raw = json.loads(example().to_json()) | values
    return json.dumps({name: value for name, value in raw.items() if value is not ...})


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param("first line\nsecond line", id="two lines of prose"),
        pytest.param("null", id="null"),
        pytest.param("3.5", id="a number"),
        pytest.param("[]", id="an array"),
        pytest.param("{}", id="an empty object"),
        pytest.param('{"answer\\n": "4\\n2"}', id="some other object"),
        pytest.param("(-12.5, False)", id="the response of a log-likelihood task"),
        pytest.param("[" * 100_000, id="nesting without end"),
        pytest.param(changed(token_id=...), id="no token ids"),
        pytest.param(changed(logprob=...), id="no log-probabilities"),
        pytest.param(changed(logprob=None), id="null for the log-probabilities"),
        pytest.param(changed(logprob=-0.1), id="one log-probability"),
        pytest.param(changed(logprob=[-0.1, None]), id="null for one log-probability"),
        pytest.param(changed(logprob=["-0.1", "-2.5"]), id="log-probabilities as text"),
        pytest.param(changed(logprob=[-0.1]), id="a log-probability too few"),
        pytest.param(changed(logprob=[-0.1, -1e300]), id="log-probability beyond float32"),
        pytest.param(changed(logprob=[[-0.1, -2.5]]), id="log-probabilities of two traces"),
        pytest.param(changed(logprob=[[-0.1], [-2.5, -1.0]]), id="ragged log-probabilities"),
        pytest.param(changed(entropy=[0.3]), id="an entropy too few"),
        pytest.param(changed(confidence=[0.3, 0.2, 0.1]), id="a confidence too many"),
        pytest.param(changed(token_end=[2, 5, 7]), id="a token end too many"),
        pytest.param(changed(token_end=[2, 5.5]), id="token end inside a character"),
        pytest.param(changed(token_end=[2, math.nan]), id="token end is NaN"),
        pytest.param(changed(token_id=[5, 2**31]), id="token id beyond 32 bits"),
        pytest.param(changed(token_id=[5, 2**80]), id="token id beyond 64 bits"),
        pytest.param(changed(token_id=[5, 1e300]), id="token id beyond all integers"),
        pytest.param(changed(vocab_size=...), id="no vocabulary size"),
        pytest.param(changed(vocab_size="many"), id="vocabulary size in words"),
        pytest.param(changed(vocab_size=math.inf), id="endless vocabulary"),
        pytest.param(changed(vocab_size=[1]), id="several vocabulary sizes"),
        pytest.param(changed(windows=1.5), id="half a window"),
    ],
)
def test_line_that_is_no_token_scores_is_refused_in_one_line(line: str) -> None:
    """Other responses, older files and damaged lines give a one-line error."""
    with pytest.raises(ScoreError) as refusal:
        TokenScores.from_json(line)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@cases(300)
@given(st.data())
def test_truncated_line_is_refused(data: st.DataObject) -> None:
    """No prefix of a line, as a full disk leaves it, is accepted."""
    line = data.draw(token_scores()).to_json()
    with pytest.raises(ScoreError):
        TokenScores.from_json(line[: data.draw(st.integers(0, len(line) - 1))])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@cases(500)
@given(st.sampled_from([field.name for field in fields(TokenScores)]), JSON, st.text())
def test_garbage_is_refused_or_read_never_a_crash(name: str, value: object, text: str) -> None:
    """Any text, and any JSON in any field, gives token scores of one shape or a one-line error."""
    for line in (text, changed(**{name: value})):
        refusal = ""
        try:
            scores = TokenScores.from_json(line)
        except ScoreError as error:
            refusal = str(error)
        else:
            arrays = [getattr(scores, field.name) for field in fields(scores)]
            assert {array.shape for array in arrays if isinstance(array, np.ndarray)} == {(2,)}
            assert scores.logprob.dtype == np.float32
        assert "\n" not in refusal
