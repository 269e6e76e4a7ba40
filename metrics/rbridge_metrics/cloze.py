"""Multiple choice in cloze form: the five measures of DataDecide (arXiv 2504.11393).

Each uses the probability of a choice, exp(log-probability), or that per unit of length, exp(log-probability / length),
which does not penalise long choices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import ScoreError

#: Suffixes of the measures, by the length that the log-probability is divided by.
CLOZE_SUFFIXES = ("", "_per_char", "_per_byte")


class ClozeScores(NamedTuple):
    """The five measures of one item. Higher is better for all.

    Attributes:
        correct_prob: p(right choice).
        norm_correct_prob: p(right choice) / sum over the choices of p.
        total_prob: sum over the choices of p; above 1 it can be only per unit of length.
        margin: p(right choice) - largest p of a wrong choice.
        accuracy: 1.0 if the right choice is the most probable one, else 0.0.
    """

    correct_prob: float
    norm_correct_prob: float
    total_prob: float
    margin: float
    accuracy: float


#: Names of the fifteen metrics in score tables and lm-eval.
CLOZE_METRICS = tuple(f"cf_{measure}{suffix}" for suffix in CLOZE_SUFFIXES for measure in ClozeScores._fields)


def cloze_scores(logprob: npt.ArrayLike, gold: int, length: npt.ArrayLike | None = None) -> ClozeScores:
    """Score one item from the log-probabilities of its choices.

    ``norm_correct_prob`` comes from a log-sum-exp in float64: it stays exact where every probability is too small for a
    floating-point number. Of choices that are equally probable the first counts as the most probable one, as in
    lm-eval's ``acc``.

    Args:
        logprob: shape (choices,), log-probability of each choice in nats, summed over its tokens.
        gold: position of the right choice.
        length: shape (choices,), length of each choice (characters, bytes) that its log-probability is divided by.
            Default: 1, the raw probability.

    Raises:
        ScoreError: fewer than two choices, no such choice as ``gold``, a log-probability that is NaN, infinite or above
            0 (by more than rounding), or a length that is not one positive number a choice.

    >>> [round(value, 4) for value in cloze_scores(np.log([0.5, 0.125, 0.0625]), 1)]
    [0.125, 0.1818, 0.6875, -0.375, 0.0]
    >>> [round(value, 4) for value in cloze_scores(np.log([0.5, 0.125, 0.0625]), 1, [1, 3, 2])]
    [0.5, 0.4, 1.25, 0.0, 0.0]
    """
    values = np.asarray(logprob, dtype=np.float64)
    if values.ndim != 1 or values.size < 2:
        raise ScoreError(f"log-probabilities of shape {values.shape}; one for each of at least two choices is needed")
    wrong = ~np.isfinite(values) | (values > 0.001)  # further than the rounding of any back end puts a certain choice
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ScoreError(f"log-probability {values[at]} of choice {at}; a finite number of at most 0 is needed")
    if not 0 <= gold < values.size:
        raise ScoreError(f"the right choice is number {gold} of {values.size}; count from 0")
    if length is not None:
        lengths = np.asarray(length, dtype=np.float64)
        if lengths.shape != values.shape or not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ScoreError(f"lengths {lengths.tolist()} of {values.size} choices; a positive one for each is needed")
        values = values / lengths
    p = np.exp(values)
    top = values.max()
    return ClozeScores(
        correct_prob=float(p[gold]),
        norm_correct_prob=float(np.exp(values[gold] - top - np.log(np.exp(values - top).sum()))),
        total_prob=float(p.sum()),
        margin=float(p[gold] - np.delete(p, gold).max()),
        accuracy=float(np.argmax(values) == gold),
    )


def cloze_metrics(logprob: npt.ArrayLike, gold: int, chars: npt.ArrayLike, n_bytes: npt.ArrayLike) -> dict[str, float]:
    """All of ``CLOZE_METRICS`` of one item: raw, per character and per byte.

    Arguments and errors are those of ``cloze_scores``; ``chars`` and ``n_bytes`` are its lengths.
    """
    lengths = (None, chars, n_bytes)
    scores = [value for length in lengths for value in cloze_scores(logprob, gold, length)]
    return dict(zip(CLOZE_METRICS, scores, strict=True))
