"""The options in ``--metadata``: code and documentation have the same table, and wrong options give one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.harness.task_options import OPTIONS, TaskOptionError, task_options
from rbridge_tasks.sweeping.settings import EvaluationSettings

NAMES = [option.name for option in OPTIONS]
DEFAULTS = {option.name: option.default for option in OPTIONS}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


def test_the_documents_have_the_same_table() -> None:
    """docs/tasks.md names every option, its values and its help."""
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
    rows = re.findall(r"^\| `(rbridge_\w+)` \| (.*?) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(NAMES)
    by_name = {name: (values, default, meaning) for name, values, default, meaning in rows}
    kinds = {
        "text": "text",
        "file": "file",
        "folder": "folder",
        "switch": "`true`, `false`",
        "names": "list of names",
    }
    for option in OPTIONS:
        values, default, meaning = by_name[option.name]
        assert values == kinds.get(option.kind, ", ".join(f"`{choice}`" for choice in option.choices))
        assert meaning.replace("`", "").startswith(option.help)
        if option.default is not None:
            assert default == f"`{str(option.default).lower()}`" if option.kind == "switch" else f"`{option.default}`"


@pytest.mark.parametrize("metadata", [None, {}, {"dtype": "float32", "max_length": 12}, dict.fromkeys(NAMES)])
def test_absent_and_null_are_the_default(metadata: Any) -> None:
    """Absent and null options have their default; keys of models and of other tasks are ignored."""
    assert task_options(metadata) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rbridge_wieghts", "none", "'rbridge_wieghts' in --metadata; did you mean rbridge_weights"),
        ("rbrige_weights", "none", "did you mean rbridge_weights"),
        ("rbridge-cache", "x", "did you mean rbridge_cache"),
        ("RBRIDGE_CACHE", "x", "did you mean rbridge_cache"),
        ("rbridge_only_corect", True, "did you mean rbridge_only_correct"),
        ("rbridge_zzz", 1, "known are rbridge_cache, "),
        ("rbridge_traces", {}, "written by the tasks themselves"),
        ("rbridge_weights", ["confidence"], r"rbridge_weights is \['confidence'\]; choose one of confidence, "),
        ("rbridge_weights", "Confidence", "did you mean confidence"),
        ("rbridge_weights", {}, "choose one of"),
        ("rbridge_weights", 0, "choose one of"),
        ("rbridge_cache", 12, "rbridge_cache is 12, a number; give text"),
        ("rbridge_cache", "", "rbridge_cache is empty; give text"),
        ("rbridge_cache", ["a", "b"], "a list; give text"),
        ("rbridge_source", True, """rbridge_source is True, a boolean; give text .*'{"rbridge_source": "gpt-4o"}'"""),
        ("rbridge_source", 2024, "a number; give text"),
        ("rbridge_frequencies", {"a": 1}, "an object; give text"),
        ("rbridge_humaneval_tests", 1.5, "a number; give text"),
        ("rbridge_only_correct", "true", "rbridge_only_correct is 'true'; write true or false"),
        ("rbridge_slow", 1, "write true or false"),
        ("rbridge_prompt", "bear", "did you mean bare"),
        ("rbridge_group", "gsm8k", "rbridge_group is 'gsm8k'; give a list of names"),
        ("rbridge_group", [], "give a list of names"),
        ("rbridge_compile", [True], "write true or false"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(key: str, value: object, message: str) -> None:
    """The error has the value, what is expected and the nearest name; a sweep checks before it starts."""
    for check in (task_options, lambda metadata: EvaluationSettings(metadata=metadata)):
        with pytest.raises(TaskOptionError, match=message) as error:
            check({key: value})
        assert "\n" not in str(error.value)


def test_metadata_that_is_not_an_object_is_one_line() -> None:
    """A list, a number or a text instead of an object is refused."""
    for metadata in ([1], 3, "rbridge_cache=sample"):
        with pytest.raises(TaskOptionError, match="give an object"):
            task_options(metadata)


def test_options_that_exclude_each_other() -> None:
    """Two ways to score cannot be combined."""
    with pytest.raises(TaskOptionError, match="exclude each other"):
        task_options({"rbridge_slow": True, "rbridge_compile": True})


def test_a_path_may_be_a_path(tmp_path: Path) -> None:
    """In Python a folder or file may be a pathlib.Path."""
    assert task_options({"rbridge_cache": tmp_path})["rbridge_cache"] == str(tmp_path)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=20), JSON, max_size=4))
def test_any_json_gives_options_or_one_short_line(metadata: dict[str, Any]) -> None:
    """No value raises another error, and accepted values have the type of their option."""
    message, options = "", DEFAULTS
    try:
        options = task_options(metadata)
    except TaskOptionError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 500
    for option in OPTIONS:
        value = options[option.name]
        kind = {"switch": bool, "names": list}.get(option.kind, str)
        assert isinstance(value, kind) or (value is None and option.kind != "switch")
        assert option.kind != "choice" or value in option.choices
