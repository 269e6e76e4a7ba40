"""From (context, trace) texts to token scores: tokenise in one thread while the model reads in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import Done, ignore_finished
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair

if TYPE_CHECKING:
    from rbridge_tasks.scoring.engine import Scorer

#: Pairs tokenised, then scored, together: enough to find shared prefixes and to fill batches of similar length.
PAIRS_AT_ONCE = 4096


def score_pairs(
    scorer: Scorer,
    encoder: PairEncoder,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = ignore_finished,
    known: Mapping[int, TokenScores] | None = None,
) -> list[TokenScores]:
    """Tokenise and score pairs of texts.

    Args:
        scorer: scores tokenised pairs.
        encoder: of the model's tokenizer.
        pairs: (context, trace) texts.
        labels: names of the pairs for errors.
        done: called after each batch with the indices of the pairs that it completed, and their scores.
        known: scores of pairs from an earlier run, by index; their batches are not read again.

    Returns:
        The scores of each pair, in the order given.

    Raises:
        TokenizationError, ScoringError: see ``PairEncoder`` and ``Scorer``.
    """
    scores: list[TokenScores] = []
    for start, encoded in _encoded_ahead(encoder, pairs, labels):
        part = range(start, start + len(encoded))

        def done_in_part(indices: Sequence[int], finished: Sequence[TokenScores], part: range = part) -> None:
            done([part[i] for i in indices], finished)

        known_in_part = {i - start: known[i] for i in part if i in known} if known else None
        scores += scorer.score(encoded, labels[start : part.stop], done=done_in_part, known=known_in_part)
    return scores


def _encoded_ahead(
    encoder: PairEncoder, pairs: Sequence[tuple[str, str]], labels: Sequence[str]
) -> Iterator[tuple[int, list[TokenizedPair]]]:
    """Tokenised pairs in parts, each with the index of its first pair; the next part is tokenised meanwhile."""
    starts = range(0, len(pairs), PAIRS_AT_ONCE)
    with ThreadPoolExecutor(max_workers=1) as worker:
        parts = (slice(start, start + PAIRS_AT_ONCE) for start in starts)
        waiting = (worker.submit(encoder.encode, pairs[part], labels[part]) for part in parts)
        following = next(waiting, None)
        for start in starts:
            encoded = following.result() if following else []
            following = next(waiting, None)
            yield start, encoded
