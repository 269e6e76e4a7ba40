"""What must hold of the log-probabilities of prompts whoever computes them, asked of a source before it is believed.

A token's log-probability depends on that token and on the text before it, on nothing else. So, for a fixed text:

- the same prompt twice gives the same numbers;
- text added at the end changes nothing before it: the sum over a split equals the whole;
- another token at one place changes its own log-probability, and that of no token before it;
- it does not change the *distribution* at its place: the most probable token there is as probable as before.

A source whose list lacks its first entry breaks the third, one that pairs each token with the prediction made after it
only the fourth. Numbers are compared against how much they vary along the text, so that the rounding of a bfloat16
model passes and a shift does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError
from rbridge_tasks.backends.prompt_scores import PromptScores
from rbridge_tasks.scoring.tokenization import PairEncoder

Ids = tuple[int, ...]

#: At each digit another may stand without the rest being tokenised otherwise.
_TEXT = "We count 3 apples, 5 pears, 2 plums, 7 figs and 4 nuts in 6 bags; then we stop."
#: What is added to a digit to have others in its place.
_STEPS = (1, 4, 6)
_LONGEST = 48
_FEWEST_SWAPS = 6

#: How large a mean of differences may be, against the mean difference between two places of the text. A shift gives 1,
#: from so few places never less than 0.4; see tests/backends/test_identities.py.
_TOLERANCE = 0.35
#: What float32 arithmetic may add, in nats.
_FLOAT32 = 1e-4
#: Differences below this are none: log-probabilities that do not vary at all cannot be told apart by it.
_UNIFORM = 1e-5


class RefusedSourceError(RBridgeError):
    """What gives the log-probabilities gives wrong ones, or none."""


@dataclass(frozen=True)
class Probes:
    """Prompts whose log-probabilities have to satisfy identities.

    Attributes:
        whole: a fixed text.
        half: its first half.
        swapped: the whole with another token at one place, each with that place.
        split: words in other tokens than the tokenizer's own choice, empty where it knows no others.
    """

    whole: Ids
    half: Ids
    swapped: list[tuple[int, Ids]]
    split: Ids

    @property
    def prompts(self) -> list[Ids]:
        """All that has to be asked, the whole twice."""
        swapped = [ids for _, ids in self.swapped]
        return [self.whole, self.half, *swapped, *([self.split] if self.split else []), self.whole]

    def check(self, answers: Sequence[PromptScores], source: str) -> None:
        """Compare what came back.

        Args:
            answers: of ``prompts``, in their order, one number for each token.
            source: what gave them, for the error.

        Raises:
            RefusedSourceError: an identity does not hold.
        """
        whole, half, *others, again = answers
        swapped = [(place, answer) for (place, _), answer in zip(self.swapped, others, strict=False)]
        for answer in answers:
            _check_numbers(answer, source)
        if float(np.ptp(whole.logprob[1:])) < _UNIFORM:
            if whole.logprob[1] < -1:
                return  # a model that knows nothing yet gives every token the same, and so would any shift of it
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
        own = np.array([answer.logprob[place] for place, answer in swapped])
        if np.abs(own - whole.logprob[places]).max() < _UNIFORM:
            raise _refused(source, "gives a token the same log-probability as any other in its place")
        _check_distribution(whole, swapped, source)


def _check_distribution(whole: PromptScores, swapped: Sequence[tuple[int, PromptScores]], source: str) -> None:
    """Refuse predictions for a place that change with the token in it: they were made after it."""
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


def _mean_difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float(np.abs(one - other).mean()) if one.size else 0.0


def _usual_difference(values: npt.NDArray[np.float64]) -> float:
    """What a mean difference may be: a part of that between any two places of the text."""
    pairs = np.abs(values[:, None] - values[None, :]).sum() / (values.size * (values.size - 1))
    return _FLOAT32 + _TOLERANCE * float(pairs)


def make_probes(encoder: PairEncoder, *, text_only: bool, longest: int) -> Probes:
    """Probes in the tokens of a model.

    Args:
        encoder: tokenises as it does for traces.
        text_only: prompts will be sent as text, so that only such tokens can be asked for as the text comes to.
        longest: prompt that the model takes, in tokens.

    Raises:
        RefusedSourceError: the tokenizer makes too few probes of the text.
    """
    digits = [at for at, letter in enumerate(_TEXT) if letter.isdigit()]
    texts = [f"{_TEXT[:at]}{(int(_TEXT[at]) + step) % 10}{_TEXT[at + 1 :]}" for at in digits for step in _STEPS]
    pairs = encoder.encode([(text[:2], text[2:]) for text in [_TEXT, *texts]])
    whole, *variants = [tuple(pair.ids.tolist())[: min(_LONGEST, longest)] for pair in pairs]
    swapped: list[tuple[int, Ids]] = []
    for ids in variants:
        if len(ids) == len(whole):
            places = [at for at, (one, other) in enumerate(zip(ids, whole, strict=True)) if one != other]
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
    """The text with tokens from elsewhere in it at some places."""
    swapped = []
    for place in range(2, len(whole), max(1, len(whole) // 6)):
        others = {whole[(place + len(whole) * part // 4) % len(whole)] for part in (1, 2, 3)} - {whole[place]}
        swapped += [(place, (*whole[:place], other, *whole[place + 1 :])) for other in sorted(others)]
    return swapped


def _split(tokenizer: Any) -> Ids:
    """Words spelled letter by letter, in tokens that the tokenizer itself would not choose for the text."""
    ids = [tokenizer.encode(f";{letter}", add_special_tokens=False)[-1] for letter in "applesandpearsandfigs"]
    again = tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False)
    return tuple(ids) if len(again) != len(ids) else ()


def _check_numbers(answer: PromptScores, source: str) -> None:
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
