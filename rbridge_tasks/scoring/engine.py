"""Read the windows of pairs in batches: find what they share, fit batches into memory, collect the results."""

from __future__ import annotations

import abc
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import Done, LogProbabilities, ScoringError, TraceCollector, ignore_finished
from rbridge_tasks.scoring.forward import is_out_of_memory
from rbridge_tasks.scoring.prefix_tree import PrefixNode, prefix_tree
from rbridge_tasks.scoring.readers import Choice, Prefix
from rbridge_tasks.scoring.texts import BatchSize, Text, longest_of
from rbridge_tasks.scoring.token_statistics import ENTROPY, LOGPROB, MAX_LOGPROB, RANK
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Tokens in a batch that "auto" starts with: enough to keep a GPU busy, few enough to stay in the caches of a CPU.
_AUTO_TOKENS = {"cpu": 2048}
_AUTO_TOKENS_ELSEWHERE = 32768

Table = npt.NDArray[np.float64]


class Scorer(abc.ABC):
    """Scores pairs with the reader that a subclass chooses.

    Attributes:
        device: where inputs go.
        max_length: longest input, in tokens.
        batch_size: texts to read at once; "auto" reads as many as make up a number of tokens that keeps the device
            busy. Either is halved when memory runs out.
        max_batch_size: the largest number of texts that "auto" reads at once; None sets no limit.
        show_progress: whether to draw a progress bar.
    """

    device: torch.device
    max_length: int
    batch_size: int | Literal["auto"]
    max_batch_size: int | None = None
    show_progress: bool
    _choice: Choice | None = None

    def score(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        *,
        done: Done = ignore_finished,
        known: Mapping[int, TokenScores] | None = None,
    ) -> list[TokenScores]:
        """Score every pair.

        Args:
            pairs: tokenised (context, trace) pairs.
            labels: names of the pairs, for errors.
            done: called after each batch with the indices of the pairs that it completed and their scores, each pair
                once. A pair is complete when all of its windows are.
            known: scores of pairs from an earlier run, by index. Batches are planned as if nothing were known, so that
                the numbers are the same to the last bit; batches in which every pair is known are skipped.

        Returns:
            One ``TokenScores`` per pair, in the order given.

        Raises:
            ScoringError: the model does not know a token, its logits are NaN or exclude a token, or one trace does not
                fit into memory.
        """
        with self._model_ready():
            collector = TraceCollector(pairs, labels, max_length=self.max_length, done=done, known=known)
            if not collector.windows:
                return []
            if size := self._input_vocabulary():
                collector.require_ids_below(size)
            try:
                for batch in self._score_windows(collector):
                    collector.add(batch)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ScoringError(
                    f"one input of up to {max(window.inputs for window in collector.windows)} tokens does not fit into "
                    f"memory on {self.device}; use a device with more memory, a smaller dtype or a smaller max_length"
                ) from error
            return collector.scores()

    @abc.abstractmethod
    def _model_ready(self) -> contextlib.AbstractContextManager[None]:
        """Within this context the model is ready to be read; after it the model is as before."""

    def _input_vocabulary(self) -> int | None:
        """Number of token ids that the model reads; None if unknown."""
        return None

    @abc.abstractmethod
    def _choose(self, longest: Text, prefixes: Sequence[int]) -> Choice:
        """How to read texts, the longest of which will be read behind prefixes of these lengths, the shortest first."""

    def _score_windows(self, collector: TraceCollector) -> Iterator[list[tuple[Window, LogProbabilities]]]:
        windows = collector.windows
        texts = [Text(collector.ids(w)[:-1], collector.ids(w)[w.first - w.start :]) for w in windows]
        ids, leads = [text.ids for text in texts], [text.lead for text in texts]
        longest, tree = longest_of(texts), prefix_tree(ids, leads, self._size.fits)
        choice = self._choice = self._choose(texts[longest], tree.set_apart(longest))
        collector.vocab_size = choice.vocab_size
        collector.require_ids_below(choice.vocab_size, scored=True)
        if choice.reader.repeats:
            tree = prefix_tree(ids, leads if choice.reader.shares else [0] * len(ids))
        known = {i for i, window in enumerate(windows) if collector.is_known(window)}
        with tqdm(total=len(texts), desc="Scoring traces", unit="trace", disable=not self.show_progress) as bar:
            for batch, table in _one_ahead(self._read_tree(choice, texts, tree, known)):
                parts = np.split(table, np.cumsum([texts[i].targets.size for i in batch])[:-1])
                yield [
                    (windows[i], LogProbabilities(*part.T[[LOGPROB, MAX_LOGPROB, RANK, ENTROPY]]))
                    for i, part in zip(batch, parts, strict=True)
                ]
                bar.update(len(batch))

    @functools.cached_property
    def _size(self) -> BatchSize:
        if isinstance(self.batch_size, int):
            return BatchSize(texts=self.batch_size)
        return BatchSize(self.max_batch_size, _AUTO_TOKENS.get(self.device.type, _AUTO_TOKENS_ELSEWHERE))

    def _read_tree(
        self,
        choice: Choice,
        texts: Sequence[Text],
        node: PrefixNode,
        known: Set[int],
        parent: Callable[[], Prefix | None] = lambda: None,
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batches of indices of texts, and the columns of their scored tokens on the model's device."""

        @functools.cache
        def prefix() -> Prefix | None:  # read when the first batch needs it
            some = next(i for below in node.walk() for i in (*below.apart, *below.texts))
            return choice.reader.keep(texts[some].ids[: node.length], parent()) if node.length else None

        remaining = [*node.apart, *node.texts]
        while remaining:
            alone = choice.alone or remaining[0] in node.apart
            batch = remaining[: 1 if alone else self._size.take((texts[i] for i in remaining), node.length)]
            if not known >= set(batch):
                columns = None
                try:
                    columns = choice.reader.read([texts[i] for i in batch], prefix())
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error) or len(batch) == 1:
                        raise
                if columns is None:  # not in the handler: the error's traceback holds the tensors of the batch
                    self._halve([texts[i].ids.size - node.length for i in batch])
                    continue
                yield batch, columns
            remaining = remaining[len(batch) :]
        for child in node.children:
            yield from self._read_tree(choice, texts, child, known, prefix)

    def _halve(self, batch: Sequence[int]) -> None:
        """Halve the batch size after a batch of texts of these lengths did not fit into memory."""
        self._size = self._size.halved(len(batch), sum(batch))
        logger.warning("out of memory with a batch of %d; going on with %s", len(batch), self._size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _one_ahead(batches: Iterator[tuple[list[int], torch.Tensor]]) -> Iterator[tuple[list[int], Table]]:
    """Copy results to the host; from a GPU each one while the next batch is computed."""
    pending: tuple[list[int], Callable[[], Table]] | None = None
    for batch, columns in batches:
        if columns.device.type != "cuda":
            yield batch, columns.cpu().numpy()
            continue
        copy = _start_copy(columns)
        if pending is not None:
            yield pending[0], pending[1]()
        pending = batch, copy
    if pending is not None:
        yield pending[0], pending[1]()


def _start_copy(columns: torch.Tensor) -> Callable[[], Table]:
    """Start a copy from a GPU; the returned function waits for it."""
    host = torch.empty(columns.shape, dtype=columns.dtype, pin_memory=True)
    host.copy_(columns, non_blocking=True)
    copied = torch.cuda.current_stream(columns.device).record_event()

    def wait() -> Table:
        copied.synchronize()
        return host.numpy()

    return wait
