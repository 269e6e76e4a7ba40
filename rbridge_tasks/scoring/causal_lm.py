"""Score traces under a transformers causal LM, reading text that requests share once and projecting only trace tokens.

What a naive pass wastes: it re-reads the few-shot prompt for every item, pads, and turns every position into a row of
the vocabulary's size. Here prefixes that many requests share are read once (``prefix_tree``), a batch is one line of
tokens without repetition (``texts``, ``packed_attention``), and the output projection is applied to the positions that
predict trace tokens, a part at a time (``token_statistics``).

A model for which a short cut gives other numbers than its own forward pass is read in a slower way (``short_cuts``).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.scoring.forward import Forward
from rbridge_tasks.scoring.one_ahead import one_ahead
from rbridge_tasks.scoring.prefix_tree import PrefixNode, prefix_tree
from rbridge_tasks.scoring.readers import Prefix, Reader
from rbridge_tasks.scoring.short_cuts import Choice, choose_reader
from rbridge_tasks.scoring.texts import BatchSize, Text
from rbridge_tasks.scoring.token_statistics import ENTROPY, LOGPROB, MAX_LOGPROB, RANK
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window, plan_windows, report_cuts

logger = logging.getLogger(__name__)

#: Tokens in a batch that "auto" starts with: enough to keep a GPU busy, few enough to stay in the caches of a CPU.
_AUTO_TOKENS = {"cpu": 2048}
_AUTO_TOKENS_ELSEWHERE = 32768

Done = Callable[[Sequence[int], Sequence[TokenScores]], None]
Table = npt.NDArray[np.float64]


class ScoringError(RBridgeError):
    """The model cannot score a trace: NaN logits, probability zero, or no memory for even one."""


def _forget(_pairs: Sequence[int], _scores: Sequence[TokenScores]) -> None:
    """What becomes of finished pairs by default: nothing before the end."""


@dataclass
class CausalScorer:
    """Teacher forcing under one model.

    Attributes:
        model: a transformers causal LM in evaluation mode, on its device or spread over several.
        device: where inputs go.
        max_length: longest input, in tokens.
        batch_size: texts to read at once; "auto" reads as many as make up a number of tokens that keeps the device
            busy. Either is halved when memory runs out.
        max_batch_size: texts that "auto" reads at once, at most; None does not limit them.
        autocast_dtype: as lm-eval's ``mixed_precision_dtype``.
        compiled: whether to compile the model's layers, where that gives the same numbers.
        show_progress: whether to draw a progress bar.
    """

    model: Any
    device: torch.device
    max_length: int
    batch_size: int | Literal["auto"] = 1
    max_batch_size: int | None = None
    autocast_dtype: torch.dtype | None = None
    compiled: bool = False
    show_progress: bool = True
    _choice: Choice | None = field(default=None, init=False)
    _tried_length: int = field(default=0, init=False)
    _vocab_size: int = field(default=0, init=False)
    _size: BatchSize = field(default_factory=BatchSize, init=False)

    @property
    def reader(self) -> Reader | None:
        """The way in which the model was read last; None before."""
        return self._choice.reader if self._choice else None

    @property
    def reads_alone(self) -> bool:
        """Whether texts were read one at a time, as a text beside another changes its numbers."""
        return self._choice is not None and self._choice.alone

    @torch.inference_mode()
    def score(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        *,
        done: Done = _forget,
        known: Mapping[int, TokenScores] | None = None,
    ) -> list[TokenScores]:
        """Score every pair.

        Args:
            pairs: tokenised (context, trace) pairs.
            labels: what to call each pair in an error.
            done: called after each batch with the indices of the pairs that it completed and their scores, each pair
                once; a pair is complete when all of its windows are.
            known: scores of pairs from an earlier run, by index. Batches are those of a run that knows nothing, so that
                the numbers are the same to the last bit; those in which every pair is known are left out.

        Returns:
            One ``TokenScores`` per pair, in the order given.

        Raises:
            ScoringError: the model's logits are NaN or rule a token out, or one trace does not fit into memory.
        """
        plans = [plan_windows(i, pair.ids.size, pair.first, self.max_length) for i, pair in enumerate(pairs)]
        windows = [window for plan in plans for window in plan]
        if not windows:
            return []
        report_cuts(plans, self.max_length)
        tables: list[Table] = [np.full((pair.ids.size - pair.first, 4), np.nan) for pair in pairs]
        missing = [len(plan) for plan in plans]
        scores = dict(known or {})
        for i in scores:
            missing[i] = 0
        try:
            for batch in self._score_windows(pairs, windows, frozenset(scores)):
                finished = []
                for window, table in batch:
                    _require_finite(table, labels[window.pair])
                    offset = pairs[window.pair].first
                    tables[window.pair][window.first - offset : window.stop - offset] = table
                    missing[window.pair] -= 1
                    if not missing[window.pair]:
                        finished.append(window.pair)
                for i in finished:
                    scores[i] = self._assemble(pairs[i], plans[i], tables[i])
                if finished:
                    done(finished, [scores[i] for i in finished])
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise ScoringError(
                f"one input of up to {max(window.inputs for window in windows)} tokens does not fit into memory on "
                f"{self.device}; use a device with more memory, a smaller dtype or a smaller max_length"
            ) from error
        return [scores[i] for i in range(len(pairs))]

    def _score_windows(
        self, pairs: Sequence[TokenizedPair], windows: Sequence[Window], known: Set[int]
    ) -> Iterator[list[tuple[Window, Table]]]:
        ids = [pairs[window.pair].ids for window in windows]
        texts = [Text(all_[w.start : w.stop - 1], all_[w.first : w.stop]) for all_, w in zip(ids, windows, strict=True)]
        choice = self._try_short_cuts(texts)
        fits = self._size.fits if not choice.reader.repeats else lambda *_: False
        limits = [text.lead if choice.reader.shares else 0 for text in texts]
        tree = prefix_tree([text.ids for text in texts], limits, fits)
        left_out = {i for i, window in enumerate(windows) if window.pair in known}
        with tqdm(total=len(texts), desc="Scoring traces", unit="trace", disable=not self.show_progress) as bar:
            for batch, table in one_ahead(self._read_tree(choice.reader, texts, tree, left_out)):
                sizes = [texts[i].targets.size for i in batch]
                yield list(zip([windows[i] for i in batch], np.split(table, np.cumsum(sizes)[:-1]), strict=True))
                bar.update(len(batch))

    def _try_short_cuts(self, texts: Sequence[Text]) -> Choice:
        """How to read, tried on the longest text so far."""
        longest = max(text.ids.size for text in texts)
        if self._choice is None or longest > self._tried_length:
            forward = Forward(self.model, self.device, self.autocast_dtype)
            self._choice, self._tried_length = choose_reader(forward, texts, compiled=self.compiled), longest
            self._vocab_size = self._choice.vocab_size
            if self._choice.alone:
                self._size = BatchSize(texts=1)
            elif isinstance(self.batch_size, int):
                self._size = BatchSize(texts=self.batch_size)
            else:
                tokens = _AUTO_TOKENS.get(self.device.type, _AUTO_TOKENS_ELSEWHERE)
                self._size = BatchSize(self.max_batch_size, tokens)
        return self._choice

    def _read_tree(
        self,
        reader: Reader,
        texts: Sequence[Text],
        node: PrefixNode,
        left_out: Set[int],
        parent: Callable[[], Prefix | None] = lambda: None,
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batches of indices of texts, and the columns of their scored tokens where the model left them."""

        @functools.cache
        def prefix() -> Prefix | None:  # read when the first batch needs it
            some = next(below.texts[0] for below in node.walk() if below.texts)
            return reader.keep(texts[some].ids[: node.length], parent()) if node.length else None

        waiting = node.texts
        while waiting:
            batch = waiting[: self._size.take((texts[i] for i in waiting), node.length)]
            if not left_out >= set(batch):
                try:
                    columns = reader.read([texts[i] for i in batch], prefix())
                except (MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error) or len(batch) == 1:
                        raise
                    self._halve([texts[i].ids.size - node.length for i in batch])
                    continue
                yield batch, columns
            waiting = waiting[len(batch) :]
        for child in node.children:
            yield from self._read_tree(reader, texts, child, left_out, prefix)

    def _halve(self, batch: Sequence[int]) -> None:
        """Read half as much at once as a batch of texts of so many tokens, which did not fit into memory."""
        self._size = self._size.halved(len(batch), sum(batch))
        logger.warning("out of memory with a batch of %d; going on with %s", len(batch), self._size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _assemble(self, pair: TokenizedPair, plan: Sequence[Window], table: Table) -> TokenScores:
        return TokenScores(
            token_id=pair.ids[pair.first :].astype(np.int32),
            token_start=pair.token_start,
            token_end=pair.token_end,
            logprob=table[:, LOGPROB].astype(np.float32),
            rank=table[:, RANK].astype(np.int32),
            entropy=table[:, ENTROPY].astype(np.float32),
            max_logprob=table[:, MAX_LOGPROB].astype(np.float32),
            vocab_size=self._vocab_size,
            context_tokens_cut=plan[0].start,
            windows=len(plan),
        )


def _require_finite(table: Table, label: str) -> None:
    if np.isfinite(table).all():
        return
    at = int(np.argmax(~np.isfinite(table).all(axis=1)))
    if np.isnan(table[at]).any():
        raise ScoringError(
            f"the model's logits are NaN for trace {label}, token {at}; check the checkpoint, or load it with "
            "dtype=float32 if it was run in float16"
        )
    raise ScoringError(f"the model gives token {at} of trace {label} probability zero; its NLL is infinite")


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
