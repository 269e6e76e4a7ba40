"""The gate on scores of different settings: refused, or compared with a warning on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rbridge_metrics import RBridgeError
from rbridge_tasks.cli import app
from rbridge_tasks.tables.comparable import IncomparableError

from ..harness.lm_eval_files import rbridge, write_json
from .made_evaluations import DATE, DIFFERENCES, INSIST, NLL, Change, collected, evaluation


def gate(*arguments: str | Path) -> dict[str, Any]:
    """Run the gate with --json and return its output; a regression is no error."""
    result = CliRunner().invoke(app, ["gate", *map(str, arguments), "--json"], catch_exceptions=False)
    output: dict[str, Any] = json.loads(result.stdout)
    return output


@pytest.mark.parametrize(("change", "setting", "first", "second"), DIFFERENCES)
def test_different_settings_are_refused_with_both_values(
    tmp_path: Path, change: Change, setting: str, first: str, second: str
) -> None:
    """The message has the values and the folders; on demand the notes of a comparison have the same values."""
    before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", **change)
    with pytest.raises(IncomparableError) as refused:
        gate(now, before)
    for text in (setting, first, second, str(before), str(now), INSIST):
        assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    output = gate(now, before, INSIST)
    assert output["verdict"].startswith("passed")
    assert any(setting in note and first in note and second in note for note in output["notes"])


def test_all_settings_that_differ_are_in_one_line(tmp_path: Path) -> None:
    """Shots and chat template are named together."""
    before = evaluation(tmp_path / "before")
    now = evaluation(tmp_path / "now", chat_template_sha="abc", **{"n-shot": {"rbridge_gsm8k": 0}})
    with pytest.raises(IncomparableError, match=r"n-shot differs.*chat template differs"):
        gate(now, before)


def test_few_shot_examples_as_turns(tmp_path: Path) -> None:
    """Compared only with a chat template; without one the setting has no effect."""
    before = evaluation(tmp_path / "before", fewshot_as_multiturn=True)
    assert gate(evaluation(tmp_path / "now", fewshot_as_multiturn=False), before)["notes"] == []
    before = evaluation(tmp_path / "before", chat_template_sha="abc", fewshot_as_multiturn=True)
    now = evaluation(tmp_path / "now", chat_template_sha="abc", fewshot_as_multiturn=False)
    with pytest.raises(IncomparableError, match=r"turns differs, such as True for .* and False for"):
        gate(now, before)


def test_equal_settings_give_no_note(tmp_path: Path) -> None:
    """Different models, dates and folders are not settings."""
    assert gate(evaluation(tmp_path / "now"), evaluation(tmp_path / "before"))["notes"] == []


def test_another_precision_is_compared_with_a_note(tmp_path: Path) -> None:
    """A gate may test whether 4-bit weights cost quality."""
    before, now = evaluation(tmp_path / "before"), tmp_path / "now"
    data = rbridge("ckpts/now-1b/step1-tokens2B", 0.7)
    data["config"]["model_args"] |= {"load_in_4bit": True}
    evaluation(now)
    write_json(now / f"results_{DATE}.json", data)
    (note,) = gate(now, before)["notes"]
    assert "quantisation differs, such as none for" in note
    assert "load_in_4bit=True" in note


def test_samples_without_results_are_noted_as_unchecked(tmp_path: Path) -> None:
    """Their settings are unknown; if their prompts differ they are refused."""
    before, now = evaluation(tmp_path / "before", prompt_hash="p"), evaluation(tmp_path / "now", prompt_hash="p")
    (now / f"results_{DATE}.json").unlink()
    (note,) = gate(now, before)["notes"]
    assert note.startswith("1 samples file without the results file")
    now = evaluation(tmp_path / "now", prompt_hash="q")
    (now / f"results_{DATE}.json").unlink()
    with pytest.raises(RBridgeError, match=r"60 items of 60 of the baseline and the checkpoint were asked with ot"):
        gate(now, before)
    assert any("asked with other prompts" in note for note in gate(now, before, INSIST)["notes"])


def test_different_prompts_of_equal_settings_are_noted(tmp_path: Path) -> None:
    """A chat template may write the date into the prompt, so this is a note and not an error."""
    settings = {"chat_template_sha": "abc"}
    before = evaluation(tmp_path / "before", prompt_hash="monday", **settings)
    now = evaluation(tmp_path / "now", prompt_hash="tuesday", **settings)
    (note,) = gate(now, before)["notes"]
    assert "60 items of 60" in note


def test_a_results_file_of_another_name_is_found(tmp_path: Path) -> None:
    """If no file has the time of the samples in its name, the only results file with the task is used."""
    before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", chat_template_sha="abc")
    (now / f"results_{DATE}.json").rename(now / "results.json")
    with pytest.raises(IncomparableError, match="chat template"):
        gate(now, before)


def test_different_items_are_paired_on_demand(tmp_path: Path) -> None:
    """The items that both have are compared, and a note has their count."""
    before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", items=NLL[:25])
    with pytest.raises(RBridgeError, match=r"scored on 25 items and the baseline on 60.*--allow-incomparable"):
        gate(now, before)
    output = gate(now, before, INSIST)
    assert output["benchmarks"][0]["change"]["items"] == 25
    assert any("paired on the 25 items that all have" in note for note in output["notes"])


def test_the_warning_is_in_the_summary_and_the_junit_file(tmp_path: Path) -> None:
    """Reviewers read these instead of the output."""
    before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", chat_template_sha="abc")
    summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
    gate(now, before, INSIST, "--summary", summary, "--junit", junit)
    assert "chat template differs" in summary.read_text()
    assert "chat template differs" in junit.read_text()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "folder"])
def test_against_a_forecast(tmp_path: Path, suffix: str) -> None:
    """Checkpoints of different shots, in a collected table or in a folder."""
    folders = []
    for step in range(1, 9):
        change: Change = {"n-shot": {"rbridge_gsm8k": 0}} if step == 8 else {}
        name = f"ckpts/dclm-1b/step{step}-tokens{step}B"
        folders.append(evaluation(tmp_path / "out" / str(step), 0.5 + 0.4 * step**-0.5, model=name, **change))
    scores = tmp_path / "out" if suffix == "folder" else collected(tmp_path / f"scores.{suffix}", *folders)
    with pytest.raises(IncomparableError, match=r"n-shot differs, such as 5 for .* and 0 for"):
        gate(scores, "--forecast", scores, "--run", "dclm")
    output = gate(scores, "--forecast", scores, "--run", "dclm", INSIST)
    assert any("n-shot differs" in note for note in output["notes"])
