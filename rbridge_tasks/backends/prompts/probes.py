"""Identities that log-probabilities of prompts must satisfy, checked before a source is used.

A token's log-probability depends on that token and on the text before it, and on nothing else. So, for a fixed text:

- the same prompt gives the same numbers twice;
- text added at the end changes nothing before it;
- replacing a token changes its log-probability, and that of no token before it;
- replacing a token does not change the *distribution* at its place: the most probable token stays as probable.

A source whose list lacks the first entry violates the third identity; one that pairs each token with the prediction
made after it violates only the fourth. Differences are compared with how much the numbers vary along the text: the
rounding of a bfloat16 model passes, a shift does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.collector import LogProbabilities
from rbridge_tasks.scoring.tokenization import PairEncoder

Ids = tuple[int, ...]

#: Replacing any digit leaves the other tokens unchanged.
_TEXT = "We count 3 apples, 5 pears, 2 plums, 7 figs and 4 nuts in 6 bags; then we stop."
#: Added to a digit, modulo 10, to replace it.
_STEPS = (1, 4, 6)
_LONGEST = 48
_FEWEST_SWAPS = 6

#: Largest mean difference that passes, as a share of the mean difference between two places of the text. A shift gives
#: about 1, and at least 0.4 with this few places; see tests/backends/test_probes.py.
_TOLERANCE = 0.35
#: Difference that float32 arithmetic may add, in nats.
_FLOAT32 = 1e-4
#: Smaller differences count as zero.
_UNIFORM = 1e-5


class RefusedSourceError(RBridgeError):
    """A source gives wrong log-probabilities, or none."""


@dataclass(frozen=True)
class Probes:
    """Prompts whose log-probabilities must satisfy the identities.

    Attributes:
        whole: a fixed text.
        half: its first half.
        swapped: places, and the whole text with another token at that place.
        split: words in tokens that the tokenizer would not choose; empty if there are none.
    """

    whole: Ids
    half: Ids
    swapped: list[tuple[int, Ids]]
    split: Ids

    @property
    def prompts(self) -> list[Ids]:
        """All prompts to ask for; the whole text comes twice."""
        swapped = [ids for _, ids in self.swapped]
        return [self.whole, self.half, *swapped, *([self.split] if self.split else []), self.whole]

    def check(self, answers: Sequence[LogProbabilities], source: str) -> None:
        """Check the answers of a source.

        Args:
            answers: for ``prompts``, in their order.
            source: its name, for the error.

        Raises:
            RefusedSourceError: an identity does not hold.
        """
        whole, half, *others, again = answers
        swapped = [(place, answer) for (place, _), answer in zip(self.swapped, others, strict=False)]
        for answer in answers:
            _check_numbers(answer, source)
        if float(np.ptp(whole.logprob[1:])) < _UNIFORM:
            if whole.logprob[1] < -1:
                return  # an untrained model gives every token the same log-probability, shifted or not
            raise _refused(source, f"gives every token the log-probability {whole.logprob[1]:.4g}")
        usual = _usual_difference(whole.logprob[1:])
        if _mean_difference(whole.logprob[1:], again.logprob[1:]) > usual:
            raise _refused(source, "gives the same prompt other log-probabilities when asked a second time")
        if _mean_difference(half.logprob[1:], whole.logprob[1 : len(self.half)]) > usual:
            raise _refused(source, "gives a text other log-probabilities when more text follows it")
        places = np.array([place for place, _ in swapped])
        just_before = np.array([answer.logprob[place - 1] for place, answer in swapped])[places > 1]
        if _mean_difference(just_before, whole.logprob[places[places > 1] - 1]) > usual or any(
            _mean_difference(answer.logprob[1:place], whole.logprob[1:place]) > usual for place, answer in swapped
        ):
            raise _refused(source, "changes a token's log-probability with the token after it: its list is shifted")
        at_places = np.array([answer.logprob[place] for place, answer in swapped])
        if np.abs(at_places - whole.logprob[places]).max() < _UNIFORM:
            raise _refused(source, "gives a token the same log-probability as any other in its place")
        _check_distribution(whole, swapped, source)


def _check_distribution(whole: LogProbabilities, swapped: Sequence[tuple[int, LogProbabilities]], source: str) -> None:
    """Refuse predictions for a place that change with the token there: they were made after it."""
    highest = whole.max_logprob
    most = [answer.max_logprob[place] for place, answer in swapped if answer.max_logprob is not None]
    if highest is None or len(most) < len(swapped):
        raise _refused(
            source, "gives no log-probability of the most probable token, without which a shift cannot be ruled out"
        )
    places = np.array([place for place, _ in swapped])
    if _mean_difference(np.array(most), highest[places]) > _usual_difference(highest[1:]):
        raise _refused(
            source,
            "gives log-probabilities shifted by one: what it predicts for a token changes with that token itself",
        )


def _mean_difference(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    return float(np.abs(first - second).mean()) if first.size else 0.0


def _usual_difference(values: npt.NDArray[np.float64]) -> float:
    """Largest mean difference that passes: a share of that between any two places of the text."""
    pairs = np.abs(values[:, None] - values[None, :]).sum() / (values.size * (values.size - 1))
    return _FLOAT32 + _TOLERANCE * float(pairs)


def make_probes(encoder: PairEncoder, *, text_only: bool, longest: int) -> Probes:
    """Make probes with a model's tokenizer.

    Args:
        encoder: the encoder that is used for traces.
        text_only: prompts will be sent as text, so only the tokenizer's own tokens can be asked for.
        longest: longest prompt of the model, in tokens.

    Raises:
        RefusedSourceError: the tokenizer gives too few probes.
    """
    digits = [at for at, character in enumerate(_TEXT) if character.isdigit()]
    texts = [f"{_TEXT[:at]}{(int(_TEXT[at]) + step) % 10}{_TEXT[at + 1 :]}" for at in digits for step in _STEPS]
    pairs = encoder.encode([(text[:2], text[2:]) for text in [_TEXT, *texts]])
    whole, *variants = [tuple(pair.ids.tolist())[: min(_LONGEST, longest)] for pair in pairs]
    swapped: list[tuple[int, Ids]] = []
    for ids in variants:
        if len(ids) == len(whole):
            places = [at for at, (new, old) in enumerate(zip(ids, whole, strict=True)) if new != old]
            if len(places) == 1 and places[0] > 0:
                swapped.append((places[0], ids))
    if len(swapped) < _FEWEST_SWAPS and not text_only:
        swapped = _swaps(whole)
    if len(swapped) < _FEWEST_SWAPS:
        raise RefusedSourceError(
            f"the tokenizer makes {len(swapped)} of {len(texts)} probes of a fixed text, where at least "
            f"{_FEWEST_SWAPS} are needed to trust a source of log-probabilities; send token ids "
            "(tokenized_requests=True), with a max_length of 64 or more"
        )
    split = () if text_only else _split(encoder.tokenizer)[: len(whole)]
    return Probes(whole, whole[: max(2, len(whole) // 2)], swapped, split)


def _swaps(whole: Ids) -> list[tuple[int, Ids]]:
    """The text with tokens from elsewhere in the text at some places."""
    swapped = []
    for place in range(2, len(whole), max(1, len(whole) // 6)):
        others = {whole[(place + len(whole) * part // 4) % len(whole)] for part in (1, 2, 3)} - {whole[place]}
        swapped += [(place, (*whole[:place], other, *whole[place + 1 :])) for other in sorted(others)]
    return swapped


def _split(tokenizer: Any) -> Ids:
    """Words spelled character by character, in tokens that the tokenizer itself would not choose."""
    ids = [tokenizer.encode(f";{character}", add_special_tokens=False)[-1] for character in "applesandpearsandfigs"]
    again = tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False)
    return tuple(ids) if len(again) != len(ids) else ()


def _check_numbers(answer: LogProbabilities, source: str) -> None:
    values = answer.logprob[1:]
    if not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        raise _refused(
            source,
            f"gives no finite log-probability for {missing} of {values.size} tokens after the first (is the "
            "checkpoint broken?)",
        )
    if (values > 1e-3).any():
        raise _refused(source, f"gives the log-probability {values.max():.4g}, which is above 0")
    if values.size < 8 or np.ptp(values) < _UNIFORM:
        return
    for digits in range(5):
        if np.array_equal(values, np.round(values, digits)):
            raise _refused(source, f"rounds log-probabilities to {digits} digits after the point")
    if not (values.astype(np.float32).view(np.uint32) & 0xFFFF).any():
        raise _refused(source, "rounds log-probabilities to bfloat16")


def _refused(source: str, reason: str) -> RefusedSourceError:
    return RefusedSourceError(f"{source} {reason}; its scores would be wrong, so it is not used")
