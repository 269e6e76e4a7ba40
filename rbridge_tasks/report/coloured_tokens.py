"""Tokens of a trace with what each costs: NLL, confidence, weight, and the shade of weight × NLL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import minmax_weights, minmax_weights_over_test_set, span_weights
from rbridge_metrics.errors import ScoreError
from rbridge_tasks.tables.score_table import encodable
from rbridge_tasks.visible_text import visible

if TYPE_CHECKING:
    from rbridge_tasks.tables.trace_samples import Evaluation, ScoredTrace

Values = npt.NDArray[np.float64]

#: Nats of weight × NLL from which each shade begins; geometric, since NLL has a long tail.
SHADES = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_AROUND = 28  # letters before and after a token in a table


@dataclass(frozen=True)
class WeightedTrace:
    """A scored trace with the weights that its task gave it.

    Attributes:
        trace: text and token scores.
        nll, weight: shape (tokens,); nats, and in [0, 1].
    """

    trace: ScoredTrace
    nll: Values
    weight: Values

    @property
    def cost(self) -> Values:
        """Weight × NLL of each token in nats, shape (tokens,); 0 where the weight is, also of an infinite NLL."""
        return self.weight * np.where(self.weight > 0, self.nll, 0.0)

    @property
    def score(self) -> float:
        """Mean of weight × NLL over the tokens: the trace's rBridge NLL."""
        return float(self.cost.mean()) if self.nll.size else math.nan

    @property
    def places(self) -> list[tuple[int, int]]:
        """First letter and end of each token in the trace."""
        scores = self.trace.scores
        return [*zip(scores.token_start.tolist(), scores.token_end.tolist(), strict=True)]

    @property
    def confidence(self) -> Values | None:
        """Of the frontier model in each token, where it is known."""
        found = self.trace.scores.confidence
        return None if found is None else found.astype(np.float64)

    def same_tokens(self, other: WeightedTrace) -> bool:
        """Whether both are the same trace cut into the same tokens."""
        mine, theirs = self.trace.scores, other.trace.scores
        return self.trace.text == other.trace.text and np.array_equal(mine.token_end, theirs.token_end)


def weighted_traces(evaluation: Evaluation) -> tuple[list[WeightedTrace], str]:
    """The traces of an evaluation with their weights, and what the weights are, in words.

    Raises:
        SamplesError: a file is damaged.
    """
    options = [evaluation.results.metadata(task) for task in evaluation.files]
    weighting = next((str(one["rbridge_weights"]) for one in options if "rbridge_weights" in one), "confidence")
    traces = [*evaluation.traces()]
    nll = [trace.scores.nll for trace in traces]
    found = _weights(traces, weighting)
    if found is None:
        words = "every weight is 1: these samples carry no confidences or spans"
        if weighting == "none":
            words = "every weight is 1, as the task was told"
        return [WeightedTrace(one, own, np.ones_like(own)) for one, own in zip(traces, nll, strict=True)], words
    weights, words = found
    return [WeightedTrace(*both) for both in zip(traces, nll, weights, strict=True)], words


def _weights(traces: Sequence[ScoredTrace], weighting: str) -> tuple[list[Values], str] | None:
    """Weights as the task defines them; None where its samples do not hold what they rest on."""
    if weighting == "none" or not traces:
        return None
    if weighting == "spans":
        spans = [trace.doc.get("spans") for trace in traces]
        if any(own is None for own in spans):
            return None
        scores = [trace.scores for trace in traces]
        both = zip(scores, spans, strict=True)
        return [span_weights(one.token_start, one.token_end, own or ()) for one, own in both], (
            "weights are 1 inside marked key steps and 0 outside"
        )
    confidences = [trace.scores.confidence for trace in traces]
    known = [own for own in confidences if own is not None]
    if len(known) < len(traces):
        return None
    try:
        if weighting == "confidence_test_set":
            return minmax_weights_over_test_set(known), "weights are the frontier model's confidence, over the test set"
        weights = [minmax_weights(own) if own.size else np.zeros(0) for own in known]
    except ScoreError:
        return None
    return weights, "weights are the frontier model's confidence, from 0 to 1 within each trace"


@dataclass(frozen=True)
class Piece:
    """A stretch of a trace: a token, or text that no token covers.

    Attributes:
        text: as it stands in the trace.
        shade: 0 to ``len(SHADES)`` - 1; None for text without a token.
        tip: what hovering, focus or a tap says.
    """

    text: str
    shade: int | None
    tip: str

    @property
    def classes(self) -> str:
        """Names of its styles."""
        names = [f"s{self.shade}"] if self.shade else []
        return " ".join([*names, *(["nl"] if "\n" in self.text else [])])


def shade_of(cost: float) -> int:
    """The shade of weight × NLL in nats.

    >>> shade_of(0.0), shade_of(0.3), shade_of(50.0)
    (0, 2, 7)
    """
    return max(0, int(np.searchsorted(SHADES, cost, side="right")) - 1)


def pieces(one: WeightedTrace, before: WeightedTrace | None, most: int) -> tuple[list[Piece], int]:
    """A trace cut into its tokens, each with its numbers.

    Args:
        one: the trace.
        before: the same trace under an earlier checkpoint, to say what each NLL was; None where there is none.
        most: tokens after which to stop.

    Returns:
        The pieces, whose texts joined are the trace, and how many tokens were left out at the end.
    """
    scores, text = one.trace.scores, one.trace.text
    found: list[Piece] = []
    done = 0
    for at, (start, end) in enumerate(one.places):
        if at >= most:
            return found, scores.token_end.size - at
        if start > done:
            found.append(Piece(_shown(text[done:start]), None, ""))
        own = text[max(start, done) : end]
        numbers = numbers_text(one, at, before)
        if own or not found:
            found.append(Piece(_shown(own), shade_of(float(one.cost[at])), f"{quoted(text[start:end])} {numbers}"))
        else:  # a token inside a letter that is shown already
            last = found[-1]
            shade = max(last.shade or 0, shade_of(float(one.cost[at])))
            found[-1] = Piece(last.text, shade, f"{last.tip}; then {quoted(text[start:end])} {numbers}")
        done = max(done, end)
    if done < len(text):
        found.append(Piece(_shown(text[done:]), None, ""))
    return found, 0


def numbers_text(one: WeightedTrace, at: int, before: WeightedTrace | None = None) -> str:
    """NLL, confidence and weight of a token, for people."""
    was = f" (was {before.nll[at]:.2f})" if before is not None else ""
    known = one.confidence
    parts = [f"NLL {one.nll[at]:.2f}{was}", *([f"confidence {known[at]:.2f}"] if known is not None else [])]
    parts += [f"weight {one.weight[at]:.2f}", f"weight × NLL {one.cost[at]:.2f}"]
    return " · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def quoted(token: str) -> str:
    r"""A token in quotation marks, line ends spelled out.

    >>> quoted("a\n")
    '“a\\n”'
    """
    return f"“{_shown(token).replace(chr(10), chr(92) + 'n').replace(chr(9), chr(92) + 't')}”"


def in_context(one: WeightedTrace, at: int) -> Mapping[str, str]:
    """A token and the letters around it, on one line."""
    text, scores = one.trace.text, one.trace.scores
    start, end = int(scores.token_start[at]), int(scores.token_end[at])
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    parts: dict[str, Any] = {
        "before": ("…" if start > _AROUND else "") + before,
        "token": text[start:end] or " ",
        "after": after + ("…" if end + _AROUND < len(text) else ""),
    }
    return {name: _shown(part).replace("\n", "↵") for name, part in parts.items()}


def _shown(text: str) -> str:
    """Text as a page can hold it: controls and halves of letters are spelled out."""
    return visible(encodable(text))
