"""The probes accept rounded log-probabilities of a language model, and refuse lists that are shifted."""

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
    """Log-probabilities of a random model after each prefix of the ids, shape (tokens, vocabulary)."""
    rows = []
    for end in range(1, len(ids) + 1):
        dice = np.random.default_rng(zlib.crc32(f"{seed} {ids[:end]}".encode()))
        logits = sharpness * dice.normal(size=VOCABULARY)
        rows.append(logits - np.log(np.exp(logits).sum()))
    return np.array(rows)


def right(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the prediction of that token: the correct list."""
    after = log_probabilities(ids, seed, sharpness)
    before = np.concatenate((np.full((1, VOCABULARY), np.nan), after[:-1]))
    return LogProbabilities(before[np.arange(len(ids)), ids], before.max(-1), None)


def too_late(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the prediction of the next position."""
    after = log_probabilities(ids, seed, sharpness)
    return LogProbabilities(after[np.arange(len(ids)), ids], after.max(-1), None)


def too_early(ids: tuple[int, ...], seed: int, sharpness: float) -> LogProbabilities:
    """Each token with the log-probability of the next one."""
    after = log_probabilities(ids, seed, sharpness)
    following = np.append(after[np.arange(len(ids) - 1), ids[1:]], after[-1].max())
    return LogProbabilities(following, after.max(-1), None)


def probes(seed: int) -> Probes:
    """Probes of a random text, with three replacement tokens at each of five positions."""
    dice = np.random.default_rng(seed)
    whole = tuple(dice.integers(0, VOCABULARY, LENGTH).tolist())
    swapped = [
        (position, (*whole[:position], (whole[position] + step) % VOCABULARY, *whole[position + 1 :]))
        for position in (4, 9, 13, 20, 27)
        for step in (7, 31, 90)
    ]
    return Probes(whole, whole[: LENGTH // 2], swapped, ())


def ask(text_probes: Probes, give: Callable[..., LogProbabilities], seed: int, sharpness: float, noise: float) -> None:
    """Check the answers of a source after adding noise."""
    dice = np.random.default_rng(seed)

    def noisy(values: np.ndarray) -> np.ndarray:
        return np.minimum(values + noise * dice.normal(size=values.size), 0.0)

    answers = [give(ids, seed, sharpness) for ids in text_probes.prompts]
    text_probes.check(
        [LogProbabilities(noisy(answer.logprob), noisy(np.asarray(answer.max_logprob)), None) for answer in answers],
        "The server",
    )


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_language_model_is_accepted(sharpness: float, noise: float) -> None:
    """For nearly uniform and confident models, exact or with noise of 0.02 times the spread of the logits."""
    for seed in range(30):
        ask(probes(seed), right, seed, sharpness, noise * sharpness)


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("give", [too_late, too_early])
def test_a_shifted_list_is_refused(give: Callable[..., LogProbabilities], sharpness: float) -> None:
    """In both directions, for any model that is not uniform."""
    for seed in range(60):
        with pytest.raises(RefusedSourceError, match=r"shifted|more text follows"):
            ask(probes(seed), give, seed, sharpness, 0.0)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("text_only", [False, True])
def test_every_tokenizer_makes_probes(name: str, text_only: bool, tokenizers: dict[str, object]) -> None:
    """Probes replace one token each, at six or more positions; text-only probes have no ids that text cannot give."""
    tokenizer = tokenizers[name]
    text_probes = make_probes(PairEncoder(tokenizer), text_only=text_only, longest=2000)
    assert len(text_probes.swapped) >= 6
    for place, ids in text_probes.swapped:
        assert [
            position
            for position, (token, original) in enumerate(zip(ids, text_probes.whole, strict=True))
            if token != original
        ] == [place]
    assert text_probes.half == text_probes.whole[: len(text_probes.half)]
    assert not (text_only and text_probes.split)
