"""Which ways of reading give a model's own numbers: what the model's cache rules out, then a trial of what is left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from rbridge_tasks.scoring.forward import UNSUPPORTED, Forward
from rbridge_tasks.scoring.memory import Memory, memory_of
from rbridge_tasks.scoring.readers import PackedReader, PaddedReader, PlainReader, Reader
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.trial import Disagreement, Trial

logger = logging.getLogger(__name__)

#: Longest part of another program's error message that is logged.
_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Choice:
    """How to read a model's texts.

    Attributes:
        reader: the fastest way to read that gives the numbers of the model's own forward pass.
        vocab_size: number of logits.
        alone: whether texts are read one at a time, as a text beside it changes a text's numbers.
    """

    reader: Reader
    vocab_size: int
    alone: bool


def choose_reader(forward: Forward, texts: Sequence[Text], *, compiled: bool = False) -> Choice:
    """Take the fastest way of reading that the model's structure allows and that agrees with its own forward pass.

    Texts stand in one line only where the model's cache holds nothing but keys and values: recurrences and convolutions
    run over the seams between texts. Texts are padded only where nothing in the cache depends on the input's length.
    What structure allows is then tried (``trial``).

    Args:
        forward: the model.
        texts: what will be read, at least one.
        compiled: whether to compile layers, where the fastest way works and goes on to.

    Raises:
        RuntimeError: the model's own forward pass runs out of memory.
    """
    trial = _trial(forward, max(texts, key=lambda text: text.ids.size))
    forward, name = trial.forward, type(forward.model).__name__
    memory = memory_of(forward, trial.longest.ids)
    reader = _in_batches(forward, memory, trial)
    if compiled and isinstance(reader, PackedReader):
        faster = replace(reader, forward=replace(forward, compiled=True))
        reader = faster if _agrees(faster, trial) else reader
    elif compiled:
        logger.warning("the layers of %s are not compiled: it is read in a slow way", name)
    if reader:
        return Choice(reader, trial.vocab_size, alone=False)
    logger.warning("%s gives a text other numbers beside a longer one; every text is read alone, which is slow", name)
    single = PaddedReader(forward, shares=False)
    works = not forward.bare and _agrees(single, trial, alone=True)
    return Choice(single if works else PlainReader(forward), trial.vocab_size, alone=True)


def _trial(forward: Forward, longest: Text) -> Trial:
    """The trial by the model's own forward pass, called with token ids alone where it does not take more."""
    try:
        return Trial.of(forward, longest)
    except UNSUPPORTED as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        name = type(forward.model).__name__
        logger.warning("%s is called with token ids alone, one text at a time (%s)", name, _reason(error))
        return Trial.of(replace(forward, bare=True), longest)


def _in_batches(forward: Forward, memory: Memory, trial: Trial) -> Reader | None:
    """The fastest way that agrees for texts read together; None if there is none."""
    name = type(forward.model).__name__
    if forward.bare:
        return None
    if memory.is_attention_only:
        packed = PackedReader(forward, frozenset(memory.kinds), memory.window)
        if _agrees(packed, trial):
            return packed
    else:
        logger.info("%s keeps more than keys and values of attention (%s); texts are padded", name, memory)
    if not memory.may_be_padded:
        return None
    ways: tuple[Reader, ...] = (
        PaddedReader(forward, shares=True),
        PaddedReader(forward, shares=False),
        PlainReader(forward),
    )
    return next((way for way in ways if _agrees(way, trial)), None)


def _agrees(reader: Reader, trial: Trial, *, alone: bool = False) -> bool:
    """Whether a reader works and gives the numbers of the model's own forward pass."""
    name = type(reader.forward.model).__name__
    what = "reusing the shared prompt" if reader.repeats and reader.shares else reader.what
    what += " with compiled layers" * reader.forward.compiled
    try:
        disagreement: Disagreement | None = trial.disagreement(reader, alone=alone)
    except UNSUPPORTED as error:
        level = logging.WARNING if reader.forward.compiled else logging.INFO  # the user asked for compiled layers
        logger.log(level, "%s does not work with %s (%s); scoring without", what, name, _reason(error))
        return False
    if disagreement is None:
        return True
    if disagreement.is_known:
        logger.warning("%s changes the scores of %s (%s); scoring without", what, name, disagreement)
    return False


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__
