"""Carry a frontier model's confidence over to the tokens of another tokenizer, character by character.

A *character* is a Unicode code point of the trace. The frontier model's tokens give each character a confidence; a
proxy token's confidence is the mean over the characters it covers (Eq. 1 of arXiv 2509.21013). Each token's characters
are summed separately: a running total over the trace would lose the digits of a small confidence behind large ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import AlignmentError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Tolerance for probabilities above 1 and log-probabilities above 0, which rounding in a model or server explains.
ROUNDING = 1e-6


def character_confidence(token_end: npt.ArrayLike, token_logprob: npt.ArrayLike) -> FloatArray:
    """Give every character the probability of the frontier token that holds it.

    A token of unknown probability is interpolated linearly, over token indices, between the nearest known tokens on its
    two sides; at an edge it takes the nearest known value. It is therefore never the only minimum or maximum.

    Args:
        token_end: shape (frontier tokens,), strictly increasing end offset of each token, in characters of the trace.
        token_logprob: shape (frontier tokens,), natural log of the probability of each token; NaN where unknown.

    Returns:
        Probabilities, shape (characters,), where characters is the last end offset.

    Raises:
        AlignmentError: no tokens, offsets not whole or not strictly increasing from above 0, lengths differ, a
            log-probability is above 0 (by more than rounding), or all are unknown.

    >>> character_confidence([1, 3], np.log([0.5, 0.25]))
    array([0.5 , 0.25, 0.25])
    >>> character_confidence([1, 2, 3], [0.0, np.nan, np.log(0.5)])
    array([1.  , 0.75, 0.5 ])
    """
    ends, logprobs = _frontier(token_end, token_logprob)
    lengths = np.diff(ends, prepend=0)
    if lengths.min() <= 0:
        at = int(np.argmax(lengths <= 0))
        raise AlignmentError(f"token {at} ends at character {ends[at]}, not after token {at - 1}; ends must increase")
    known = np.flatnonzero(~np.isnan(logprobs))
    if not known.size:
        raise AlignmentError("no frontier token has a known log-probability; a trace needs at least one")
    confidence = np.exp(logprobs)
    if known.size < ends.size:
        confidence = np.interp(np.arange(ends.size), known, confidence[known])
    return np.repeat(confidence, lengths)


def frontier_tokens(
    text: str, token_byte_end: npt.ArrayLike, token_logprob: npt.ArrayLike
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Express a byte-level tokenization in characters, so that each character keeps the mean probability over its
    bytes.

    Tokens that begin and end between characters stay as they are. A character whose UTF-8 bytes are spread over several
    tokens becomes an entry of its own, whose probability is the mean over the character's bytes of the probability of
    the token that holds each byte.

    Args:
        text: the trace, L characters, B UTF-8 bytes.
        token_byte_end: shape (tokens,), non-decreasing end offset of each token in bytes; the last equals B.
        token_logprob: shape (tokens,), natural log of each token's probability; NaN where unknown.

    Returns:
        ``(token_end, token_logprob)`` as ``character_confidence`` takes them; ends in characters, the last equals L. A
        character with a byte of unknown probability has an unknown one.

    Raises:
        AlignmentError: the tokens do not tile the bytes of the text, the text is empty or holds half a surrogate
            pair, or a log-probability is above 0 (by more than rounding).

    >>> ends, logprobs = frontier_tokens("aé", [2, 3], np.log([0.5, 0.1]))  # the second token holds half of é
    >>> ends, np.exp(logprobs).round(3)
    (array([1, 2], dtype=int32), array([0.5, 0.3], dtype=float32))
    """
    return character_tokens(character_bytes(text), token_byte_end, token_logprob)


def character_tokens(
    bytes_of_character: npt.ArrayLike, token_byte_end: npt.ArrayLike, token_logprob: npt.ArrayLike
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """``frontier_tokens`` for characters that are spelled in other bytes than UTF-8, such as escapes in a JSON string.

    Args:
        bytes_of_character: shape (characters,), bytes that spell each character where the frontier model wrote it, at
            least 1: 6 for an ``é`` written ``\\u00e9``.
        token_byte_end: shape (tokens,), non-decreasing end offset of each token in those bytes; the last is their sum.
        token_logprob: shape (tokens,), natural log of each token's probability.

    Returns:
        As ``frontier_tokens``.

    Raises:
        AlignmentError: as ``frontier_tokens``, or a character of no bytes.

    >>> ends, logprobs = character_tokens([1, 2], [2, 3], np.log([0.5, 0.1]))  # a newline, written as backslash and n
    >>> ends, np.exp(logprobs).round(3)
    (array([1, 2], dtype=int32), array([0.5, 0.3], dtype=float32))
    """
    byte_ends, logprobs = _frontier(token_byte_end, token_logprob)
    spelled = _whole_numbers(bytes_of_character, "bytes of characters")
    if spelled.ndim != 1 or not spelled.size or spelled.min() < 1:
        raise AlignmentError("a character is spelled by no bytes, or there are none; each needs at least one byte")
    character_byte_end = np.cumsum(spelled)
    lengths = np.diff(byte_ends, prepend=0)
    if lengths.min() < 0:
        at = int(np.argmax(lengths < 0))
        raise AlignmentError(f"token {at} ends at byte {byte_ends[at]}, before the token before it; ends must not fall")
    if byte_ends[-1] != character_byte_end[-1]:
        raise AlignmentError(
            f"frontier tokens cover {byte_ends[-1]} bytes of a trace of {character_byte_end[-1]}; they must tile it"
        )
    # The character that each token ends in. A token end before the last byte of that character cuts it: the character
    # becomes an entry of its own. A token without bytes before the first character cuts nothing.
    ends = byte_ends[byte_ends > 0]
    ends_in = np.searchsorted(character_byte_end, ends, side="left")
    cut, last = np.zeros((2, spelled.size), dtype=np.bool_)
    cut[ends_in[character_byte_end[ends_in] != ends]] = True
    last[ends_in] = True
    last[:-1] |= cut[1:]
    of_bytes = np.repeat(np.exp(logprobs), lengths)
    mean = np.add.reduceat(of_bytes, character_byte_end - spelled) / spelled
    stored = logprobs[np.searchsorted(byte_ends, character_byte_end[last], side="left")]
    with np.errstate(divide="ignore"):  # a probability may be 0
        stored[cut[last]] = np.log(mean[cut])
    return (np.flatnonzero(last) + 1).astype(np.int32), stored.astype(np.float32)


def character_bytes(text: str) -> IntArray:
    """UTF-8 length of each character of a text, shape (characters,).

    Raises:
        AlignmentError: the text is empty, or holds half a surrogate pair.

    >>> character_bytes("aé😀")
    array([1, 2, 4])
    """
    if not text:
        raise AlignmentError("the trace is empty; a confidence needs at least one character")
    try:
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise AlignmentError(
            f"character {error.start} of the trace is half a surrogate pair; decode the text so that pairs are joined"
        ) from error
    return (1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)).astype(np.int64)


def token_confidence(confidence: npt.ArrayLike, token_start: npt.ArrayLike, token_end: npt.ArrayLike) -> FloatArray:
    """Average the frontier model's confidence over the characters of each proxy token.

    Eq. 1 of arXiv 2509.21013. Tokens may overlap: byte-level tokens that share one character each cover that character.
    A token that covers no character (a space before the trace, a zero-width or special token) takes the confidence of
    the next token that covers one; at the end of the trace, of the last such token.

    Args:
        confidence: shape (characters,), probabilities in [0, 1].
        token_start: shape (tokens,), first character of each proxy token, clipped to the trace.
        token_end: shape (tokens,), character after the last one of each proxy token.

    Returns:
        Mean confidence, shape (tokens,), in [0, 1].

    Raises:
        AlignmentError: a confidence is not a probability, a token reaches outside the trace or ends before it
            starts, or no token covers a character.

    >>> token_confidence([0.2, 0.4, 1.0], [0, 0, 2], [0, 2, 3])  # the first token covers nothing
    array([0.3, 0.3, 1. ])
    """
    characters = np.asarray(confidence, dtype=np.float64)
    if characters.ndim != 1:
        raise AlignmentError(f"character confidences of shape {characters.shape}; (characters,) of one trace is needed")
    starts, ends = _spans(token_start, token_end, characters.size)
    lengths = ends - starts
    covering = lengths > 0
    if not covering.any():
        raise AlignmentError(
            f"none of {starts.size} proxy tokens covers a character of the trace ({characters.size} characters)"
        )
    low, high = characters.min(), characters.max()
    if not (low >= 0 and high <= 1 + ROUNDING):
        at = int(np.argmin((characters >= 0) & (characters <= 1 + ROUNDING)))
        raise AlignmentError(f"confidence {characters[at]} of character {at}; a probability in [0, 1] is needed")
    # Sums over [start, end) at even places, what lies between two tokens at odd ones. The 0 lets an end be
    # `characters`.
    edges = np.stack([starts, ends], axis=1).ravel()
    mean: FloatArray = np.add.reduceat(np.append(characters, 0.0), edges)[::2] / np.maximum(lengths, 1)
    if not covering.all():
        positions = np.flatnonzero(covering)
        following = np.searchsorted(positions, np.arange(lengths.size), side="left")
        mean = mean[positions[np.minimum(following, positions.size - 1)]]
    return mean.clip(low, high)  # rounding must not leave the range of the data, nor separate equal confidences


def span_overlap(
    token_start: npt.ArrayLike, token_end: npt.ArrayLike, spans: Sequence[tuple[int, int]] | npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Mark the tokens that overlap a span by at least one character.

    Args:
        token_start: shape (tokens,), first character of each token.
        token_end: shape (tokens,), character after the last one.
        spans: shape (spans, 2), ``[start, end)`` in characters. What lies beyond the last token is ignored.

    Returns:
        Shape (tokens,). A token without characters belongs to a span if the next token that has characters does.

    Raises:
        AlignmentError: a span ends before it starts, or a token does, or no token covers a character.

    >>> span_overlap([0, 3, 5], [3, 5, 8], [(2, 4)])
    array([ True,  True, False])
    """
    marks = _whole_numbers(spans, "span offsets")
    if marks.size == 0:
        marks = marks.reshape(0, 2)
    if marks.ndim != 2 or marks.shape[1] != 2:
        raise AlignmentError(f"spans of shape {marks.shape}; (spans, 2) is needed, a start and an end each")
    if (marks[:, 0] < 0).any() or (marks[:, 1] < marks[:, 0]).any():
        raise AlignmentError("a span ends before it starts; spans are [start, end) in characters of the trace")
    characters = int(np.max(_whole_numbers(token_end, "token ends"), initial=0))
    marks = np.minimum(marks, characters)
    marked = np.zeros(characters + 1)
    np.add.at(marked, marks[:, 0], 1.0)
    np.add.at(marked, marks[:, 1], -1.0)
    inside = np.cumsum(marked)[:-1] > 0
    return token_confidence(inside.astype(np.float64), token_start, token_end) > 0


def _spans(token_start: npt.ArrayLike, token_end: npt.ArrayLike, characters: int) -> tuple[IntArray, IntArray]:
    starts, ends = _whole_numbers(token_start, "token starts"), _whole_numbers(token_end, "token ends")
    if starts.shape != ends.shape or starts.ndim != 1:
        raise AlignmentError(
            f"token starts of shape {starts.shape}, ends of shape {ends.shape}; both must be (tokens,)"
        )
    wrong = (starts < 0) | (ends < starts) | (ends > characters)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise AlignmentError(f"token {at} covers characters [{starts[at]}, {ends[at]}) of a trace of {characters}")
    return starts, ends


def _frontier(token_end: npt.ArrayLike, token_logprob: npt.ArrayLike) -> tuple[IntArray, FloatArray]:
    """Frontier tokens as arrays, unknown log-probabilities as NaN; one that rounding left above 0 becomes 0."""
    ends = _whole_numbers(token_end, "token ends")
    logprobs = np.asarray(token_logprob, dtype=np.float64)
    if ends.shape != logprobs.shape or ends.ndim != 1:
        raise AlignmentError(
            f"token ends of shape {ends.shape}, log-probabilities of shape {logprobs.shape}; both must be (tokens,)"
        )
    if not ends.size:
        raise AlignmentError("no frontier tokens; a trace needs at least one")
    wrong = logprobs > ROUNDING
    if wrong.any():
        at = int(np.argmax(wrong))
        raise AlignmentError(f"log-probability {logprobs[at]} at token {at}; a number of at most 0 is needed")
    return ends, np.minimum(logprobs, 0.0)


def _whole_numbers(values: npt.ArrayLike, what: str) -> IntArray:
    """Offsets as int64. A fraction, NaN or number too large for 64 bits is refused, not cut off."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise AlignmentError(f"{what} of ragged shape; every row needs as many numbers as the others") from error
    if array.dtype.kind == "f" and (np.abs(array) < 2**63).all() and (array == np.floor(array)).all():
        return array.astype(np.int64)  # also no offsets at all: an empty list is an array of floats
    if array.dtype.kind not in "iu":
        raise AlignmentError(f"{what} that are not whole numbers; offsets count characters or bytes")
    return array.astype(np.int64, copy=False)
