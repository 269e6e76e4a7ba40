"""The tasks ``rbridge_*_gen``: what the model writes, whether its answer is right, and how far it is from the trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbridge_metrics.token_edits import edit_distance
from rbridge_tasks.answering.answers import answer_code, answer_line, reasoning_and_answer, require_gold, words
from rbridge_tasks.answering.code_execution import check_allowed, passes
from rbridge_tasks.answering.humaneval import OPTION, checks_of, program_of
from rbridge_tasks.harness.comparator_metrics import metric_list
from rbridge_tasks.harness.lm_eval_versions import predicts_only, task_class
from rbridge_tasks.harness.trace_docs import TraceDocsTask
from rbridge_traces import Choice, Trace
from rbridge_traces.generation.grading import check_grader, grade


class GenerationTask(TraceDocsTask, task_class("generate_until")):  # type: ignore[misc]  # lm-eval is not typed
    """Lets the model go on from the context, greedily, and grades the final answer that it comes to."""

    accuracy = "exact_match"

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({"metric_list": metric_list((self.accuracy, "ted", "ted_per_token")), **config})

    def check_traces(self, traces: list[Trace], where: str) -> None:
        require_gold(traces, where)

    def build_all_requests(self, **kwargs: Any) -> None:
        if not predicts_only(self):
            self.prepare_grading()
        super().build_all_requests(**kwargs)

    def prepare_grading(self) -> None:
        """Make sure, before the model writes, that what it writes can be graded."""
        check_grader(self.benchmark)

    def is_right(self, doc: dict[str, Any], stated: str) -> bool:
        """Whether an answer, as it follows ``Final answer:``, is the right one."""
        choices = [Choice(choice["label"], choice["text"]) for choice in doc["choices"] or ()]
        return bool(grade(self.benchmark, answer_line(stated), doc["gold"], choices or None))

    def process_results(self, doc: dict[str, Any], results: Sequence[str]) -> dict[str, Any]:
        if predicts_only(self):
            return {}
        reasoning, stated = reasoning_and_answer(results[0])
        trace = words(doc["trace"])
        distance = edit_distance(words(reasoning), trace)
        return {
            self.accuracy: float(stated is not None and self.is_right(doc, stated)),
            "ted": float(distance),
            "ted_per_token": distance / max(len(trace), 1),
        }


class MathGenerationTask(GenerationTask):
    """Grades by mathematical equivalence, by math-verify."""

    accuracy = "math_verify"


class CodeGenerationTask(GenerationTask):
    """Grades by running the function that the model wrote, where the user allows that."""

    accuracy = "pass@1"
    UNSAFE_CODE = True  # lm-eval asks for --confirm_run_unsafe_code; 0.5 reads this and not the YAML key

    def __init__(self, config: dict[str, Any]) -> None:
        self.checks: dict[str, str] = {}
        super().__init__(config)

    def check_traces(self, traces: list[Trace], where: str) -> None:
        """Their solutions are not needed: tests grade."""

    def prepare_grading(self) -> None:
        check_allowed(self.config.task)
        self.checks = checks_of([*self.traces.values()], path=self.options[OPTION], sample=self.is_sample)

    def is_right(self, doc: dict[str, Any], stated: str) -> bool:
        return passes(program_of(doc["question"], answer_code(stated), self.checks[doc["item_id"]]))
