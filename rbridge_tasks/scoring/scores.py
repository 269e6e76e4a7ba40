"""The result of ``score``: metrics of a benchmark, and the token scores that they are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rbridge_metrics import RBridgeError, TokenScores, rbridge_nll, weighted_nats
from rbridge_tasks.scoring.aggregation import aggregate, item_values
from rbridge_tasks.scoring.item_metrics import item_metrics, require_weights
from rbridge_tasks.scoring.weightings import WEIGHTINGS
from rbridge_traces import Trace

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

#: Weights of the tokens of one trace, shape (tokens,), from the trace and its token scores.
Weighting = Callable[[Trace, TokenScores], "npt.ArrayLike"]


@dataclass(frozen=True)
class Scores:
    """Scores of one model on the traces of one benchmark.

    Attributes:
        benchmark: e.g. ``gsm8k``.
        metrics: by name: ``rbridge_nll``, ``trace_nll``, ``rbridge_span_nll`` in nats per token; ``..._bits_per_byte``.
        stderr: standard error of each metric over the traces; NaN for a single trace.
        token_scores: per-token arrays of each trace, by item id.
        items: metrics of each trace by item id, as ``item_metrics`` gives them; ``item_frame`` shows them.
        traces: the scored traces, by item id.
        provenance: where the traces come from.
        weights: what the tokens were weighted by.
        model: name of the model.
        params: number of its parameters; None where unknown.
        settings: what other scores must share in order to compare.
    """

    benchmark: str
    metrics: Mapping[str, float]
    stderr: Mapping[str, float]
    token_scores: Mapping[str, TokenScores] = field(repr=False)
    items: Mapping[str, Mapping[str, Any]] = field(repr=False)
    traces: Mapping[str, Trace] = field(repr=False)
    provenance: Mapping[str, Any] = field(repr=False)
    weights: str
    model: str
    params: int | None
    settings: Mapping[str, str] = field(repr=False)

    def to_frame(self, *, run: str | None = None, tokens: float = math.nan) -> pd.DataFrame:
        """The metrics as rows of a score table, as ``rbridge collect`` writes them.

        Args:
            run: name of the training run; None takes the model's name.
            tokens: tokens that the model was trained on.
        """
        import pandas as pd

        rows = {
            "run": run or self.model,
            "model": self.model,
            "params": math.nan if self.params is None else float(self.params),
            "tokens": float(tokens),
            "benchmark": self.benchmark,
            "metric": [*self.metrics],
            "value": [*self.metrics.values()],
            "stderr": [*self.stderr.values()],
            "n": len(self.traces),
            "settings": [self._settings_of(metric) for metric in self.metrics],
        }
        return pd.DataFrame(rows)

    def item_frame(self) -> pd.DataFrame:
        """The metrics of each trace, one row per trace; bits per byte are those of the trace alone."""
        import pandas as pd

        rows = pd.DataFrame({"item_id": [*self.items]})
        for name in self.metrics:
            rows[name] = item_values(name, [item[name] for item in self.items.values()])
        rows["tokens"] = [self.token_scores[key].logprob.size for key in self.items]
        return rows

    def save(self, folder: str | Path) -> str:
        """Write the token scores into a Parquet file, which ``rbridge proxies | rank --samples | gate | report`` read.

        Args:
            folder: gets a file ``samples_rbridge_<benchmark>_<date>.parquet``; may be a URL that fsspec knows.

        Returns:
            The path of the file.

        Raises:
            TraceError: the file cannot be written.
        """
        from rbridge_tasks.scoring.saved_scores import save

        return save(self, folder)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the token scores, as values that JSON can hold; NaN becomes None."""
        stderr = {name: None if math.isnan(value) else value for name, value in self.stderr.items()}
        return {
            "benchmark": self.benchmark,
            "model": self.model,
            "params": self.params,
            "n": len(self.traces),
            "weights": self.weights,
            "metrics": dict(self.metrics),
            "stderr": stderr,
            "settings": dict(self.settings),
        }

    def _repr_html_(self) -> str:
        return str(self.to_frame().drop(columns="settings").to_html(index=False, notebook=True))

    def _settings_of(self, metric: str) -> str:
        weighted = metric in ("rbridge_nll", "rbridge_bits_per_byte")
        names = () if weighted else ("weights", "confidence model")
        return json.dumps({name: value for name, value in self.settings.items() if name not in names})


def reweight(scores: Scores, weights: str | Weighting) -> Scores:
    """Score again under other weights, from the token scores at hand; no model runs.

    Args:
        scores: of ``score``.
        weights: "confidence", "confidence_test_set", "spans" or "none"; or a function of a trace and its token scores
            that returns one weight for each token.

    Raises:
        MissingWeightsError: the traces lack confidences or spans.
        RBridgeError: the weighting is not known, or a function gives weights of another shape.
    """
    traces, token_scores = scores.traces, {key: replace(each) for key, each in scores.token_scores.items()}
    has_spans = all(trace.spans for trace in traces.values())
    if callable(weights):
        name = getattr(weights, "__name__", type(weights).__name__)
        items = {key: _weighted_by(weights, trace, token_scores[key], spans=has_spans) for key, trace in traces.items()}
    elif weights not in [*WEIGHTINGS]:
        raise RBridgeError(f"weights is {weights!r}; choose one of {', '.join(WEIGHTINGS)}, or give a function")
    else:
        require_weights([*traces.values()], weights, "these scores")
        name = weights
        items = {key: item_metrics(token_scores[key], trace, name, spans=has_spans) for key, trace in traces.items()}
    metrics, stderr = aggregate([*items.values()], over_test_set=weights == "confidence_test_set")
    settings = dict(scores.settings) | {"weights": name}
    return replace(
        scores, metrics=metrics, stderr=stderr, token_scores=token_scores, items=items, weights=name, settings=settings
    )


def _weighted_by(weighting: Weighting, trace: Trace, scores: TokenScores, *, spans: bool) -> dict[str, Any]:
    weights, nll = weighting(trace, scores), scores.nll
    return {
        "rbridge_nll": rbridge_nll(nll, weights),
        "rbridge_bits_per_byte": (weighted_nats(nll, weights), len(trace.trace.encode())),
        **item_metrics(scores, trace, "none", spans=spans),
    }
