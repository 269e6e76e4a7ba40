"""``--tasks`` with patterns, groups and their members, and wrong options, which are refused before a model loads."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.harness.task_options import TaskOptionError
from rbridge_tasks.harness.task_selection import DuplicateTaskError, UnknownTaskError, matching_names
from rbridge_traces import BENCHMARKS

TRACE_TASKS = {f"rbridge_{benchmark}" for benchmark in BENCHMARKS}
UNSAFE = "rbridge_humaneval_gen"


@functools.cache
def manager(user_folder: Path | None = None) -> TaskManager:
    """Return a TaskManager of our tasks and of a folder of the user."""
    folders = [str(TASKS_PATH), *([str(user_folder)] if user_folder else [])]
    metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"}
    return TaskManager(metadata=metadata, include_path=folders, include_defaults=False)


@pytest.mark.parametrize(
    "names",
    [
        ["rbridge", "rbridge_gsm8k"], ["rbridge_gsm8k", "rbridge"], ["rbridge", *TRACE_TASKS],
        ("rbridge", "rbridge_csqa", "rbridge_csqa"),
    ],
)  # fmt: skip
def test_a_group_and_its_members_are_loaded_once(names: list[str]) -> None:
    """In any order, each task is loaded once and the group has all its members."""
    loaded = manager().load([*names])
    assert set(loaded["tasks"]) == TRACE_TASKS
    assert {task.config.task for task in loaded["groups"]["rbridge"].get_all_tasks()} == TRACE_TASKS


def test_all_our_tasks_can_be_loaded_at_once() -> None:
    """--tasks 'rbridge*' matches three groups and each task once, without the task that runs code."""
    names = manager().match_tasks(["rbridge*"])
    loaded = manager().load(names)
    assert set(loaded["groups"]) == {"rbridge", "rbridge_comparators", "rbridge_proxies"}
    assert set(loaded["tasks"]) == set(manager().all_subtasks) - {UNSAFE}


@pytest.mark.parametrize(
    ("name", "meant"), [("rbridge_gsm8q", "rbridge_gsm8k"), ("rbridge_math50", "rbridge_math500"), ("rbridge_x*", None)]
)
def test_a_misspelt_task_is_one_line(name: str, meant: str | None) -> None:
    """``match_tasks`` (the command) and ``load`` (Python) raise; unknown names of other tasks are left to lm-eval."""
    for ask in (manager().match_tasks, manager().load):
        with pytest.raises(UnknownTaskError) as caught:
            ask(["rbridge_csqa", name])
        message = str(caught.value)
        assert name in message
        assert (f"did you mean {meant}?" in message) == (meant is not None)
        assert len(message.splitlines()) == 1
    assert manager().match_tasks(["hellaswagg"]) == []


def test_a_folder_of_task_files_may_begin_with_our_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval 0.4.13 asks ``match_tasks`` for a task of a folder's name before it reads the folder."""
    (tmp_path / "rbridge_mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "rbridge_mine" not in manager().all_tasks
    manager().match_tasks(["rbridge_mine"])


def test_a_pattern_never_selects_the_task_that_runs_code(caplog: pytest.LogCaptureFixture) -> None:
    """A log line says how to include the task; its name, or a pattern that matches only it, selects it."""
    assert matching_names(["rbridge_*_gen"], ["rbridge_csqa_gen", UNSAFE]) == ["rbridge_csqa_gen"]
    assert f"leaves out {UNSAFE}" in caplog.text
    assert matching_names([UNSAFE, "rbridge_*"], ["rbridge", UNSAFE]) == ["rbridge", UNSAFE]
    assert matching_names(["rbridge_humaneval_ge*"], [UNSAFE]) == [UNSAFE]
    assert matching_names(["mmlu*"], ["mmlu", "mmlu_pro"]) == ["mmlu", "mmlu_pro"]


@pytest.mark.parametrize(
    ("group", "asked"),
    [
        ("group: mine\ntask: [rbridge_gsm8k]\n", ["rbridge", "mine"]),
        ("group: mine\ntask:\n  - task: rbridge_gsm8k\n    num_fewshot: 0\n", ["mine", "rbridge_gsm8k"]),
    ],
)
def test_a_task_in_two_groups_is_one_line(tmp_path: Path, group: str, asked: list[str]) -> None:
    """lm-eval would report both under one name, and mix the numbers of a changed and an unchanged task."""
    (tmp_path / "mine.yaml").write_text(group)
    with pytest.raises(DuplicateTaskError, match="rbridge_gsm8k is selected twice, by ") as error:
        manager(tmp_path).load(asked)
    assert "\n" not in str(error.value)


def test_a_group_of_the_user_holds_our_tasks(tmp_path: Path) -> None:
    """A user's group of our tasks can be combined with one of its members."""
    (tmp_path / "mine.yaml").write_text("group: mine\ntask: [rbridge_gsm8k, rbridge_csqa_cf]\n")
    loaded = manager(tmp_path).load(["mine", "rbridge_gsm8k"])
    assert set(loaded["tasks"]) == {"rbridge_gsm8k", "rbridge_csqa_cf"}


def test_wrong_options_are_refused_before_a_model_is_loaded() -> None:
    """simple_evaluate loads the model before the tasks; the options are checked before both."""
    for metadata in ({"rbridge_wieghts": "none"}, {"rbridge_cache": 3}, ["rbridge_cache"]):
        with pytest.raises(TaskOptionError):
            simple_evaluate("hf", "pretrained=/no/such/model", tasks=["rbridge_gsm8k"], metadata=metadata)
    with pytest.raises(TaskOptionError, match="did you mean rbridge_source"):
        TaskManager(metadata={"rbridge_sorce": "x"}, include_defaults=False)
