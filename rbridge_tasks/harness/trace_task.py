"""The tasks ``rbridge_*``: traces scored token by token, weighted by the frontier model's confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lm_eval.api.instance import Instance

from rbridge_metrics import TokenScores
from rbridge_tasks.harness.metrics import test_set_rbridge_bits_per_byte, test_set_rbridge_nll
from rbridge_tasks.harness.requests import REQUEST_TYPE, TraceRequest
from rbridge_tasks.harness.trace_docs import TraceDocsTask
from rbridge_tasks.item_metrics import item_metrics, needs_of, require_weights
from rbridge_tasks.prompts import DELIMITER
from rbridge_traces import Trace


class TokenScoresTask(TraceDocsTask):
    """Asks for the per-token scores of every trace. Tasks over the same traces share one forward pass."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.OUTPUT_TYPE = REQUEST_TYPE

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        delimiter, text = self.scored_text(doc)
        return TraceRequest(
            request_type=REQUEST_TYPE,
            doc=doc,
            arguments=(ctx if ctx[-1:].isspace() else ctx + delimiter, text),
            idx=0,
            metadata=kwargs["metadata"],
            slow=self.slow,
            compiled=self.compiled,
        )

    def scored_text(self, doc: dict[str, Any]) -> tuple[str, str]:
        """What is scored after the context, and what stands before it: the trace, unless a task scores another text."""
        return DELIMITER, doc["trace"]

    def apply_filters(self) -> None:
        for instance in self._instances:
            del instance.resps[1:]  # copies with which lm-eval evens out the ranks of a distributed run
            instance.filtered_resps["none"] = _Response(instance.resps[0])

    def process_results(self, doc: dict[str, Any], results: Sequence[_Response]) -> dict[str, Any]:
        metrics = self.metrics_of(self.traces[doc["item_id"]], results[0].scores)
        return {} if "bypass" in self._metric_fn_list else metrics  # bypass: lm_eval --predict_only

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:
        """Metrics of one trace by name, each as its aggregation takes it."""
        raise NotImplementedError


class TraceTask(TokenScoresTask):
    """Scores the traces of one benchmark by rBridge. Named by the YAML files in ``rbridge_tasks/tasks``."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.has_spans = all(trace.spans for trace in self.traces.values())
        if self.weighting == "confidence_test_set":
            self._aggregation_list["rbridge_nll"] = test_set_rbridge_nll
            self._aggregation_list["rbridge_bits_per_byte"] = test_set_rbridge_bits_per_byte

    def needs(self) -> Literal["confidence", "spans"] | None:
        return needs_of(self.weighting)

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_weights(traces, self.weighting, where)

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:
        return item_metrics(scores, trace, self.weighting, spans=self.has_spans)


class _Response:
    """A response where lm-eval would write it a second time: the arrays stand under ``resps`` only."""

    def __init__(self, scores: TokenScores) -> None:
        self.scores = scores

    def __str__(self) -> str:
        return f"{self.scores.logprob.size} tokens, see resps"
