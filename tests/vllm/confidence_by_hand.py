"""Ask a vLLM server directly, and compute the confidence of each character by a loop over bytes."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..error_bounds import model_bound


def ask(server: str, chat: list[dict[str, str]], **fields: Any) -> dict[str, Any]:
    """Request a greedy answer with log-probabilities; return the response's choice."""
    body = {"model": "tiny", "messages": chat, "temperature": 0, "logprobs": True, **fields}
    request = urllib.request.Request(
        f"{server}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        choice: dict[str, Any] = json.load(response)["choices"][0]
    return choice


def json_characters(text: str) -> list[str]:
    """Each character as the checkpoint was trained to write it in a JSON string."""
    return [json.dumps(character, ensure_ascii=False)[1:-1] for character in text]


def by_hand(tokens: list[dict[str, Any]], characters: Sequence[str]) -> list[float]:
    """Confidence of each character of a text at its last occurrence in the tokens, by a loop over bytes.

    vLLM gives a token that ends inside a character an empty text, and gives the whole character to the token that
    completes it. The bytes of that token's text up to this character are divided evenly among these tokens.
    """
    byte_confidence: list[float] = []
    pending: list[float] = []  # probabilities of earlier tokens with an empty text
    for token in tokens:
        probability, text = float(np.exp(token["logprob"])), token["token"]
        if not text:
            pending.append(probability)
            continue
        if pending:
            first = next(number for number, character in enumerate(text) if ord(character) > 127)
            probabilities, shared = [*pending, probability], len(text[: first + 1].encode())
            ends = [shared * (number + 1) // len(probabilities) for number in range(len(probabilities))]
            for share, (start, end) in zip(probabilities, zip([0, *ends], ends, strict=False), strict=True):
                byte_confidence += [share] * (end - start)
            text, pending = text[first + 1 :], []
        byte_confidence += [probability] * len(text.encode())
    spelled = "".join(token["token"] for token in tokens)
    position = len(spelled[: spelled.rindex("".join(characters))].encode())
    expected = []
    for character in characters:
        n_bytes = len(character.encode())
        expected.append(float(np.mean(byte_confidence[position : position + n_bytes])))
        position += n_bytes
    return expected


def relative_bound(confidences: Sequence[float]) -> float:
    """Bound on the relative difference of two confidences by ``answering_llama``: exp(error in nats) - 1."""
    return math.expm1(model_bound(np.log(confidences), width=128, inner=384, positions=2048))
