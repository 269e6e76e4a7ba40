"""Ask a vLLM server directly, and compute the confidence of each character by a loop over bytes."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..error_bounds import model_bound


def ask(server: str, asked: list[dict[str, str]], **fields: Any) -> dict[str, Any]:
    """The choice of a greedy answer with log-probabilities."""
    body = {"model": "tiny", "messages": asked, "temperature": 0, "logprobs": True, **fields}
    request = urllib.request.Request(
        f"{server}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        choice: dict[str, Any] = json.load(response)["choices"][0]
    return choice


def json_characters(text: str) -> list[str]:
    """Each character as the checkpoint was taught to write it in a JSON string."""
    return [json.dumps(character, ensure_ascii=False)[1:-1] for character in text]


def by_hand(tokens: list[dict[str, Any]], characters: Sequence[str]) -> list[float]:
    """Confidence of each character of a text where it stands last in the tokens, by a loop over bytes.

    vLLM shows a token that ends inside a character as no text, and the whole character with the token that completes
    it; the bytes of that character, and of what stands before it there, are shared evenly.
    """
    of_byte: list[float] = []
    held: list[float] = []  # probabilities of tokens whose bytes the server did not show yet
    for token in tokens:
        probability, text = float(np.exp(token["logprob"])), token["token"]
        if not text:
            held.append(probability)
            continue
        if held:
            first = next(number for number, character in enumerate(text) if ord(character) > 127)
            run, shared = [*held, probability], len(text[: first + 1].encode())
            ends = [shared * (number + 1) // len(run) for number in range(len(run))]
            for share, (start, end) in zip(run, zip([0, *ends], ends, strict=False), strict=True):
                of_byte += [share] * (end - start)
            text, held = text[first + 1 :], []
        of_byte += [probability] * len(text.encode())
    spelled = "".join(token["token"] for token in tokens)
    at = len(spelled[: spelled.rindex("".join(characters))].encode())
    expected = []
    for character in characters:
        n_bytes = len(character.encode())
        expected.append(float(np.mean(of_byte[at : at + n_bytes])))
        at += n_bytes
    return expected


def relative_bound(confidences: Sequence[float]) -> float:
    """How far two readings by ``answering_llama`` may lie apart in a confidence, relative: exp(error in nats) - 1."""
    return math.expm1(model_bound(np.log(confidences), width=128, inner=384, positions=2048))
