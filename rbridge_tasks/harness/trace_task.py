"""The tasks ``rbridge_*``: traces scored token by token, weighted by the frontier model's confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lm_eval.api.instance import Instance

from rbridge_metrics import TokenScores
from rbridge_tasks.harness.lm_eval_versions import filtered_response, predicts_only, request_fields, task_class
from rbridge_tasks.harness.requests import OUTPUT_TYPE, REQUEST_TYPE, TraceRequest
from rbridge_tasks.harness.task_options import task_options
from rbridge_tasks.harness.trace_docs import TraceDocsTask
from rbridge_tasks.scoring.aggregation import AGGREGATION_OVER_TEST_SET
from rbridge_tasks.scoring.item_metrics import item_metrics, needs_of, require_weights
from rbridge_traces import Trace


class TokenScoresTask(TraceDocsTask, task_class(OUTPUT_TYPE)):  # type: ignore[misc]  # lm-eval is not typed
    """Asks for the per-token scores of every trace. Tasks over the same traces share one forward pass."""

    accepts_bare_prompt = True

    def build_all_requests(self, **kwargs: Any) -> None:
        self.OUTPUT_TYPE = REQUEST_TYPE  # the requests that lm-eval evens out between ranks
        super().build_all_requests(**kwargs)

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        delimiter, text = self.scored_text(doc)
        request = TraceRequest(
            request_type=REQUEST_TYPE,
            doc=doc,
            arguments=(self.scored_context(ctx, delimiter, kwargs), text),
            idx=0,
            **request_fields(self, kwargs),
            slow=self.options["rbridge_slow"],
            compiled=self.options["rbridge_compile"],
        )
        request.target = text
        return request

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> Any:
        if doc_to_target is None:
            return self.scored_text(doc)[1]  # as text: lm-eval 0.5 takes "168" for a number, and warns
        return super().doc_to_target(doc, doc_to_target)

    def scored_text(self, doc: dict[str, Any]) -> tuple[str, str]:
        """What is scored after the context, and what stands before it: the trace, unless a task scores another text."""
        return self.question_prompt.delimiter, doc["trace"]

    def apply_filters(self) -> None:
        for instance in self._instances:
            del instance.resps[1:]  # copies with which lm-eval evens out the ranks of a distributed run
            instance.filtered_resps["none"] = filtered_response(_Response(instance.resps[0]))

    def process_results(self, doc: dict[str, Any], results: Sequence[_Response]) -> dict[str, Any]:
        metrics = self.metrics_of(self.traces[doc["item_id"]], results[0].scores)
        return {} if predicts_only(self) else metrics

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:
        """Metrics of one trace by name, each as its aggregation takes it."""
        raise NotImplementedError


class TraceTask(TokenScoresTask):
    """Scores the traces of one benchmark by rBridge. Named by the YAML files in ``rbridge_tasks/tasks``."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.weighting: str = task_options(config.get("metadata"))["rbridge_weights"]
        if self.weighting == "confidence_test_set":
            config = config | {"metric_list": aggregated_by(AGGREGATION_OVER_TEST_SET, config["metric_list"])}
        super().__init__(config)
        self.has_spans = all(trace.spans for trace in self.traces.values())

    def needs(self) -> Literal["confidence", "spans"] | None:
        return needs_of(self.weighting)

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_weights(traces, self.weighting, where)

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:
        return item_metrics(scores, trace, self.weighting, spans=self.has_spans)


def aggregated_by(aggregations: Mapping[str, str], metric_list: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metrics of a task's configuration, some of them with another aggregation."""
    return [{**entry, "aggregation": aggregations.get(entry["metric"], entry["aggregation"])} for entry in metric_list]


class _Response:
    """A response where lm-eval would write it a second time: the arrays stand under ``resps`` only."""

    def __init__(self, scores: TokenScores) -> None:
        self.scores = scores

    def __str__(self) -> str:
        return f"{self.scores.logprob.size} tokens, see resps"
