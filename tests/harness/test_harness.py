"""Our tasks within lm-eval, in this process: which tasks exist, and their requests."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from rbridge_metrics import TraceMoments, bits_per_byte_stderr, minmax_weights_over_test_set, rbridge_nll
from rbridge_tasks.harness import metrics, requests
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.scoring.prompts import context_of
from rbridge_traces import BENCHMARKS, SampleCache, few_shot_examples

WITHOUT_WEIGHTS = {"rbridge_cache": "sample", "rbridge_weights": "none"}


@functools.cache
def manager() -> TaskManager:
    """Return a TaskManager of our tasks only: lm-eval's own tasks are thousands of files."""
    return TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=WITHOUT_WEIGHTS)


def load(name: str) -> Any:
    return manager().load([name])["tasks"][name]


@pytest.mark.slow
def test_the_manager_knows_a_task_a_benchmark_and_the_group() -> None:
    """A plain TaskManager lists our tasks, and the group holds all six."""
    plain = TaskManager(metadata=WITHOUT_WEIGHTS)
    assert {f"rbridge_{benchmark}" for benchmark in BENCHMARKS} <= set(plain.all_subtasks)
    assert set(plain.load(["rbridge"])["tasks"]) == {f"rbridge_{benchmark}" for benchmark in BENCHMARKS}


def test_include_defaults_false_means_no_tasks_of_ours_either() -> None:
    """A user who excludes the default tasks does not get ours."""
    assert TaskManager(include_defaults=False).all_tasks == []


@pytest.mark.slow
def test_a_users_task_file_has_priority(tmp_path: Path) -> None:
    """A task of the same name under --include_path replaces ours, as it replaces one of lm-eval's."""
    (tmp_path / "mine.yaml").write_text("task: rbridge_gsm8k\ndataset_path: mine\n")
    with_mine = TaskManager(include_path=str(tmp_path))
    assert with_mine._index["rbridge_gsm8k"].yaml_path == tmp_path / "mine.yaml"
    assert with_mine.include_path == str(tmp_path)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("shots", [0, 2, 5])
def test_requests_are_the_documented_context_and_the_trace(benchmark: str, shots: int) -> None:
    """The text that lm-eval builds equals that of ``rbridge traces score``, character by character."""
    task = load(f"rbridge_{benchmark}")
    task.set_config("num_fewshot", shots)
    task.build_all_requests()
    traces = {trace.item_id: trace for trace in SampleCache().load(benchmark).traces}
    assert len(task.instances) == len(traces)
    for instance in task.instances:
        trace = traces[instance.doc["item_id"]]
        assert instance.args == (context_of(trace, few_shot_examples(benchmark)[:shots]), trace.trace)
        assert trace.trace not in instance.args[0]


def test_five_shots_by_default() -> None:
    """The paper's number of shots is the default."""
    assert load("rbridge_gsm8k").config.num_fewshot == 5


def test_chat_templates_and_system_instructions_are_lm_evals() -> None:
    """With a chat template the question is a user turn, and no delimiter follows the template's end."""

    def template(messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<{m['role']}>\n{m['content']}\n" for m in messages) + "<assistant>\n"

    task = load("rbridge_csqa")
    task.set_config("num_fewshot", 1)
    options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": template}
    task.build_all_requests(limit=1, system_instruction="Think.", **options)
    context, _ = task.instances[0].args
    assert context.startswith("<system>\nThink.")
    assert context.count("<user>\nQuestion:") == 2
    assert context.endswith("Answer:\n<assistant>\n")


def test_a_task_config_can_be_written_as_json() -> None:
    """lm-eval writes the config into every results file."""
    config = load("rbridge_gsm8k").dump_config()
    assert json.loads(json.dumps(config, default=str))["metadata"]["rbridge_traces"]["sample"] is True


def test_corpus_bits_per_byte_has_a_standard_error() -> None:
    """lm-eval reports our closed form for a ratio of sums, and no error for zero bootstrap iterations."""
    from lm_eval import evaluator_utils
    from lm_eval.api import metrics as lm_eval_metrics

    load("rbridge_gsm8k")
    items = [(10.0, 20), (30.0, 25), (5.0, 11)]
    used = evaluator_utils if hasattr(evaluator_utils, "stderr_for_metric") else lm_eval_metrics
    stderr = used.stderr_for_metric(metrics.corpus_bits_per_byte, 1000)
    assert stderr(items) == bits_per_byte_stderr(*zip(*items, strict=True))
    assert used.stderr_for_metric(metrics.corpus_bits_per_byte, 0) is None


def test_test_set_scores_equal_weights_over_all_traces() -> None:
    """The aggregation over moments equals weighting with the minimum and maximum of all traces."""
    nlls = [[2.0, 1.0, 0.5], [3.0, 0.1]]
    confidences = [[0.9, 0.58, 1.0], [0.2, 0.4]]
    moments = [TraceMoments.of(n, c, n_bytes=7) for n, c in zip(nlls, confidences, strict=True)]
    weights = minmax_weights_over_test_set(confidences)
    expected = [rbridge_nll(n, w) for n, w in zip(nlls, weights, strict=True)]
    assert metrics.test_set_rbridge_nll(moments) == pytest.approx(sum(expected) / 2)


def test_a_model_class_without_a_back_end_is_one_line() -> None:
    """A model class that we do not support is refused, and the error says what to use instead."""
    from lm_eval.models.dummy import DummyLM

    with pytest.raises(requests.UnservedModelError, match="use --model hf"):
        requests.token_scores(DummyLM(), [])
