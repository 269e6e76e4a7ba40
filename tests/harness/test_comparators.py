"""The comparator tasks in this process: their prompts, their grades and the traces they refuse."""

from __future__ import annotations

import dataclasses
import json
import math
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from rbridge_metrics import ScoreError
from rbridge_tasks.answering.answers import AnswerError, require_choices, require_final_answers, require_gold
from rbridge_tasks.answering.code_execution import CodeExecutionError
from rbridge_tasks.scoring.prompts import context_of, document, worked_example
from rbridge_tasks.tables.directions import bounds_of, metric_called
from rbridge_tasks.tables.lm_eval_results import benchmark_of
from rbridge_tasks.tables.samples import find_samples
from rbridge_traces import BENCHMARKS, Choice, Trace, few_shot_examples

from .comparators import ACCURACY, CHOICE, TASKS, UNSAFE, load, manager, traces_of


def arguments_of(name: str) -> list[tuple[Any, ...]]:
    task = load(name)
    task.build_all_requests()
    return [instance.args for instance in task.instances]


# ---------------------------------------------------------------- prompts


def test_the_group_holds_all_that_runs_no_code() -> None:
    """The group has twenty of the twenty-one tasks; the task that executes code must be selected by name."""
    loaded = manager().load(["rbridge_comparators"])
    assert set(loaded["tasks"]) == {name for names in TASKS.values() for name in names} - {UNSAFE}
    assert loaded["groups"]["rbridge_comparators"].alias == "rbridge_comparators (sample)"
    assert all("(sample)" in task.config.task_alias for task in loaded["tasks"].values())


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_gold_and_scb_follow_the_context_of_the_traces(benchmark: str) -> None:
    """Items, examples and question are the same; then follows the gold answer, or the trace with its final answer."""
    for trace, (context, gold), (same, both) in zip(
        traces_of(benchmark), arguments_of(f"rbridge_{benchmark}_gold"), arguments_of(f"rbridge_{benchmark}_scb"),
        strict=True,
    ):  # fmt: skip
        before = context_of(trace, few_shot_examples(benchmark))
        assert same == before
        assert context == (before[:-1] + "\n" if benchmark == "humaneval" else before)
        assert trace.gold is not None
        assert gold == trace.gold.rstrip()
        assert both == worked_example(document(trace))
        assert both.startswith(f"{trace.trace}\nFinal answer:")


@pytest.mark.parametrize("benchmark", [name for name in BENCHMARKS if name != "humaneval"])
def test_generation_starts_at_the_position_of_the_trace(benchmark: str) -> None:
    """Generation is greedy, from the same context without its last space, up to the next question."""
    for trace, (context, options) in zip(traces_of(benchmark), arguments_of(f"rbridge_{benchmark}_gen"), strict=True):
        assert context + " " == context_of(trace, few_shot_examples(benchmark))
        assert options == {"until": ["\nQuestion:"], "do_sample": False, "max_gen_toks": 512}


def test_chat_templates_end_the_context_unchanged() -> None:
    """Nothing is inserted between a template's end and the answer, the choice or the trace."""

    def template(messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<{m['role']}>\n{m['content']}\n" for m in messages) + "<assistant>\n"

    first = {"gold": "    best = 0", "scb": "We want", "cf": "It stays at rest"}
    for name in ("rbridge_humaneval_gold", "rbridge_humaneval_scb", "rbridge_arc_challenge_cf"):
        task = load(name)
        task.set_config("num_fewshot", 1)
        task.build_all_requests(limit=1, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=template)
        context, text = task.instances[-1].args
        assert context.endswith("Answer:\n<assistant>\n")
        assert text.startswith(first[name.rpartition("_")[2]])


@pytest.mark.parametrize("benchmark", CHOICE)
def test_cloze_form_shows_no_choices(benchmark: str) -> None:
    """The prompt has no choices; worked examples end with the text of the right choice; each choice is a request."""
    shots = []
    for example in few_shot_examples(benchmark):
        (text,) = [choice.text for choice in example.choices or () if choice.label == example.gold]
        shots.append(f"Question: {example.question}\nAnswer: {text}\n\n")
    expected = [
        (f"{''.join(shots)}Question: {trace.question}\nAnswer:", f" {choice.text}")
        for trace in traces_of(benchmark)
        for choice in trace.choices or ()
    ]
    assert arguments_of(f"rbridge_{benchmark}_cf") == expected


# ---------------------------------------------------------------- metrics and names


def test_every_metric_has_a_direction_a_bound_and_an_entry_point() -> None:
    """lm-eval and score tables agree on the direction of each metric."""
    points = {point.name: point.value for point in entry_points(group="lm_eval.metrics")}
    for names in TASKS.values():
        for name in names:
            for metric, higher in load(name).higher_is_better().items():
                assert metric_called(metric).lower_is_better is not higher
                assert metric == "exact_match" or metric in points, metric
    assert bounds_of("cf_total_prob_per_char", [3.0]) == (0.0, math.inf)
    assert bounds_of("cf_margin", [0.1]) == (-1.0, 1.0)
    assert bounds_of("cf_accuracy_per_byte", [0.1]) == bounds_of("mpca", [0.1]) == (0.0, 1.0)


def test_scores_belong_to_the_benchmark_not_to_the_task() -> None:
    """Comparators and rBridge NLL have the same benchmark in a score table; tasks of other origin keep their names."""
    assert {benchmark_of(name) for names in TASKS.values() for name in names} == set(BENCHMARKS)
    for name in ("rbridge_comparators", "mine_gen", "gsm8k_gen"):
        assert benchmark_of(name) == name
    assert benchmark_of("rbridge_mine_cf") == "mine"


def test_samples_are_found_by_their_metric_if_tasks_share_a_benchmark(tmp_path: Path) -> None:
    """In a folder with samples of several tasks over a benchmark, the file with the metric is found."""
    for kind, metric in (("gold", "gold_nll"), ("scb", "scb_nll")):
        samples_file = tmp_path / f"samples_rbridge_gsm8k_{kind}_2026-01-01T00-00-00.jsonl"
        samples_file.write_text(json.dumps({"doc_id": 0, "metrics": [metric], metric: 1.0}) + "\n")
    file = find_samples(tmp_path, "gsm8k", "scb_nll")
    assert file is not None
    assert "_scb_" in file.name


# ---------------------------------------------------------------- what traces must have


def trace(**changes: Any) -> Trace:
    choices = (Choice("1", "iron"), Choice("2", "carbon"))
    made = Trace("arc_challenge", "7", "Which?", "It is carbon.", choices=choices, final_answer="2", gold="2")
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("check", "changes", "message"),
    [
        (require_gold, {"gold": None}, "no gold answer"),
        (require_gold, {"gold": " "}, "no gold answer"),
        (require_final_answers, {"final_answer": None}, "no final answer"),
        (require_choices, {"choices": None}, "fewer than two choices"),
        (require_choices, {"choices": (Choice("1", " "), Choice("2", "x"))}, "a choice without text"),
        (require_gold, {"gold": "B"}, "label of none of their choices"),
        (require_choices, {"gold": "B"}, r"label of none of their choices.*gold 'B', choices 1, 2"),
    ],
)
def test_traces_that_lack_an_answer_are_refused_in_one_line(check: Any, changes: dict[str, Any], message: str) -> None:
    """The error counts the traces, names the first one, says what was found and what to do."""
    check([trace()], "CACHE")
    with pytest.raises(AnswerError, match=message) as error:
        check([trace(), trace(**changes)], "CACHE")
    assert str(error.value).startswith("1 of 2 traces in CACHE have")
    assert "arc_challenge/7" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_item_without_probabilities_is_named() -> None:
    """If a model gives NaN, the error names the item, and no NaN reaches the table."""
    task = load("rbridge_csqa_cf")
    doc = task.eval_docs[0]
    with pytest.raises(ScoreError, match=r"^csqa/sample-csqa-01: log-probability nan of choice 1"):
        task.process_results(doc, [(-1.0, False), (math.nan, False), *[(-2.0, False)] * 3])


# ---------------------------------------------------------------- grading


def graded(task: Any, item: Trace, text: str) -> dict[str, float]:
    metrics: dict[str, float] = task.process_results(document(item), [text])
    return metrics


@pytest.mark.parametrize("benchmark", [name for name in BENCHMARKS if name != "humaneval"])
def test_answers_in_the_format_of_worked_examples_are_right(benchmark: str) -> None:
    """A trace with the gold answer is right at distance 0, whatever follows; another answer, or none, is wrong."""
    task, accuracy = load(f"rbridge_{benchmark}_gen"), ACCURACY.get(benchmark, "exact_match")
    for item in traces_of(benchmark):
        text = worked_example(document(dataclasses.replace(item, final_answer=item.gold)))
        assert graded(task, item, f" {text}") == {accuracy: 1.0, "ted": 0.0, "ted_per_token": 0.0}
        assert graded(task, item, f"{text}\n\nAnd then some.\nFinal answer: 99999")[accuracy] == 1.0
        assert graded(task, item, f"{item.trace}\nFinal answer: 99999")[accuracy] == 0.0
        assert graded(task, item, item.trace) == {accuracy: 0.0, "ted": 0.0, "ted_per_token": 0.0}
        assert graded(task, item, "")["ted_per_token"] == 1.0


@pytest.mark.parametrize(
    ("benchmark", "gold", "stated"),
    [
        ("gsm8k", "1200", ["1,200", "$1200.00", "1200 dollars", "\\boxed{1200}"]),
        ("math500", "\\frac{13}{2}", ["13/2", "6.5", "$\\dfrac{13}{2}$"]),
        ("csqa", "C", ["C", "(C)", "c.", "C. paint"]),
    ],
)
def test_answers_are_right_in_any_usual_form(benchmark: str, gold: str, stated: list[str]) -> None:
    """Numbers are graded by value, mathematics by equivalence, choices by their label."""
    task, item = load(f"rbridge_{benchmark}_gen"), dataclasses.replace(traces_of(benchmark)[0], gold=gold)
    for answer in stated:
        metrics = graded(task, item, f"So it is.\nFinal answer: {answer}\n\nMore")
        assert metrics[ACCURACY.get(benchmark, "exact_match")] == 1.0, answer


def test_token_edit_distance_by_hand() -> None:
    """Tokens are words and punctuation marks: two of the seven are replaced and one is missing."""
    item = dataclasses.replace(traces_of("gsm8k")[0], trace="48/2 = 24 clips.", spans=None)
    metrics = graded(load("rbridge_gsm8k_gen"), item, " 48*2 = 96 clips\nFinal answer: 96")
    assert (metrics["ted"], metrics["ted_per_token"]) == (3.0, 3 / 7)


# ---------------------------------------------------------------- HumanEval


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")


def test_running_code_needs_two_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Execution needs lm-eval's flag for unsafe tasks and the variable of Hugging Face's ``code_eval``."""
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    task = load(UNSAFE)
    assert task.UNSAFE_CODE
    with pytest.raises(CodeExecutionError, match=r"HF_ALLOW_CODE_EVAL=1 .* --confirm_run_unsafe_code"):
        task.build_all_requests()


def test_predict_only_needs_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """With lm_eval --predict_only nothing is graded, so no code is run and no grader is needed."""
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    for name in (UNSAFE, "rbridge_gsm8k_gold", "rbridge_csqa_cf"):
        task = load(name)
        task.override_metric("bypass")
        task.build_all_requests(limit=1)
    assert load(UNSAFE).higher_is_better()["pass@1"] is True
    task = load(UNSAFE)
    task.override_metric("bypass")
    assert graded(task, traces_of("humaneval")[0], "Final answer: 1") == {}


@pytest.mark.slow
def test_functions_are_graded_by_their_tests(allowed: None) -> None:
    """The gold solutions pass as a function body, as a whole function and in a code fence; wrong ones do not."""
    task = load(UNSAFE)
    task.build_all_requests()
    for number, item in enumerate(traces_of("humaneval")):
        assert item.gold is not None
        whole = item.question.split('    """')[0] + item.gold
        forms = [item.gold, whole, f"```python\n{item.gold}```\nDone."] if number < 2 else [item.gold]
        for form in forms:
            metrics = graded(task, item, f"{item.trace}\nFinal answer:\n{form}")
            assert (metrics["pass@1"], metrics["ted"]) == (1.0, 0.0), form
    item = traces_of("humaneval")[0]
    for wrong in ("    return None", "    return (", "    raise SystemExit(0)", "", "    import os; os._exit(0)"):
        assert graded(task, item, f"Hm.\nFinal answer:\n{wrong}")["pass@1"] == 0.0
    assert graded(task, item, item.gold or "")["pass@1"] == 0.0
