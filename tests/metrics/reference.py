"""The slow, obvious twin of ``rbridge_metrics``: loops over characters and bytes, one number at a time, no NumPy.

Written from the formulas, not from the package. Sums use ``math.fsum``, which rounds once, so any difference from the
package is the package's own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Confidences that differ by at most this count as equal; part of the definition of MinMax in the package.
EQUAL_WITHIN = 1e-9


def character_confidence(token_end: Sequence[int], token_logprob: Sequence[float]) -> list[float]:
    """Confidence of each character: the probability of the frontier token that holds it."""
    confidence = []
    start = 0
    for end, logprob in zip(token_end, token_logprob, strict=True):
        for _character in range(start, end):
            confidence.append(math.exp(logprob))
        start = end
    return confidence


def character_confidence_from_bytes(
    text: str, token_byte_end: Sequence[int], token_logprob: Sequence[float]
) -> list[float]:
    """Confidence of each character: the mean over its UTF-8 bytes of the probability of the token holding that byte."""
    byte_confidence = []
    start = 0
    for end, logprob in zip(token_byte_end, token_logprob, strict=True):
        for _byte in range(start, end):
            byte_confidence.append(math.exp(logprob))
        start = end
    confidence = []
    position = 0
    for character in text:
        of_this_character = []
        for _byte in character.encode():
            of_this_character.append(byte_confidence[position])
            position += 1
        confidence.append(math.fsum(of_this_character) / len(of_this_character))
    return confidence


def characters_of_byte_tokens(text: str, byte_start: Sequence[int], byte_end: Sequence[int]) -> list[tuple[int, int]]:
    """Characters ``[start, end)`` that share a byte with each token; a split character counts for both."""
    extents = []
    position = 0
    for character in text:
        extents.append((position, position + len(character.encode())))
        position = extents[-1][1]
    covered = []
    for token_start, token_end in zip(byte_start, byte_end, strict=True):
        characters = [
            character
            for character, (character_start, character_end) in enumerate(extents)
            if max(character_start, token_start) < min(character_end, token_end)
        ]
        if characters:
            covered.append((characters[0], characters[-1] + 1))
        else:
            before = sum(1 for _, character_end in extents if character_end <= token_start)
            covered.append((before, before))
    return covered


def token_confidence(confidence: Sequence[float], token_start: Sequence[int], token_end: Sequence[int]) -> list[float]:
    """Mean confidence of each token's characters; an empty token takes the mean of the next that has some."""
    means: list[float | None] = []
    for start, end in zip(token_start, token_end, strict=True):
        characters = [confidence[character] for character in range(start, end)]
        means.append(math.fsum(characters) / len(characters) if characters else None)
    confidences = []
    for token, mean in enumerate(means):
        if mean is None:
            following = [value for value in means[token:] if value is not None]
            preceding = [value for value in means[:token] if value is not None]
            mean = following[0] if following else preceding[-1]
        confidences.append(mean)
    return confidences


def span_overlap(token_start: Sequence[int], token_end: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether a character of each token lies in a span; a token without characters follows its next neighbour."""
    characters = max(token_end)
    marked = [1.0 if any(start <= character < end for start, end in spans) else 0.0 for character in range(characters)]
    return [mean > 0 for mean in token_confidence(marked, token_start, token_end)]


def minmax_weights_over_test_set(confidences: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each confidence as a fraction of the way from the smallest to the largest of all traces."""
    low = min(value for trace in confidences for value in trace)
    high = max(value for trace in confidences for value in trace)
    if high - low <= EQUAL_WITHIN:
        return [[1.0 for _ in trace] for trace in confidences]
    return [[(value - low) / (high - low) for value in trace] for trace in confidences]


def minmax_weights(confidence: Sequence[float]) -> list[float]:
    """Each confidence as a fraction of the way from the smallest to the largest of one trace."""
    return minmax_weights_over_test_set([confidence])[0]


def weighted_nats(nll: Sequence[float], weights: Sequence[float]) -> float:
    """Sum over tokens of nll * weight."""
    return math.fsum(value * weight for value, weight in zip(nll, weights, strict=True))


def rbridge_nll(nll: Sequence[float], weights: Sequence[float]) -> float:
    """Mean over tokens of nll * weight: divided by the number of tokens."""
    return weighted_nats(nll, weights) / len(nll)


def trace_nll(nll: Sequence[float]) -> float:
    """Mean over tokens of nll."""
    return math.fsum(nll) / len(nll)


def bits_per_byte(nats: Sequence[float], n_bytes: Sequence[int]) -> float:
    """All nats in bits, over all bytes."""
    return math.fsum(nats) / math.log(2) / sum(n_bytes)


def rbridge_nll_of_trace(
    text: str,
    frontier_byte_end: Sequence[int],
    frontier_logprob: Sequence[float],
    proxy_byte_end: Sequence[int],
    nll: Sequence[float],
) -> float:
    """rBridge NLL of one trace from its two byte-level tokenizations, by the formulas."""
    confidence = character_confidence_from_bytes(text, frontier_byte_end, frontier_logprob)
    characters = characters_of_byte_tokens(text, [0, *proxy_byte_end[:-1]], proxy_byte_end)
    tokens = token_confidence(confidence, [start for start, _ in characters], [end for _, end in characters])
    return rbridge_nll(nll, minmax_weights(tokens))
