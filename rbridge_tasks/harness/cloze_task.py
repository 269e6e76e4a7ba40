"""The tasks ``rbridge_*_cf``: the probability of each choice's text after the question, choices not listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbridge_metrics import RBridgeError
from rbridge_metrics.cloze import CLOZE_METRICS, cloze_metrics
from rbridge_tasks.answering.answers import choice_texts, gold_choice, require_choices
from rbridge_tasks.harness.comparator_metrics import metric_list
from rbridge_tasks.harness.lm_eval_versions import predicts_only, task_class
from rbridge_tasks.harness.trace_docs import TraceDocsTask
from rbridge_traces import Trace


class ClozeTask(TraceDocsTask, task_class("multiple_choice")):  # type: ignore[misc]  # lm-eval is not typed
    """Asks lm-eval's own ``loglikelihood`` for every choice, as its ``multiple_choice`` tasks do."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({"metric_list": metric_list(CLOZE_METRICS), **config})

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_choices(traces, where)

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Any:
        return super().construct_requests(doc, self.scored_context(ctx, "", kwargs), **kwargs)

    def process_results(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        if predicts_only(self):
            return {}
        texts = choice_texts(doc)
        logprob = [total for total, _ in results]
        chars, n_bytes = [len(text) for text in texts], [len(text.encode()) for text in texts]
        try:
            return dict(cloze_metrics(logprob, gold_choice(doc), chars, n_bytes))
        except RBridgeError as error:
            raise type(error)(f"{doc['benchmark']}/{doc['item_id']}: {error}") from error
