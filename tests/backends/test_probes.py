"""The identities accept what a language model gives, rounding and all, and refuse lists that are shifted."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from rbridge_tasks.backends.prompts.probes import Probes, RefusedSourceError, make_probes
from rbridge_tasks.scoring.collector import LogProbabilities
from rbridge_tasks.scoring.tokenization import PairEncoder

from ..support import TOKENIZERS

VOCABULARY, LENGTH = 200, 30


def log_probabilities(ids: tuple[int, ...], seed: int, sharpness: float) -> np.ndarray:
    """Those of every token after each beginning of the ids, shape (tokens, vocabulary): a model made of dice."""
    rows = []
    for end in range(1, len(ids) + 1):
        dice = np.random.default_rng(zlib.crc32(f"{seed} {ids[:end]}".encode()))
        logits = sharpness * dice.normal(size=VOCABULARY)
        rows.append(logits - np.log(np.exp(logits).sum()))
    return np.array(rows)


def right(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the prediction made before it."""
    after = log_probabilities(ids, seed, sharpness)
    before = np.concatenate((np.full((1, VOCABULARY), np.nan), after[:-1]))
    return LogProbabilities(before[np.arange(len(ids)), ids], before.max(-1), None)


def too_late(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the prediction made after it."""
    after = log_probabilities(ids, seed, sharpness)
    return LogProbabilities(after[np.arange(len(ids)), ids], after.max(-1), None)


def too_early(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the log-probability of the next one."""
    after = log_probabilities(ids, seed, sharpness)
    following = np.append(after[np.arange(len(ids) - 1), ids[1:]], after[-1].max())
    return LogProbabilities(following, after.max(-1), None)


def probes(seed: int) -> Probes:
    """A random text, at five places of which stand three other tokens."""
    dice = np.random.default_rng(seed)
    whole = tuple(dice.integers(0, VOCABULARY, LENGTH).tolist())
    swapped = [
        (at, (*whole[:at], (whole[at] + step) % VOCABULARY, *whole[at + 1 :]))
        for at in (4, 9, 13, 20, 27)
        for step in (7, 31, 90)
    ]
    return Probes(whole, whole[: LENGTH // 2], swapped, ())


def ask(found: Probes, give: Callable[..., LogProbabilities], seed: int, sharpness: float, noise: float) -> None:
    """Check what a source gives, with some noise on it."""
    dice = np.random.default_rng(seed)

    def noisy(values: np.ndarray) -> np.ndarray:
        return np.minimum(values + noise * dice.normal(size=values.size), 0.0)

    answers = [give(ids, seed, sharpness) for ids in found.prompts]
    found.check(
        [LogProbabilities(noisy(one.logprob), noisy(np.asarray(one.max_logprob)), None) for one in answers],
        "The server",
    )


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_language_model_is_accepted(sharpness: float, noise: float) -> None:
    """Nearly uniform or sure of itself, exact or with noise of two hundredths of the spread of its logits."""
    for seed in range(30):
        ask(probes(seed), right, seed, sharpness, noise * sharpness)


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("give", [too_late, too_early])
def test_a_shifted_list_is_refused(give: Callable[..., LogProbabilities], sharpness: float) -> None:
    """In either direction, of any model that is not uniform."""
    for seed in range(60):
        with pytest.raises(RefusedSourceError, match=r"shifted|more text follows"):
            ask(probes(seed), give, seed, sharpness, 0.0)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("text_only", [False, True])
def test_every_tokenizer_makes_probes(name: str, text_only: bool, tokenizers: dict[str, object]) -> None:
    """At least three swaps of one place each, and ids that the tokenizer would not choose itself."""
    tokenizer = tokenizers[name]
    found = make_probes(PairEncoder(tokenizer), text_only=text_only, longest=2000)
    assert len(found.swapped) >= 6
    for place, ids in found.swapped:
        assert [at for at, (one, other) in enumerate(zip(ids, found.whole, strict=True)) if one != other] == [place]
    assert found.half == found.whole[: len(found.half)]
    assert not (text_only and found.split)
