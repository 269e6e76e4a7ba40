"""Tokens of a trace with their NLL, confidence and weight, and the shade of weight × NLL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_metrics import minmax_weights, minmax_weights_over_test_set, span_weights
from rbridge_metrics.errors import ScoreError
from rbridge_tasks.tables.trace_samples import Evaluation, ScoredTrace
from rbridge_tasks.visible_text import encodable, visible

Values = npt.NDArray[np.float64]

#: Nats of weight × NLL from which each shade begins; geometric, since NLL has a long tail.
SHADES = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_AROUND = 28  # characters before and after a token in a table
_CONFIDENCE = "weights are the frontier model's confidence, "


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
    def item(self) -> str:
        """Id of the benchmark item."""
        return self.trace.item

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
        """First character and end of each token in the trace."""
        scores = self.trace.scores
        return [*zip(scores.token_start.tolist(), scores.token_end.tolist(), strict=True)]

    @property
    def confidence(self) -> Values:
        """Of the frontier model in each token, NaN where it is unknown."""
        values = self.trace.scores.confidence
        return np.full(self.nll.size, math.nan) if values is None else values.astype(np.float64)

    def same_tokens(self, earlier: WeightedTrace) -> bool:
        """Whether both are the same trace cut into the same tokens."""
        ends = self.trace.scores.token_end, earlier.trace.scores.token_end
        return self.trace.text == earlier.trace.text and np.array_equal(*ends)


def weighted_traces(evaluation: Evaluation) -> tuple[list[WeightedTrace], str]:
    """The traces of an evaluation with their weights, and what the weights are, in words.

    Raises:
        SamplesError: a file is damaged.
    """
    options = [evaluation.results.metadata(task) for task in evaluation.files]
    weighting = next(
        (str(option["rbridge_weights"]) for option in options if "rbridge_weights" in option), "confidence"
    )
    traces = [*evaluation.traces()]
    weights, words = _weights(traces, weighting)
    return [WeightedTrace(trace, trace.scores.nll, row) for trace, row in zip(traces, weights, strict=True)], words


def _weights(traces: Sequence[ScoredTrace], weighting: str) -> tuple[list[Values], str]:
    """Weights as the task defines them, all 1 where its samples lack what they need; and what they are."""
    scores = [trace.scores for trace in traces]
    ones = [np.ones_like(row.nll) for row in scores]
    lacking = ones, "every weight is 1: these samples carry no confidences or spans"
    if weighting == "none":
        return ones, "every weight is 1, as the task was told"
    if weighting == "spans":
        spans = [trace.doc.get("spans") for trace in traces]
        if not traces or any(row is None for row in spans):
            return lacking
        weights = [
            span_weights(row.token_start, row.token_end, marked or ())
            for row, marked in zip(scores, spans, strict=True)
        ]
        return weights, "weights are 1 inside marked key steps and 0 outside"
    confidences = [row.confidence for row in scores if row.confidence is not None]
    if not traces or len(confidences) < len(traces):
        return lacking
    try:
        if weighting == "confidence_test_set":
            return minmax_weights_over_test_set(confidences), f"{_CONFIDENCE}over the test set"
        weights = [minmax_weights(row) if row.size else np.zeros(0) for row in confidences]
    except ScoreError:
        return lacking
    return weights, f"{_CONFIDENCE}from 0 to 1 within each trace"


@dataclass(frozen=True)
class Piece:
    """A stretch of a trace: a token, or text that no token covers.

    Attributes:
        text: as it stands in the trace.
        shade: 0 to ``len(SHADES)`` - 1; None for text without a token.
        tip: shown on hovering, focus or a tap.
    """

    text: str
    shade: int | None = None
    tip: str = ""

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


def pieces(trace: WeightedTrace, before: WeightedTrace | None, most: int) -> tuple[list[Piece], int]:
    """A trace cut into its tokens, each with its numbers.

    Args:
        trace: the trace.
        before: the same trace under an earlier checkpoint, for the earlier NLLs; None where there is none.
        most: tokens after which to stop.

    Returns:
        The pieces, whose texts joined are the trace, and how many tokens were left out at the end.
    """
    text = trace.trace.text
    parts: list[Piece] = []
    done = 0
    for at, (start, end) in enumerate(trace.places):
        if at >= most:
            return parts, trace.nll.size - at
        if start > done:
            parts.append(Piece(_shown(text[done:start])))
        new, shade = text[max(start, done) : end], shade_of(float(trace.cost[at]))
        tip = f"{quoted(text[start:end])} {_numbers(trace, at, before)}"
        if new or not parts:
            parts.append(Piece(_shown(new), shade, tip))
        else:  # a token inside a character that is shown already
            last = parts[-1]
            parts[-1] = Piece(last.text, max(last.shade or 0, shade), f"{last.tip}; then {tip}")
        done = max(done, end)
    if done < len(text):
        parts.append(Piece(_shown(text[done:])))
    return parts, 0


def _numbers(trace: WeightedTrace, at: int, before: WeightedTrace | None) -> str:
    """NLL, confidence and weight of a token, for people."""
    was = f" (was {before.nll[at]:.2f})" if before is not None else ""
    parts = [f"NLL {trace.nll[at]:.2f}{was}"]
    if trace.trace.scores.confidence is not None:
        parts.append(f"confidence {trace.confidence[at]:.2f}")
    parts += [f"weight {trace.weight[at]:.2f}", f"weight × NLL {trace.cost[at]:.2f}"]
    return " · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def quoted(token: str) -> str:
    r"""A token in quotation marks, line ends spelled out.

    >>> quoted("a\n")
    '“a\\n”'
    """
    return f"“{_shown(token).replace(chr(10), chr(92) + 'n').replace(chr(9), chr(92) + 't')}”"


def in_context(trace: WeightedTrace, at: int) -> Mapping[str, str]:
    """A token and the characters around it, on one line."""
    text, (start, end) = trace.trace.text, trace.places[at]
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    parts = {
        "before": ("…" if start > _AROUND else "") + before,
        "token": text[start:end] or " ",
        "after": after + ("…" if end + _AROUND < len(text) else ""),
    }
    return {name: _shown(part).replace("\n", "↵") for name, part in parts.items()}


def _shown(text: str) -> str:
    """Text as a page can hold it: control characters and lone surrogates are spelled out."""
    return visible(encodable(text))
