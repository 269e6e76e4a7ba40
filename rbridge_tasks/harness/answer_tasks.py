"""The tasks ``rbridge_*_gold`` and ``rbridge_*_scb``: the data set's own answer, and a trace with its final answer."""

from __future__ import annotations

import math
from typing import Any

from rbridge_metrics import TokenScores, trace_nll
from rbridge_tasks.answering.answers import gold_text, require_final_answers, require_gold
from rbridge_tasks.harness.comparator_metrics import metric_list
from rbridge_tasks.harness.trace_task import TokenScoresTask
from rbridge_tasks.scoring.prompts import separator, worked_example
from rbridge_traces import Trace


class GoldTask(TokenScoresTask):
    """Scores the data set's own answer in the place of the trace."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({"metric_list": metric_list(("gold_nll", "mpca")), **config})

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_gold(traces, where)

    def scored_text(self, doc: dict[str, Any]) -> tuple[str, str]:
        return self.question_prompt.delimiter and separator(doc["gold"]), gold_text(doc)

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:  # noqa: ARG002  # the base class names it
        return {"gold_nll": trace_nll(scores.nll), "mpca": math.exp(min(-float(scores.nll.sum()), 0.0))}


class ScbTask(TokenScoresTask):
    """Scores the trace and its final answer, as a worked example has them."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({"metric_list": metric_list(("scb_nll",)), **config})

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_final_answers(traces, where)

    def scored_text(self, doc: dict[str, Any]) -> tuple[str, str]:
        return self.question_prompt.delimiter, worked_example(doc)

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:  # noqa: ARG002  # the base class names it
        return {"scb_nll": trace_nll(scores.nll)}
