"""A trial of a way of reading: its numbers against those of the model's own forward pass over one text.

Two texts are read. The longest shows effects of length: sliding windows, positions that stretch. In a short text every
token after the shared prompt is scored, and it is read between other texts: a leak across the boundary between texts
shows in the tokens after the boundary, and fades. Replacing the other texts must not change its numbers.

The tolerance follows from the model's own noise: its numbers for the same text in another batch, with embeddings
shifted by the rounding errors of all layers.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rbridge_tasks.scoring.forward import Forward, OwnPass, padded, statistics_of_logits
from rbridge_tasks.scoring.prefix_tree import MIN_SHARED_TOKENS
from rbridge_tasks.scoring.readers import PackedReader, Reader
from rbridge_tasks.scoring.stretching_positions import may_stretch
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.token_statistics import LOGPROB

Ids = npt.NDArray[np.int64]

#: Tokens of the short text after the prefix, and of the texts between which it stands.
_SHORT_TOKENS, _BETWEEN_TOKENS = 32, 16
#: Differences up to this multiple of the noise count as rounding: both sides have it, and it is measured once.
_NOISES = 4
#: Smaller effects of later tokens are accepted, in nats: ProphetNet's masks let some 1e-4 pass.
_EFFECT_OF_LATER_TOKENS = 1e-2
#: Length of the text that is padded to the longest, as a share of it.
_SHORTER = 7 / 8


class UnsupportedPositionsError(NotImplementedError):
    """The model does not use a token's position as it is given."""


@dataclass(frozen=True)
class Noise:
    """By how much rounding moves a model's log-probabilities, in nats.

    Attributes:
        largest, mean: over the tokens of a text.
        without_half: median over the first half of the scored tokens, where padding replaces the second half.
    """

    largest: float
    mean: float
    without_half: float

    @property
    def later_tokens_matter(self) -> bool:
        """Whether a token's numbers depend on later tokens, as in BERT: most of them move by more than rounding."""
        return self.without_half > max(_NOISES * self.largest, _EFFECT_OF_LATER_TOKENS)


@dataclass(frozen=True)
class Disagreement:
    """A difference between a way of reading and the model's own forward pass.

    Attributes:
        largest_nats: largest difference of a token's log-probability; NaN if a side has no finite numbers.
        noise_nats: largest difference by the model's own noise.
        where: what was compared.
    """

    largest_nats: float
    noise_nats: float
    where: str

    def __str__(self) -> str:
        return f"{self.where}: up to {self.largest_nats:.2g} nats a token; its noise is {self.noise_nats:.2g}"


@dataclass(frozen=True)
class OwnNumbers:
    """Log-probabilities from a model's own forward pass over a text.

    Attributes:
        forward: the model.
        projects: whether our output projection gives its logits for the same hidden states. It is then used.
    """

    forward: Forward
    projects: bool

    def states(self, texts: Sequence[Text], positions: Ids | None = None) -> list[torch.Tensor]:
        """What the log-probabilities of each text of a batch are computed from.

        Args:
            texts: the batch.
            positions: position ids of a text that is alone, shape (tokens,); None leaves them to the model.

        Returns:
            Hidden states (tokens, width) where our output projection is used, else logits (scored, vocabulary).
        """
        options = {} if positions is None else {"position_ids": self.forward.upload(positions[None])}
        if not self.projects:
            return self.forward.logits(texts, **options)
        inputs = self.forward.upload(padded(texts, 0))
        hidden = self.forward.own_pass(inputs, projected=1, use_cache=False, **options).hidden
        return [row[: text.ids.size] for row, text in zip(hidden, texts, strict=True)]

    def logprob(self, text: Text, states: torch.Tensor) -> torch.Tensor:
        """Log-probability of each scored token of a text, float64, from its ``states``."""
        if self.projects:
            return self.forward.statistics(states[text.lead :], text.targets)[:, LOGPROB]
        return statistics_of_logits(states, text.targets)[:, LOGPROB]

    def noise(self, text: Text, expected: torch.Tensor) -> Noise:
        """By how much a text's numbers move in another batch, with embeddings shifted by rounding errors.

        Each layer rounds its result once; in float32 each of its products also sums as many rounded terms as the model
        is wide. Independent errors add up as the square root of their number.
        """
        model, autocast_dtype = self.forward.model, self.forward.autocast_dtype
        config = model.config.get_text_config()
        layers, width = (getattr(config, name, None) or 1 for name in ("num_hidden_layers", "hidden_size"))
        generator = torch.Generator().manual_seed(0)
        rounding = torch.finfo(torch.float32).eps

        def shift(_module: object, _args: object, embeddings: torch.Tensor) -> torch.Tensor:
            nonlocal rounding
            dtype = autocast_dtype or embeddings.dtype
            rounding = torch.finfo(dtype).eps
            roundings = layers * (width if dtype == torch.float32 else 1)
            errors = torch.empty(embeddings.shape).uniform_(-1, 1, generator=generator).mul_(math.sqrt(roundings))
            return embeddings * (1 + errors.mul_(rounding)).to(embeddings)

        half = _beginning(text, text.lead + (text.targets.size + 1) // 2, text.lead)
        handle = model.get_input_embeddings().register_forward_hook(shift)
        try:
            of_text, of_half = self.states([text, half])
            moved = (self.logprob(text, of_text) - expected).abs()
            without_half = (self.logprob(half, of_half) - expected[: half.targets.size]).abs()
        finally:
            handle.remove()
        finite: list[float] = moved[moved.isfinite()].tolist() or [0.0]
        return Noise(max(*finite, rounding), max(statistics.fmean(finite), rounding), float(without_half.median()))


class Trial:
    """The texts of a trial and their numbers from the model's own forward pass over each alone.

    Args:
        forward: the model.
        longest: the longest text.
        prefixes: lengths of the prefixes that the longest text will be read behind, the shortest first.
        own: the model's own pass over the longest text, if our output projection gives its logits for the same hidden
            states.

    Attributes:
        own_numbers: computes the model's own numbers.
        longest, prefixes: as above.
        short: the beginning of the longest text; every token after a prefix is scored.
        noise: of the short text, or of the longest.
        vocab_size: number of logits.
    """

    def __init__(self, forward: Forward, longest: Text, prefixes: Sequence[int], own: OwnPass | None) -> None:
        self.own_numbers = numbers = OwnNumbers(forward, projects=own is not None)
        self.longest, self.prefixes = longest, prefixes
        self._split = min(longest.lead, MIN_SHARED_TOKENS)  # length of the short text's prefix
        self.short = _beginning(longest, self._split + _SHORT_TOKENS, self._split)
        (self._short_states,) = numbers.states([self.short])
        of_longest = numbers.states([longest])[0] if own is None else own.hidden[0]
        self._short_logprob = numbers.logprob(self.short, self._short_states)
        self._longest_logprob = numbers.logprob(longest, of_longest)
        self.noise = numbers.noise(self.short, self._short_logprob)
        self.vocab_size: int = (of_longest if own is None else own.logits).shape[-1]

    def use_noise_of_longest(self) -> None:
        """Allow the noise of the longest text: biases that grow with a key's position increase rounding errors."""
        self.noise = self.own_numbers.noise(self.longest, self._longest_logprob)

    def positions_stretch(self) -> bool:
        """Whether a token's numbers depend on the largest position of the input ("dynamic" NTK, LongRoPE).

        The last token of the short text is moved to the end of the longest: the tokens before it must not change, but
        for rounding in models whose positions are not known to stretch.
        """
        numbers, tokens = self.own_numbers, self.short.ids.size
        if self.longest.ids.size <= tokens:
            return False
        (far,) = numbers.states([self.short], np.append(np.arange(tokens - 1), self.longest.ids.size - 1))
        if torch.equal(self._given[:-1], far[:-1]):
            return False
        first, second = (numbers.logprob(self.short, states)[:-1] for states in (self._given, far))
        return may_stretch(numbers.forward.model) or self._compared(first, second, "") is not None

    @functools.cached_property
    def _given(self) -> torch.Tensor:
        """States of the short text, computed with explicit position ids."""
        return self.own_numbers.states([self.short], np.arange(self.short.ids.size))[0]

    def disagreement(self, reader: Reader, *, alone: bool = False) -> Disagreement | None:
        """By how much a reader's numbers differ from the model's own; None if by no more than noise.

        Args:
            reader: the way of reading.
            alone: whether it will read texts one at a time only.

        Raises:
            one of ``forward.UNSUPPORTED``: the reader does not work with this model.
        """
        if alone:
            return self._apart(reader.read([self.longest], None), self._longest_logprob, "the longest text")
        return self._in_line(reader) if isinstance(reader, PackedReader) else self._padded(reader)

    def _in_line(self, reader: PackedReader) -> Disagreement | None:
        """Compare the longest text, read as it will be, then the short one between others behind a prefix."""
        if reader.given_positions:
            self._require_given_positions()
        columns = reader.read_for_later(self.longest, self.prefixes)
        if apart := self._apart(columns, self._longest_logprob, "the longest text"):
            return apart
        prefix = reader.keep(self.longest.ids[: self._split], None) if self._split else None
        hidden = [reader.scored([*others, self.short], prefix) for others in self._others()]
        first, second = (reader.forward.statistics(states, self.short.targets) for states in hidden)
        return (
            self._apart(first, self._short_logprob, "a text behind others")
            or self._apart(second, self._short_logprob, "a text behind others")
            or self._changed(first[:, LOGPROB], second[:, LOGPROB], "a text's numbers change with the text before it")
        )

    def _require_given_positions(self) -> None:
        """Check that the model uses given positions: in one line nothing else says where a token is in its text."""
        numbers = self.own_numbers
        if not torch.equal(self._short_states, self._given):  # mixtures of experts may differ by rounding
            logprob = numbers.logprob(self.short, self._given)
            if self._changed(self._short_logprob, logprob, "") is not None:
                raise UnsupportedPositionsError("its positions do not count from 0")
        (reversed_,) = numbers.states([self.short], np.arange(self.short.ids.size)[::-1].copy())
        if self.short.ids.size > 1 and torch.equal(self._given, reversed_):
            raise UnsupportedPositionsError("it does not use the positions that it is given")

    def _changed(self, first: torch.Tensor, second: torch.Tensor, where: str) -> Disagreement | None:
        """Whether log-probabilities computed in the same shapes differ in any bit.

        With experts, beyond noise: tokens of one expert are multiplied together, so other tokens change their rounding.
        """
        if torch.equal(first, second):
            return None
        if _has_experts(self.own_numbers.forward.model):
            return self._compared(first, second, where)
        return Disagreement(float((first - second).abs().max()), 0.0, where)

    def _others(self) -> list[list[Text]]:
        """Two sets of texts to read before the short one, of equal lengths and with different tokens.

        Of each set, the first text shares the prefix with the short one, the second also half of its other tokens. None
        of their tokens is scored.
        """
        half = (self._split + self.short.ids.size) // 2
        distinct = np.unique(self.longest.ids)
        sets = []
        for turn in range(2):
            texts = []
            for shared in (self._split, half):
                fillers = np.roll(distinct[distinct != self.short.ids[shared]], turn)
                between = np.resize(fillers, _BETWEEN_TOKENS if fillers.size else 0)
                texts.append(Text(np.concatenate([self.short.ids[:shared], between]), np.zeros(0, dtype=np.int64)))
            sets.append(texts)
        return sets

    def _padded(self, reader: Reader) -> Disagreement | None:
        """Compare the longest text and, at every token, a shorter one that is padded to its length.

        They are read after a prefix of half their length, which is read after a short one.
        """
        split, prefix = 0, None
        for length in (self._split, min(self.longest.lead, self.longest.ids.size // 2)) if reader.shares else ():
            if length >= split + (MIN_SHARED_TOKENS if split else 1):
                split, prefix = length, reader.keep(self.longest.ids[:length], prefix)
                if prefix is None:
                    return Disagreement(math.nan, 0.0, "no prefix is kept")
        shorter = _beginning(self.longest, max(split + 1, int(_SHORTER * self.longest.ids.size)), split)
        columns = reader.read([shorter, self.longest], prefix)
        count = len(self._longest_logprob)
        return self._apart(columns[-count:], self._longest_logprob, "the longest text") or self._apart(
            columns[:-count],
            self.own_numbers.logprob(shorter, self.own_numbers.states([shorter])[0]),
            "a text beside a longer one",
        )

    def _apart(self, columns: torch.Tensor, expected: torch.Tensor, where: str) -> Disagreement | None:
        """Compare columns as of ``token_statistics`` with log-probabilities."""
        return self._compared(columns[:, LOGPROB], expected.to(columns.device), where)

    def _compared(self, logprob: torch.Tensor, expected: torch.Tensor, where: str) -> Disagreement | None:
        """Compare log-probabilities; None if they differ by no more than noise."""
        difference = (logprob - expected).abs().where(logprob != expected, 0.0)  # two infinities are equal
        largest, mean = float(difference.max()), float(difference.mean())
        if largest <= _NOISES * self.noise.largest and mean <= _NOISES * self.noise.mean:
            return None
        return Disagreement(largest, self.noise.largest, where)


def _beginning(text: Text, tokens: int, scored_from: int) -> Text:
    """The first tokens of a text; those after ``scored_from`` and the one that follows are scored."""
    ids = np.concatenate([text.ids, text.targets[-1:]])
    stop = min(tokens, text.ids.size)
    return Text(ids[:stop], ids[scored_from + 1 : stop + 1])


def _has_experts(model: torch.nn.Module) -> bool:
    """Whether the model is a mixture of experts."""
    return any(name.rpartition(".")[2] == "experts" for name, _ in model.named_modules())
