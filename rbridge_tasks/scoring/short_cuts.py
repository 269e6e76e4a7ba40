"""Choose the fastest way of reading that gives a model's own numbers: by structure first, then by a trial."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from rbridge_tasks.scoring.collector import ScoringError
from rbridge_tasks.scoring.forward import UNSUPPORTED, Forward, OwnPass, is_out_of_memory
from rbridge_tasks.scoring.kept_state import goes_on
from rbridge_tasks.scoring.memory import Memory, memory_of
from rbridge_tasks.scoring.packed_attention import attention_masks
from rbridge_tasks.scoring.readers import Choice, PackedReader, PaddedReader, PlainReader, Reader
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.trial import Disagreement, Trial

logger = logging.getLogger(__name__)

#: Tokens read to inspect how layers attend.
_INSPECTED_TOKENS = 8
#: Longest part of another library's error message that is logged.
_REASON_CHARACTERS = 200


def choose_reader(forward: Forward, longest: Text, prefixes: Sequence[int], *, compiled: bool = False) -> Choice:
    """Choose the fastest way of reading that the model's structure allows and that agrees with its own forward pass.

    Texts stand in one line only where the model's cache holds nothing but keys and values: recurrences and convolutions
    run across the boundaries between texts. Texts are padded only where nothing in the cache depends on the input's
    length. The output projection is applied apart from the model only where it gives the model's logits for the same
    hidden states. What structure allows is then tried (``trial``).

    Args:
        forward: the model.
        longest: the longest of the texts to read.
        prefixes: lengths of the prefixes that it will be read behind, the shortest first.
        compiled: whether to compile layers, where the fastest way of reading works and still does so compiled.

    Raises:
        ScoringError: the model cannot be called with token ids, or its numbers depend on later tokens.
        RuntimeError: the model's own forward pass runs out of memory.
    """
    trial = _trial(forward, longest, prefixes)
    forward, name = trial.own_numbers.forward, type(forward.model).__name__
    if trial.noise.later_tokens_matter:
        raise ScoringError(
            f"{name} gives tokens other log-probabilities when later tokens change; rBridge scores need a causal "
            "language model (BERT and its relatives are one with is_decoder=True)"
        )
    memory = memory_of(forward, trial.longest.ids)
    projects = trial.own_numbers.projects
    reader = _in_batches(forward, memory, trial, projects=projects)
    if compiled and isinstance(reader, PackedReader):
        faster = replace(reader, forward=replace(forward, compiled=True))
        reader = faster if _agrees(faster, faster.forward, trial) else reader
    elif compiled:
        logger.warning("the layers of %s are not compiled: it is read in a slow way", name)
    if reader:
        return Choice(reader, trial.vocab_size, alone=False)
    logger.warning("%s gives a text other numbers beside a longer one; every text is read alone, which is slow", name)
    single = PaddedReader(forward, shares=False)
    works = projects and _agrees(single, forward, trial, alone=True)
    return Choice(single if works else PlainReader(forward.logits), trial.vocab_size, alone=True)


def _trial(forward: Forward, longest: Text, prefixes: Sequence[int]) -> Trial:
    """The trial on the model's own forward pass. A model that accepts only token ids is called with these alone."""
    try:
        return Trial(forward, longest, prefixes, _own_pass(forward, longest))
    except UNSUPPORTED as error:
        if is_out_of_memory(error):
            raise
        name = type(forward.model).__name__
        logger.warning("%s is called with token ids alone, one text at a time (%s)", name, _reason(error))
    try:
        return Trial(replace(forward, bare=True), longest, prefixes, None)
    except UNSUPPORTED as error:
        if is_out_of_memory(error):
            raise
        raise ScoringError(
            f"{name} cannot read a text of {longest.ids.size} tokens ({_reason(error)}); give a smaller max_length if "
            "its window is shorter, or check the model"
        ) from error


def _own_pass(forward: Forward, longest: Text) -> OwnPass | None:
    """The model's own pass over a text, if our output projection gives its logits for the same hidden states."""
    name = type(forward.model).__name__
    try:
        own = forward.own_pass(forward.upload(longest.ids[None]), use_cache=False)
        difference = forward.projection_difference(own)
    except UNSUPPORTED as error:
        if is_out_of_memory(error):
            raise
        logger.info("the output projection of %s cannot be applied apart (%s)", name, _reason(error))
        return None
    if difference > 1:
        logger.warning(
            "%s changes its logits after the output projection in an unknown way (by %.2g times the rounding of one "
            "product); its own logits are used, which is slower", name, difference,
        )  # fmt: skip
    return own if difference <= 1 else None


def _in_batches(forward: Forward, memory: Memory, trial: Trial, *, projects: bool) -> Reader | None:
    """The fastest way that agrees for texts read together; None if there is none."""
    name = type(forward.model).__name__
    if forward.bare or _positions_stretch(trial):
        return None
    if not memory.is_attention_only:
        logger.info("%s keeps more than keys and values of attention (%s); texts are padded", name, memory)
    elif projects:
        packed = _packed_reader(forward, memory, trial)
        if packed is not None and not packed.given_positions:
            trial.use_noise_of_longest()
        if packed is not None and _agrees(packed, forward, trial):
            return packed
    if not memory.may_be_padded:
        return None
    shares = [True, False] if _goes_on(forward, trial) else [False]
    ways: list[Reader] = [PaddedReader(forward, shares=share) for share in shares] if projects else []
    return next((way for way in [*ways, PlainReader(forward.logits)] if _agrees(way, forward, trial)), None)


def _positions_stretch(trial: Trial) -> bool:
    """Whether a text's numbers depend on the length of the input, whatever it is read beside or behind."""
    try:
        return trial.positions_stretch()
    except UNSUPPORTED as error:  # a model that accepts no positions gets none, in no way of reading
        if is_out_of_memory(error):
            raise
        return False


def _packed_reader(forward: Forward, memory: Memory, trial: Trial) -> PackedReader | None:
    """The way of reading texts in one line, if every layer's mask is known."""
    name = type(forward.model).__name__
    inputs = forward.upload(trial.short.ids[None, :_INSPECTED_TOKENS])
    positions = trial.longest.ids.size

    def run() -> None:
        forward.hidden(inputs, position_ids=torch.arange(inputs.shape[1], device=inputs.device)[None], use_cache=False)

    try:
        biased, masks = attention_masks(forward.model, run, positions, inputs.device)
    except UNSUPPORTED as error:
        logger.info("%s does not work with %s (%s); scoring without", PackedReader.what, name, _reason(error))
        return None
    window = memory.window
    if window is not None and window < positions and not any(mask.first[window] > 0 for mask in masks.values()):
        logger.info("%s keeps a window of %d tokens that none of its masks has; texts are padded", name, window)
        return None
    return PackedReader(forward, frozenset(memory.kinds), masks, given_positions=not biased)


def _goes_on(forward: Forward, trial: Trial) -> bool:
    """Whether the state after a prompt can be kept."""
    name = type(forward.model).__name__
    try:
        if goes_on(forward, trial.longest.ids):
            return True
        logger.info("%s returns no state from which it goes on; the shared prompt is read again", name)
    except UNSUPPORTED as error:
        logger.info(
            "the state of %s after a prompt cannot be used (%s); the prompt is read again", name, _reason(error)
        )
    return False


def _agrees(reader: Reader, forward: Forward, trial: Trial, *, alone: bool = False) -> bool:
    """Whether a reader works and gives the numbers of the model's own forward pass."""
    name = type(forward.model).__name__
    what = "reusing the shared prompt" if reader.repeats and reader.shares else reader.what
    what += " with compiled layers" * forward.compiled
    try:
        disagreement: Disagreement | None = trial.disagreement(reader, alone=alone)
    except UNSUPPORTED as error:
        level = logging.WARNING if forward.compiled else logging.INFO  # the user asked for compiled layers
        logger.log(level, "%s does not work with %s (%s); scoring without", what, name, _reason(error))
        return False
    if disagreement is None:
        return True
    if math.isfinite(disagreement.largest_nats):
        logger.warning("%s changes the scores of %s (%s); scoring without", what, name, disagreement)
    return False


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__
