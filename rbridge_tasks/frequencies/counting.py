"""Counting the tokens of a corpus: texts are read here, and tokenised in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_tasks.frequencies.corpus import CorpusError, corpus_files, corpus_texts
from rbridge_tasks.frequencies.frequency_file import TokenFrequencies, TokenizerIdentity
from rbridge_tasks.scoring.tokenization import load_tokenizer

CHARACTERS_AT_ONCE = 1 << 18
_WAITING = 3  # batches per process that are read ahead

Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Encode = Callable[[list[str]], list[list[int]]]


def count_tokens(
    sources: Sequence[str],
    tokenizer: str,
    *,
    field: str = "text",
    processes: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> TokenFrequencies:
    """Count how often each token occurs in a corpus.

    The result does not depend on the number of processes: counts are whole numbers, and are added up. Memory does not
    grow with the corpus: a few batches of about 260,000 characters are processed at a time.

    Args:
        sources: files and folders, see ``corpus_files``.
        tokenizer: folder, or name on the Hub. Special tokens are not added to the texts.
        field: of objects and columns that hold the text.
        processes: number of processes that tokenise; None for one per core. 1 tokenises in this process.
        on_progress: called with the number of texts done since the last call.

    Raises:
        CorpusError: the corpus cannot be read or has no tokens, or a process was killed.
        TokenizationError: no such tokenizer.
    """
    paths = corpus_files(sources)
    ours = load_tokenizer(tokenizer)
    identity = TokenizerIdentity.of(ours, tokenizer)
    counts = np.zeros(identity.vocab_size, dtype=np.int64)
    texts = 0
    batches = _batches(text for path in paths for text in corpus_texts(path, field))
    for size, (ids, occurrences) in _counted(batches, ours, tokenizer, processes or os.cpu_count() or 1):
        counts[ids] += occurrences
        texts += size
        on_progress(size)
    if not counts.any():
        raise CorpusError(
            f"no tokens in {', '.join(sources)}: {texts} texts, none of which becomes any; give files with text"
        )
    decoded = ours.batch_decode(
        [[token_id] for token_id in range(counts.size)], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return TokenFrequencies(identity, counts, decoded, texts, tuple(Path(path).name for path in paths))


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if not text:
            continue
        batch.append(text)
        characters += len(text)
        if characters >= CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _counted(batches: Iterator[list[str]], tokenizer: Any, name: str, processes: int) -> Iterator[tuple[int, Counts]]:
    """Number of texts and token counts of each batch, in the order of the batches."""
    fast = tokenizer.backend_tokenizer.to_str() if getattr(tokenizer, "is_fast", False) else None
    first = [*islice(batches, 2)]
    batches = chain(first, batches)
    if processes == 1 or len(first) < 2:  # nothing to share out
        encode = _encoder(fast, name)
        yield from ((len(batch), _count(encode, batch)) for batch in batches)
        return
    waiting: deque[tuple[int, Future[Counts]]] = deque()
    # Fork would copy the threads of the tokenizer that is loaded here; a spawned process loads it again.
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(fast, name)
    )
    try:
        for batch in batches:
            waiting.append((len(batch), pool.submit(_count_here, batch)))
            if len(waiting) >= _WAITING * processes:
                size, future = waiting.popleft()
                yield size, future.result()
        while waiting:
            size, future = waiting.popleft()
            yield size, future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            "a process that tokenises was killed, most often because memory ran out; use fewer --processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _encoder(fast: str | None, name: str) -> Encode:
    """A function that tokenises texts; a fast tokenizer is made from its JSON, without importing transformers."""
    if fast is None:
        slow = load_tokenizer(name)
        return lambda texts: [slow.encode(text, add_special_tokens=False, verbose=False) for text in texts]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(fast)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [encoded.ids for encoded in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


_encode: Encode | None = None


def _start(fast: str | None, name: str) -> None:
    """Load the tokenizer in a process of the pool. Its own threads would only compete with the other processes."""
    global _encode  # state of a pool process between its tasks
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _encode = _encoder(fast, name)


def _count_here(texts: list[str]) -> Counts:
    assert _encode is not None  # noqa: S101  # the pool starts every process with _start
    return _count(_encode, texts)


def _count(encode: Encode, texts: list[str]) -> Counts:
    """The ids that occur in texts, and their counts."""
    ids = np.concatenate([np.asarray(encoded, dtype=np.int64) for encoded in encode(texts)])
    unique, occurrences = np.unique(ids, return_counts=True)
    return unique, occurrences.astype(np.int64)
