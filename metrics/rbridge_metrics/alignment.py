"""Carry a frontier model's confidence over to the tokens of another tokenizer, letter by letter.

A *letter* is a Unicode code point of the trace. The frontier model's tokens give each letter a confidence; a proxy
token's confidence is the mean over the letters it covers (Eq. 1 of arXiv 2509.21013). Everything here is a
cumulative sum and two look-ups, so the cost does not depend on how the two tokenizations cut the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import AlignmentError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def letter_confidence(token_end: npt.ArrayLike, token_logprob: npt.ArrayLike) -> FloatArray:
    """Give every letter the probability of the frontier token that holds it.

    Args:
        token_end: shape (frontier tokens,), strictly increasing end offset of each token, in letters of the trace.
        token_logprob: shape (frontier tokens,), natural log of the probability of each token.

    Returns:
        Probabilities, shape (letters,), where letters is the last end offset.

    Raises:
        AlignmentError: offsets not strictly increasing from above 0, lengths differ, or a log-probability is NaN
            or above 0.

    >>> letter_confidence([1, 3], np.log([0.5, 0.25]))
    array([0.5 , 0.25, 0.25])
    """
    ends = np.asarray(token_end, dtype=np.int64)
    logprobs = np.asarray(token_logprob, dtype=np.float64)
    if ends.shape != logprobs.shape or ends.ndim != 1:
        raise AlignmentError(f"{ends.size} token ends but {logprobs.size} log-probabilities; one of each is needed")
    lengths = np.diff(ends, prepend=0)
    if lengths.size and lengths.min() <= 0:
        at = int(np.argmax(lengths <= 0))
        raise AlignmentError(f"token {at} ends at letter {ends[at]}, not after the token before it; ends must increase")
    _require_logprobs(logprobs)
    return np.repeat(np.exp(logprobs), lengths)


def frontier_tokens(
    text: str, token_byte_end: npt.ArrayLike, token_logprob: npt.ArrayLike
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Express a byte-level tokenization in letters, so that each letter keeps the mean probability over its bytes.

    Tokens that begin and end between letters stay as they are. A letter whose UTF-8 bytes are spread over several
    tokens becomes an entry of its own, whose probability is the mean over the letter's bytes of the probability of
    the token that holds each byte.

    Args:
        text: the trace, L letters, B UTF-8 bytes.
        token_byte_end: shape (tokens,), non-decreasing end offset of each token in bytes; the last equals B.
        token_logprob: shape (tokens,), natural log of each token's probability.

    Returns:
        ``(token_end, token_logprob)`` as ``letter_confidence`` takes them; ends in letters, the last equals L.

    Raises:
        AlignmentError: the tokens do not tile the bytes of the text, or a log-probability is NaN or above 0.

    >>> ends, logprobs = frontier_tokens("aé", [2, 3], np.log([0.5, 0.1]))  # the second token holds half of é
    >>> ends, np.exp(logprobs).round(3)
    (array([1, 2], dtype=int32), array([0.5, 0.3], dtype=float32))
    """
    byte_ends = np.asarray(token_byte_end, dtype=np.int64)
    logprobs = np.asarray(token_logprob, dtype=np.float64)
    if byte_ends.shape != logprobs.shape or byte_ends.ndim != 1:
        raise AlignmentError(
            f"{byte_ends.size} token ends but {logprobs.size} log-probabilities; one of each is needed"
        )
    letter_bytes = _letter_bytes(text)
    letter_byte_end = np.cumsum(letter_bytes)
    total = int(letter_byte_end[-1]) if letter_byte_end.size else 0
    lengths = np.diff(byte_ends, prepend=0)
    if not byte_ends.size or lengths.min() < 0 or byte_ends[-1] != total:
        last = int(byte_ends[-1]) if byte_ends.size else 0
        raise AlignmentError(f"frontier tokens cover {last} bytes of a trace of {total}; they must tile it")
    _require_logprobs(logprobs)
    letter_starts = letter_byte_end - letter_bytes
    confidence = np.add.reduceat(np.repeat(np.exp(logprobs), lengths), letter_starts) / letter_bytes
    # A token end inside letter k cuts out the letter: boundaries on both of its sides.
    cuts = byte_ends[byte_ends > 0]
    after = np.searchsorted(letter_byte_end, cuts, side="left") + 1  # boundary right of the letter that is cut
    inside = letter_byte_end[after - 1] != cuts
    boundaries = np.unique(np.concatenate([after, after[inside] - 1]))
    boundaries = boundaries[boundaries > 0]
    return boundaries.astype(np.int32), np.log(confidence[boundaries - 1]).astype(np.float32)


def token_confidence(confidence: npt.ArrayLike, token_start: npt.ArrayLike, token_end: npt.ArrayLike) -> FloatArray:
    """Average the frontier model's confidence over the letters of each proxy token.

    Eq. 1 of arXiv 2509.21013. Tokens may overlap: byte-level tokens that share one letter each cover that letter.
    A token that covers no letter (a space before the trace, a zero-width or special token) takes the confidence of
    the next token that does, or of the last one that does at the end of the trace: it is part of the same unit.

    Args:
        confidence: shape (letters,), probabilities in [0, 1].
        token_start: shape (tokens,), first letter of each proxy token, clipped to the trace.
        token_end: shape (tokens,), letter after the last one of each proxy token.

    Returns:
        Mean confidence, shape (tokens,), in [0, 1].

    Raises:
        AlignmentError: a token reaches outside the trace or ends before it starts, or no token covers a letter.

    >>> token_confidence([0.2, 0.4, 1.0], [0, 0, 2], [0, 2, 3])  # the first token covers nothing
    array([0.3, 0.3, 1. ])
    """
    letters = np.asarray(confidence, dtype=np.float64)
    starts, ends = _spans(token_start, token_end, letters.size)
    lengths = ends - starts
    covering = lengths > 0
    if not covering.any():
        raise AlignmentError(
            f"none of {starts.size} proxy tokens covers a letter of the trace ({letters.size} letters)"
        )
    mass = np.concatenate(([0.0], np.cumsum(letters)))
    mean = (mass[ends] - mass[starts]) / np.maximum(lengths, 1)
    if not covering.all():
        positions = np.flatnonzero(covering)
        following = np.searchsorted(positions, np.arange(lengths.size), side="left")
        mean = mean[positions[np.minimum(following, positions.size - 1)]]
    return np.clip(mean, letters.min(), letters.max())  # cancellation in the sums must not leave the data's range


def span_overlap(
    token_start: npt.ArrayLike, token_end: npt.ArrayLike, spans: Sequence[tuple[int, int]] | npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Tell which tokens overlap a marked span by at least one letter.

    Args:
        token_start: shape (tokens,), first letter of each token.
        token_end: shape (tokens,), letter after the last one.
        spans: shape (spans, 2), ``[start, end)`` in letters.

    Returns:
        Shape (tokens,). A token without letters belongs to a span if the next token that has letters does.

    Raises:
        AlignmentError: a span ends before it starts, or a token does.

    >>> span_overlap([0, 3, 5], [3, 5, 8], [(2, 4)])
    array([ True,  True, False])
    """
    marks = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    if (marks[:, 0] < 0).any() or (marks[:, 1] < marks[:, 0]).any():
        raise AlignmentError("a span ends before it starts; spans are [start, end) in letters of the trace")
    letters = int(max(np.max(token_end, initial=0), marks.max(initial=0)))
    marked = np.zeros(letters + 1)
    np.add.at(marked, marks[:, 0], 1.0)
    np.add.at(marked, marks[:, 1], -1.0)
    inside = np.cumsum(marked)[:-1] > 0
    return token_confidence(inside.astype(np.float64), token_start, token_end) > 0


def _spans(token_start: npt.ArrayLike, token_end: npt.ArrayLike, letters: int) -> tuple[IntArray, IntArray]:
    starts = np.asarray(token_start, dtype=np.int64)
    ends = np.asarray(token_end, dtype=np.int64)
    if starts.shape != ends.shape or starts.ndim != 1:
        raise AlignmentError(f"{starts.size} token starts but {ends.size} ends; one of each is needed")
    wrong = (starts < 0) | (ends < starts) | (ends > letters)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise AlignmentError(f"token {at} covers letters [{starts[at]}, {ends[at]}) of a trace of {letters} letters")
    return starts, ends


def _letter_bytes(text: str) -> IntArray:
    """UTF-8 length of each code point, shape (letters,)."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    return (1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)).astype(np.int64)


def _require_logprobs(logprobs: FloatArray) -> None:
    if np.isnan(logprobs).any() or (logprobs > 1e-6).any():
        at = int(np.argmax(~(logprobs <= 1e-6)))
        raise AlignmentError(f"log-probability {logprobs[at]} at token {at}; a number of at most 0 is needed")
