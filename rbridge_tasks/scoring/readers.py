"""Ways to read a batch of texts, from the fastest to the one that works with every model.

A reader has two methods. ``keep`` reads a prefix and returns the model's state after it; ``read`` reads texts, whole or
behind a kept prefix, and returns the four columns of their scored tokens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch

from rbridge_tasks.scoring import kept_state
from rbridge_tasks.scoring.attention_masks import Mask, UnsupportedAttentionError
from rbridge_tasks.scoring.forward import Forward, padded, statistics_of_logits
from rbridge_tasks.scoring.packed_attention import KeysValues, Reading, packed_attention
from rbridge_tasks.scoring.texts import Text, pack

Ids = npt.NDArray[np.int64]
_Key = tuple[int | bytes, ...]


@dataclass(frozen=True)
class Prefix:
    """A model's state after the first ``length`` tokens of many texts, in the form that its reader uses."""

    state: Any
    length: int


class Reader(Protocol):
    """A way to read texts.

    Attributes:
        what: the short cut that it takes, in words.
        way: how texts are read, in words.
        shares: whether it can be given a prefix.
        repeats: whether it reads what texts of one batch share once for each of them.
    """

    what: ClassVar[str]
    way: ClassVar[str]
    repeats: ClassVar[bool]

    @property
    def shares(self) -> bool: ...

    def keep(self, ids: Ids, parent: Prefix | None) -> Prefix | None:
        """Read a prefix that begins with ``parent``; None if the model's state cannot be shared."""

    def read(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:
        """Columns (scored tokens of all texts, 4) as of ``token_statistics``."""


@dataclass(frozen=True)
class Choice:
    """How to read a model's texts.

    Attributes:
        reader: the fastest way to read that gives the numbers of the model's own forward pass.
        vocab_size: number of logits.
        alone: whether texts are read one at a time, because a text beside another changes its numbers.
    """

    reader: Reader
    vocab_size: int
    alone: bool

    def __str__(self) -> str:
        """The way in words."""
        return "alone" if self.alone else self.reader.way + ("" if self.reader.shares else ", prompt read again")


@dataclass(frozen=True)
class PackedReader:
    """Texts in one line, without padding; a prefix without copies; the projection where a token is scored.

    Attributes:
        forward: the model.
        layers: indices of the layers in which tokens depend on each other. All of them must attend through
            ``packed_attention``: any other layer would mix tokens of different texts.
        masks: of the layers that have a mask other than plain causal attention, by layer.
        given_positions: whether the model must use the positions that it is given: nothing else says where a token is
            in its text, unless biases of keys do.
    """

    forward: Forward
    layers: frozenset[int]
    masks: Mapping[int, Mask] = field(default_factory=dict)
    given_positions: bool = True
    #: Results of a trial that scoring reuses, by the length of the prefix before them, their ids and targets.
    _prefixes: dict[_Key, Prefix] = field(default_factory=dict, init=False, repr=False, compare=False)
    _columns: dict[_Key, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    shares: ClassVar[bool] = True
    what: ClassVar[str] = "reading texts in one line"
    way: ClassVar[str] = "one line"
    repeats: ClassVar[bool] = False

    def keep(self, ids: Ids, parent: Prefix | None) -> Prefix:
        """Keys and values of the prefix, by layer."""
        if ready := self._prefixes.get(_key(parent, ids)):
            return ready
        skip = parent.length if parent else 0
        kept: KeysValues = {}
        above = parent.state if parent else {}
        positions = np.arange(skip, ids.size)
        self._hidden(ids[skip:], Reading((), None, ids.size, positions, skip, above, self.masks, kept))
        return Prefix(kept, ids.size)

    def read_for_later(self, text: Text, prefixes: Sequence[int]) -> torch.Tensor:
        """Read a text after its prefixes of these lengths, and keep the results.

        Until ``forget``, ``keep`` and ``read`` return the kept prefixes and columns without reading again.
        """
        prefix: Prefix | None = None
        for length in prefixes:
            key = _key(prefix, text.ids[:length])
            prefix = self._prefixes[key] = self.keep(text.ids[:length], prefix)
        columns = self._columns[_key(prefix, text.ids, text.targets)] = self.read([text], prefix)
        return columns

    def forget(self) -> None:
        """Drop what ``read_for_later`` kept."""
        self._prefixes.clear()
        self._columns.clear()

    def read(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:
        """Columns of the scored tokens."""
        if len(texts) == 1:
            ready = self._columns.get(_key(prefix, texts[0].ids, texts[0].targets))
            if ready is not None:
                return ready
        return self.forward.statistics(self.scored(texts, prefix), np.concatenate([text.targets for text in texts]))

    def scored(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:
        """Hidden states (scored tokens of all texts, width) that enter the output projection."""
        skip, above = (prefix.length, prefix.state) if prefix else (0, {})
        line = pack(texts, skip)
        if len(texts) > 1 and line.ids.size > self._longest_line:
            half = len(texts) // 2
            return torch.cat([self.scored(texts[:half], prefix), self.scored(texts[half:], prefix)])
        upload = self.forward.upload
        alone = len(texts) == 1
        rows, home = ((), None) if alone else ([upload(rows) for rows in line.rows], upload(line.home))
        hidden = self._hidden(line.ids, Reading(rows, home, line.reach, line.positions, skip, above, self.masks))
        return hidden[0].index_select(0, upload(line.predicting, hidden.device))

    @functools.cached_property
    def _longest_line(self) -> float:
        """Llama 4 scales attention by a token's place in the input, in steps of so many tokens."""
        config = self.forward.model.config.get_text_config()
        return config.floor_scale if getattr(config, "attn_temperature_tuning", False) else math.inf

    def _hidden(self, ids: Ids, reading: Reading) -> torch.Tensor:
        inputs, places = self.forward.upload(ids[None]), self.forward.upload(reading.positions[None])
        with packed_attention(self.forward.model, reading, compiled=self.forward.compiled):
            hidden = self.forward.hidden(inputs, position_ids=places, use_cache=False)
        if not reading.layers:
            raise UnsupportedAttentionError("the model does not attend through transformers' attention interface")
        if others := sorted(self.layers - reading.layers):
            raise UnsupportedAttentionError(f"layers {others} do not attend through transformers' attention interface")
        return hidden


def _key(prefix: Prefix | None, *ids: Ids) -> _Key:
    return prefix.length if prefix else 0, *(some.tobytes() for some in ids)


@dataclass(frozen=True)
class PaddedReader:
    """Texts padded to the longest, each behind a copy of the prefix; the projection where a token is scored."""

    forward: Forward
    shares: bool
    what: ClassVar[str] = "projecting only trace tokens"
    way: ClassVar[str] = "padded"
    repeats: ClassVar[bool] = True

    def keep(self, ids: Ids, parent: Prefix | None) -> Prefix | None:
        """The model's own state after the prefix."""
        state = kept_state.keep(self.forward, ids, parent.state if parent else None)
        return Prefix(state, ids.size) if state else None

    def read(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:
        """Columns of the scored tokens."""
        skip = prefix.length if prefix else 0
        inputs = self.forward.upload(padded(texts, skip))
        if prefix is None:
            hidden = self.forward.hidden(inputs, use_cache=False)
        else:
            inputs = torch.nn.functional.pad(inputs, (0, max(0, 2 - inputs.shape[1])))  # one is read in other ways
            with prefix.state.continued(self.forward, inputs) as options:
                hidden = self.forward.hidden(inputs, **options)
        width = hidden.shape[1]
        places = [i * width + np.arange(text.lead, text.ids.size) - skip for i, text in enumerate(texts)]
        picked = hidden.flatten(0, 1).index_select(0, self.forward.upload(np.concatenate(places), hidden.device))
        return self.forward.statistics(picked, np.concatenate([text.targets for text in texts]))


@dataclass(frozen=True)
class PlainReader:
    """The logits of a forward pass over padded texts: what every short cut is compared with.

    Attributes:
        logits: gives the logits (scored, vocabulary) of each text.
    """

    logits: Callable[[Sequence[Text]], Sequence[torch.Tensor]]
    shares: ClassVar[bool] = False
    what: ClassVar[str] = "the model's own forward pass"
    way: ClassVar[str] = "model's own logits"
    repeats: ClassVar[bool] = True

    def keep(self, ids: Ids, parent: Prefix | None) -> Prefix | None:  # noqa: ARG002  # nothing is kept
        """None."""
        return None

    def read(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:  # noqa: ARG002  # never given one
        """Columns of the scored tokens."""
        each = zip(self.logits(texts), texts, strict=True)
        tables = [statistics_of_logits(logits, text.targets) for logits, text in each]
        return torch.cat([table.to(tables[0].device) for table in tables])
