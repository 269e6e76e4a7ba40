"""Read the windows of pairs in batches: find what they share, fit batches into memory, collect the results."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import Done, LogProbabilities, ScoringError, TraceCollector, ignore_finished
from rbridge_tasks.scoring.prefix_tree import PrefixNode, prefix_tree
from rbridge_tasks.scoring.readers import Choice, Prefix, Reader
from rbridge_tasks.scoring.texts import BatchSize, Text, longest_of
from rbridge_tasks.scoring.token_statistics import ENTROPY, LOGPROB, MAX_LOGPROB, RANK
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Tokens in a batch that "auto" starts with: enough to keep a GPU busy, few enough to stay in the caches of a CPU.
_AUTO_TOKENS = {"cpu": 2048}
_AUTO_TOKENS_ELSEWHERE = 32768

Table = npt.NDArray[np.float64]


@dataclass
class Engine:
    """Scores pairs with a reader.

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
    batch_size: int | Literal["auto"] = 1
    max_batch_size: int | None = None
    show_progress: bool = True
    _choice: Choice | None = field(default=None, init=False)
    _size: BatchSize = field(default_factory=BatchSize, init=False)

    def score(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        choose: Callable[[Sequence[Text]], Choice],
        *,
        done: Done = ignore_finished,
        known: Mapping[int, TokenScores] | None = None,
    ) -> list[TokenScores]:
        """Score every pair; see ``CausalScorer.score``.

        Args:
            pairs, labels, done, known: see there.
            choose: decides how to read the given texts.
        """
        collector = TraceCollector(pairs, labels, max_length=self.max_length, done=done, known=known)
        if not collector.windows:
            return []
        try:
            for batch in self._score_windows(collector, choose):
                collector.add(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise ScoringError(
                f"one input of up to {max(window.inputs for window in collector.windows)} tokens does not fit into "
                f"memory on {self.device}; use a device with more memory, a smaller dtype or a smaller max_length"
            ) from error
        return collector.scores()

    def _score_windows(
        self, collector: TraceCollector, choose: Callable[[Sequence[Text]], Choice]
    ) -> Iterator[list[tuple[Window, LogProbabilities]]]:
        windows = collector.windows
        texts = [Text(collector.ids(w)[:-1], collector.ids(w)[w.first - w.start :]) for w in windows]
        reader = self._choose(choose, texts)
        collector.vocab_size = self._choice.vocab_size if self._choice else 0
        fits = self._size.fits if not reader.repeats else lambda *_: False
        limits = [text.lead if reader.shares else 0 for text in texts]
        tree = prefix_tree([text.ids for text in texts], limits, fits)
        if reader.reads_longest_apart:
            tree.set_apart(longest_of(texts))
        known = {i for i, window in enumerate(windows) if collector.is_known(window)}
        with tqdm(total=len(texts), desc="Scoring traces", unit="trace", disable=not self.show_progress) as bar:
            for batch, table in _one_ahead(self._read_tree(reader, texts, tree, known)):
                parts = np.split(table, np.cumsum([texts[i].targets.size for i in batch])[:-1])
                yield [
                    (windows[i], LogProbabilities(*part.T[[LOGPROB, MAX_LOGPROB, RANK, ENTROPY]]))
                    for i, part in zip(batch, parts, strict=True)
                ]
                bar.update(len(batch))

    def _choose(self, choose: Callable[[Sequence[Text]], Choice], texts: Sequence[Text]) -> Reader:
        choice = choose(texts)
        if choice is not self._choice:
            self._choice = choice
            if choice.alone:
                self._size = BatchSize(texts=1)
            elif isinstance(self.batch_size, int):
                self._size = BatchSize(texts=self.batch_size)
            else:
                tokens = _AUTO_TOKENS.get(self.device.type, _AUTO_TOKENS_ELSEWHERE)
                self._size = BatchSize(self.max_batch_size, tokens)
        return choice.reader

    def _read_tree(
        self,
        reader: Reader,
        texts: Sequence[Text],
        node: PrefixNode,
        known: Set[int],
        parent: Callable[[], Prefix | None] = lambda: None,
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batches of indices of texts, and the columns of their scored tokens on the model's device."""

        @functools.cache
        def prefix() -> Prefix | None:  # read when the first batch needs it
            some = next(i for below in node.walk() for i in (*below.apart, *below.texts))
            return reader.keep(texts[some].ids[: node.length], parent()) if node.length else None

        remaining = [*node.apart, *node.texts]
        while remaining:
            alone = remaining[0] in node.apart
            batch = remaining[: 1 if alone else self._size.take((texts[i] for i in remaining), node.length)]
            if not known >= set(batch):
                columns = None
                try:
                    columns = reader.read([texts[i] for i in batch], prefix())
                except (MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error) or len(batch) == 1:
                        raise
                if columns is None:  # not in the handler: the error's traceback holds the tensors of the batch
                    self._halve([texts[i].ids.size - node.length for i in batch])
                    continue
                yield batch, columns
            remaining = remaining[len(batch) :]
        for child in node.children:
            yield from self._read_tree(reader, texts, child, known, prefix)

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


#: In messages of errors that are no ``OutOfMemoryError``: of the CPU's allocator, of CUDA and of its libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error) for text in _OUT_OF_MEMORY)
