"""Which ways of reading give a model's own numbers: each is tried before it is used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rbridge_tasks.backends.forward import Forward
from rbridge_tasks.backends.prefix_tree import MIN_SHARED_TOKENS
from rbridge_tasks.backends.readers import PackedReader, PaddedReader, PlainReader, Reader
from rbridge_tasks.backends.texts import Text
from rbridge_tasks.backends.token_statistics import LOGPROB, token_statistics

logger = logging.getLogger(__name__)

#: Targets that are compared, the last of a text.
_COMPARED = 64
#: Of what a compiler says, which may be pages.
_REASON_LETTERS = 200
#: Tokens of the text that is read beside the one whose numbers are compared.
_BESIDE_TOKENS = 16


@dataclass(frozen=True)
class Choice:
    """What a model allows.

    Attributes:
        reader: the fastest way to read that gives the numbers of the model's own forward pass.
        vocab_size: number of logits.
        mixes: whether a text's numbers stay the same beside a longer one.
    """

    reader: Reader
    vocab_size: int
    mixes: bool


@dataclass(frozen=True)
class _Trial:
    """A text, its numbers from the model's own forward pass, and how far others may be from them."""

    text: Text
    expected: torch.Tensor
    tolerance: float


def choose_reader(forward: Forward, texts: Sequence[Text], *, compiled: bool = False) -> Choice:
    """Compare each way of reading with the model's own forward pass on one text, and take the first that agrees.

    The longest text: what sets in with length only (sliding windows, stretched positions) shows there or nowhere. It is
    read behind a prefix and beside another text, as it will be.

    Args:
        forward: the model.
        texts: what will be read, at least one.
        compiled: whether to compile layers, where the fastest way works and goes on to.
    """
    longest = max(texts, key=lambda text: text.ids.size)
    probe = Text(longest.ids, longest.targets[-_COMPARED:])
    logits = forward.logits([probe])[0]
    targets = forward.upload(probe.targets, logits.device)
    tolerance = 1e-3 if logits.dtype in (torch.float32, torch.float64) else 0.1
    trial = _Trial(probe, token_statistics(logits, targets, lambda rows: rows), tolerance)
    ways: tuple[Reader, ...] = (
        PackedReader(forward),
        PaddedReader(forward, shares=True),
        PaddedReader(forward, shares=False),
    )
    reader = next((way for way in ways if _agrees(way, trial)), PlainReader(forward))
    if compiled and isinstance(reader, PackedReader):
        faster = PackedReader(replace(forward, compiled=True))
        reader = faster if _agrees(faster, trial) else reader
    elif compiled:
        logger.warning("the layers of %s are not compiled: it is read in a slow way", type(forward.model).__name__)
    return Choice(reader, logits.shape[-1], reader.shares or _mixes(reader, trial))


def _agrees(reader: Reader, trial: _Trial) -> bool:
    """Whether a reader gives a text's numbers, and does so at all."""
    text, name = trial.text, type(reader.forward.model).__name__
    what = "reusing the shared prompt" if reader.repeats and reader.shares else reader.what
    what += " with compiled layers" * reader.forward.compiled
    # A short prefix: positions that stretch with the text are those of a short text in it, and of a long one behind it.
    split = min(text.lead, MIN_SHARED_TOKENS) if reader.shares else 0
    beside = np.concatenate([text.ids[:split], text.ids[split:][::-1][:_BESIDE_TOKENS]])
    try:
        prefix = reader.keep(text.ids[:split], None) if split else None
        if split and prefix is None:
            return False
        found = reader.read([Text(beside, beside[-1:]), text], prefix)[1:]
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        level = logging.WARNING if reader.forward.compiled else logging.INFO  # what was asked for is missed
        reason = " ".join(str(error).split())[:_REASON_LETTERS] or type(error).__name__
        logger.log(level, "%s does not work with %s (%s); scoring without", what, name, reason)
        return False
    expected = trial.expected[:, LOGPROB].to(found.device)
    difference = float((found[:, LOGPROB] - expected).abs().mean())
    if not difference <= trial.tolerance and bool(expected.isfinite().all()):
        logger.warning("%s changes the scores of %s by %.2g nats a token; scoring without", what, name, difference)
        return False
    return True


def _mixes(reader: Reader, trial: _Trial) -> bool:
    """Whether the beginning of a text keeps its numbers when it is padded to the length of the whole."""
    ids = trial.text.ids[: _BESIDE_TOKENS + 1]
    if ids.size < 2:
        return True
    short = Text(ids[:-1], ids[1:])
    alone = reader.read([short], None)
    beside = reader.read([short, trial.text], None)[: alone.shape[0]]
    difference = float((beside[:, LOGPROB] - alone[:, LOGPROB]).abs().mean())
    return not difference > trial.tolerance
