"""Scores of different settings: refused by every command that compares them, compared with a warning on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rbridge_metrics import RBridgeError
from rbridge_tasks.cli import app
from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.comparable import IncomparableError
from rbridge_tasks.tables.score_table import read_scores, write_scores

from ..harness.lm_eval_files import modern, rbridge, write_json
from .made_scores import as_json, invoke, samples

DATE = "2026-01-01T00-00-00.000000"
INSIST = "--allow-incomparable"
NLL = (np.random.default_rng(0).gamma(4.0, 0.2, 60)).tolist()

Change = dict[str, Any]

# What differs in the second evaluation, the setting, and the two values that the message has to name.
DIFFERENCES: list[tuple[Change, str, str, str]] = [
    ({"n-shot": {"rbridge_gsm8k": 0}}, "n-shot", "5", "0"),
    ({"chat_template_sha": "abc"}, "chat template", "none", "abc"),
    ({"system_instruction_sha": "def"}, "system instruction", "none", "def"),
    ({"traces": {"confidence_model": "llama"}}, "confidence model", "gpt-4o", "llama"),
    ({"traces": {"files": {"x.parquet": "b" * 64}}}, "traces", "aaaaaaaaaaaa", "bbbbbbbbbbbb"),
    ({"traces": {"only_correct": True}}, "only correct traces", "False", "True"),
    ({"options": {"rbridge_weights": "spans"}}, "weights", "confidence", "spans"),
    ({"versions": {"rbridge_gsm8k": 2.0}}, "task version", "1.0", "2.0"),
    ({"tokenizer_eos_token": ["<|end|>", "7"]}, "tokenizer", "</s>", "<|end|>"),
]


def evaluation(folder: Path, value: float = 0.7, *, items: list[float] | None = None, **changes: Any) -> Path:
    """What one run of lm_eval with --log_samples leaves: results and samples of gsm8k."""
    extra = {"prompt_hash": changes.pop("prompt_hash")} if "prompt_hash" in changes else {}
    model = changes.pop("model", f"ckpts/{folder.name}-1b/step1-tokens2B")
    data = rbridge(model, value, **changes)
    write_json(folder / f"results_{DATE}.json", data)
    samples(folder / f"samples_rbridge_gsm8k_{DATE}.jsonl", {"rbridge_nll": items or NLL}, **extra)
    return folder


def collected(path: Path, *folders: Path) -> Path:
    """A score table of evaluations."""
    write_scores(collect(folders).table, path)
    return path


def gate(*arguments: str | Path) -> dict[str, Any]:
    """What the gate prints with --json."""
    done = CliRunner().invoke(app, ["gate", *map(str, arguments), "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestTheGate:
    """Two folders of lm_eval --log_samples; the settings come from the results files beside the samples."""

    @pytest.mark.parametrize(("change", "setting", "one", "other"), DIFFERENCES)
    def test_refuses_different_settings_and_names_both_values(
        self, tmp_path: Path, change: Change, setting: str, one: str, other: str
    ) -> None:
        """One line with the values and the folders; on demand a comparison whose notes say the same."""
        before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", **change)
        with pytest.raises(IncomparableError) as refused:
            gate(now, before)
        for text in (setting, one, other, str(before), str(now), INSIST):
            assert text in str(refused.value)
        assert "\n" not in str(refused.value)
        found = gate(now, before, INSIST)
        assert found["verdict"].startswith("passed")
        assert any(setting in note and one in note and other in note for note in found["notes"])

    def test_names_all_settings_that_differ_in_one_line(self, tmp_path: Path) -> None:
        """Shots and template are mended in one go."""
        before = evaluation(tmp_path / "before")
        now = evaluation(tmp_path / "now", chat_template_sha="abc", **{"n-shot": {"rbridge_gsm8k": 0}})
        with pytest.raises(IncomparableError, match=r"n-shot differs.*chat template differs"):
            gate(now, before)

    def test_worked_examples_as_turns(self, tmp_path: Path) -> None:
        """Compared where there is a chat template; without one it changes nothing."""
        before = evaluation(tmp_path / "before", fewshot_as_multiturn=True)
        assert gate(evaluation(tmp_path / "now", fewshot_as_multiturn=False), before)["notes"] == []
        before = evaluation(tmp_path / "before", chat_template_sha="abc", fewshot_as_multiturn=True)
        now = evaluation(tmp_path / "now", chat_template_sha="abc", fewshot_as_multiturn=False)
        with pytest.raises(IncomparableError, match=r"turns differs, such as True for .* and False for"):
            gate(now, before)

    def test_equal_settings_need_no_word(self, tmp_path: Path) -> None:
        """Different models, dates and folders are what a gate is for."""
        assert gate(evaluation(tmp_path / "now"), evaluation(tmp_path / "before"))["notes"] == []

    def test_another_precision_is_compared_and_said(self, tmp_path: Path) -> None:
        """Whether 4-bit weights cost quality is a fair question."""
        before, now = evaluation(tmp_path / "before"), tmp_path / "now"
        data = rbridge("ckpts/now-1b/step1-tokens2B", 0.7)
        data["config"]["model_args"] |= {"load_in_4bit": True}
        evaluation(now)
        write_json(now / f"results_{DATE}.json", data)
        (note,) = gate(now, before)["notes"]
        assert "quantisation differs, such as none for" in note
        assert "load_in_4bit=True" in note

    def test_samples_without_results_are_said_to_be_unchecked(self, tmp_path: Path) -> None:
        """Nothing is known of their settings; where their prompts differ, they are refused."""
        before, now = evaluation(tmp_path / "before", prompt_hash="p"), evaluation(tmp_path / "now", prompt_hash="p")
        (now / f"results_{DATE}.json").unlink()
        (note,) = gate(now, before)["notes"]
        assert note.startswith("1 samples file without the results file")
        now = evaluation(tmp_path / "now", prompt_hash="q")
        (now / f"results_{DATE}.json").unlink()
        with pytest.raises(RBridgeError, match=r"60 items of 60 of the baseline and the checkpoint were asked with ot"):
            gate(now, before)
        assert any("asked with other prompts" in note for note in gate(now, before, INSIST)["notes"])

    def test_a_prompt_that_holds_the_date_is_noted(self, tmp_path: Path) -> None:
        """Chat templates that write today's date: all settings are equal, and the gate still works tomorrow."""
        both = {"chat_template_sha": "abc"}
        before = evaluation(tmp_path / "before", prompt_hash="monday", **both)
        now = evaluation(tmp_path / "now", prompt_hash="tuesday", **both)
        (note,) = gate(now, before)["notes"]
        assert "60 items of 60" in note

    def test_a_results_file_of_another_name_is_found(self, tmp_path: Path) -> None:
        """The only one of the folder that has the task, where no name has the time of the samples."""
        before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", chat_template_sha="abc")
        (now / f"results_{DATE}.json").rename(now / "results.json")
        with pytest.raises(IncomparableError, match="chat template"):
            gate(now, before)

    def test_other_items_are_paired_on_demand(self, tmp_path: Path) -> None:
        """What both have, with the count."""
        before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", items=NLL[:25])
        with pytest.raises(RBridgeError, match=r"scored on 25 items and the baseline on 60.*--allow-incomparable"):
            gate(now, before)
        found = gate(now, before, INSIST)
        assert found["benchmarks"][0]["change"]["items"] == 25
        assert any("paired on the 25 items that all have" in note for note in found["notes"])

    def test_reviewers_see_the_warning(self, tmp_path: Path) -> None:
        """In the Markdown summary and in the JUnit file."""
        before, now = evaluation(tmp_path / "before"), evaluation(tmp_path / "now", chat_template_sha="abc")
        summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
        gate(now, before, INSIST, "--summary", summary, "--junit", junit)
        assert "chat template differs" in summary.read_text()
        assert "chat template differs" in junit.read_text()

    @pytest.mark.parametrize("suffix", ["csv", "parquet", "folder"])
    def test_against_a_forecast(self, tmp_path: Path, suffix: str) -> None:
        """A past of other shots, in a collected table as in the folder itself."""
        folders = []
        for step in range(1, 9):
            change: Change = {"n-shot": {"rbridge_gsm8k": 0}} if step == 8 else {}
            name = f"ckpts/dclm-1b/step{step}-tokens{step}B"
            folders.append(evaluation(tmp_path / "out" / str(step), 0.5 + 0.4 * step**-0.5, model=name, **change))
        past = tmp_path / "out" if suffix == "folder" else collected(tmp_path / f"scores.{suffix}", *folders)
        with pytest.raises(IncomparableError, match=r"n-shot differs, such as 5 for .* and 0 for"):
            gate(past, "--forecast", past, "--run", "dclm")
        found = gate(past, "--forecast", past, "--run", "dclm", INSIST)
        assert any("n-shot differs" in note for note in found["notes"])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("change", "setting", "one", "other"), DIFFERENCES)
def test_a_collected_table_keeps_settings(
    tmp_path: Path, change: Change, setting: str, one: str, other: str, suffix: str
) -> None:
    """Collect keeps incomparable rows with a warning, and what reads its table refuses them."""
    table = collected(tmp_path / f"scores.{suffix}", evaluation(tmp_path / "a"), evaluation(tmp_path / "b", **change))
    assert len(read_scores(table)) == 4
    with pytest.raises(IncomparableError) as refused:
        invoke("rank", table)
    assert all(text in str(refused.value) for text in (setting, one, other, INSIST))
    notes = as_json("rank", table, INSIST)["notes"]
    assert any(setting in note and one in note and other in note for note in notes)


def test_rank_compares_the_samples_too(tmp_path: Path) -> None:
    """A table made by hand says nothing of settings; the results beside the samples do."""
    a, b = evaluation(tmp_path / "a"), evaluation(tmp_path / "b", chat_template_sha="abc")
    value = float(np.mean(NLL))
    rows = [
        {"run": run, "params": 1e9, "tokens": 2e9, "benchmark": "gsm8k", "metric": "rbridge_nll", "value": value}
        for run in ("a", "b")
    ]
    table = tmp_path / "scores.csv"
    write_scores(pd.DataFrame(rows), table)
    assert as_json("rank", table)["rankings"]
    chosen = ("--samples", f"a={a}", "--samples", f"b={b}")
    with pytest.raises(IncomparableError, match="chat template differs, such as none for a and abc for b"):
        invoke("rank", table, *chosen)
    assert any("chat template" in note for note in as_json("rank", table, *chosen, INSIST)["notes"])


def test_runs_at_other_sizes_are_not_compared_by_rank(tmp_path: Path) -> None:
    """Candidates compare at equal params and tokens; what smaller ones were scored with is no matter."""
    folders = []
    for run in ("a", "b"):
        for size, shots in (("1b", 5), ("2b", 0)):
            model = f"ckpts/{run}-{size}/step1-tokens2B"
            change: Change = {"n-shot": {"rbridge_gsm8k": shots}, "model": model}
            folders.append(evaluation(tmp_path / f"{run}{size}", **change))
    assert as_json("rank", collected(tmp_path / "scores.csv", *folders))["notes"] == [
        note for note in as_json("rank", tmp_path / "scores.csv", INSIST)["notes"] if "n-shot" not in note
    ]


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """A table of a small and a large model over eight checkpoints of two runs, the last of one scored otherwise."""

    def table(**odd: Any) -> Path:
        folders = []
        for run, shift in (("a", 0.0), ("b", 0.05)):
            for step in range(1, 9):
                nll = 0.5 + 0.4 * step**-0.5 + shift
                change = odd if (run, step) == ("b", 8) else {}
                model = f"ckpts/{run}-1b/step{step}-tokens{step}B"
                folders.append(evaluation(tmp_path / "small" / f"{run}{step}", nll, model=model, **change))
                large = modern(f"ckpts/{run}-13b/step{step}-tokens{step}B", {"gsm8k": {"acc,none": 1 - nll}})
                folder = tmp_path / "large" / f"{run}{step}"
                write_json(folder / f"results_{DATE}.json", large)
                folders.append(folder)
        return collected(tmp_path / "runs.parquet", *folders)

    return table


PAIRED = ("--proxy", "1b", "--target-metric", "acc")
OTHER_SHOTS: Change = {"n-shot": {"rbridge_gsm8k": 0}}


def test_fit_refuses_proxy_scores_of_other_settings(runs: Callable[..., Path], tmp_path: Path) -> None:
    """And predict compares new scores with those that were fitted."""
    options = (*PAIRED, "--proxy-metric", "rbridge_nll", "--target", "13b")
    table = runs(**OTHER_SHOTS)
    with pytest.raises(IncomparableError, match=r"n-shot differs, such as 5 for .*a-1b.* and 0 for .*b-1b/step8"):
        invoke("fit", table, *options)
    assert any("n-shot differs" in note for note in as_json("fit", table, *options, INSIST)["notes"])
    fit = tmp_path / "fit.json"
    invoke("fit", runs(), *options, "-o", fit)
    new = collected(tmp_path / "new.csv", evaluation(tmp_path / "new", 0.6, **OTHER_SHOTS))
    with pytest.raises(IncomparableError, match=r"n-shot differs, such as 5 for .*fit.json and 0 for"):
        invoke("predict", fit, new)
    assert any("n-shot differs" in note for note in as_json("predict", fit, new, INSIST)["notes"])
    same = collected(tmp_path / "same.csv", evaluation(tmp_path / "same", 0.6))
    assert not any("differ" in note for note in as_json("predict", fit, same)["notes"])


def test_forecast_compares_the_checkpoints_of_a_run(runs: Callable[..., Path], tmp_path: Path) -> None:
    """And with --fit the proxy scores that were fitted."""
    table = runs(**OTHER_SHOTS)
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke("forecast", table, "--at", "20B")
    assert as_json("forecast", table, "--at", "20B", "--run", "a")["forecasts"]
    assert any("n-shot differs" in note for note in as_json("forecast", table, "--at", "20B", INSIST)["notes"])
    fit = tmp_path / "fit.json"
    table = runs()
    invoke("fit", table, *PAIRED, "--proxy-metric", "rbridge_nll", "--target", "13b", "-o", fit)
    assert as_json("forecast", table, "--at", "20B", "--fit", fit)["forecasts"]
    content = json.loads(fit.read_text())
    content["source"]["proxy_settings"]["gsm8k"]["n-shot"] = "0"
    fit.write_text(json.dumps(content))
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke("forecast", table, "--at", "20B", "--fit", fit)


def test_compare_refuses_checkpoints_and_candidates(runs: Callable[..., Path]) -> None:
    """Both of its modes."""
    table = runs(**OTHER_SHOTS)
    checkpoints = ("compare", table, "--proxy", "1b", "--target-model", "13b", "--no-fits", "--resamples", "100")
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke(*checkpoints)
    assert any("n-shot differs" in note for note in as_json(*checkpoints, INSIST)["notes"])
    candidates = ("compare", table, "--target", table, "--no-fits", "--at", "1b:8B", "--target-at", "13b:8B")
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke(*candidates)
    assert any("n-shot differs" in note for note in as_json(*candidates, INSIST)["notes"])


def test_the_report_refuses_and_the_page_shows_what_differs(runs: Callable[..., Path], tmp_path: Path) -> None:
    """In its head, where it cannot be missed."""
    table, page = runs(**OTHER_SHOTS), tmp_path / "report.html"
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke("report", table, "-o", page)
    assert not page.exists()
    assert "n-shot differs" in invoke("report", table, "-o", page, INSIST).stderr
    head = page.read_text().partition("<main>")[0]
    assert "Settings differ" in head
    assert "n-shot differs, such as 5 for" in head


def test_select_lets_tokenizers_differ(tmp_path: Path) -> None:
    """Models of different families are what it ranks; other shots it refuses."""

    def table(**odd: Any) -> Path:
        folders = []
        for number in range(8):
            change = odd if number == 7 else {}
            name = f"ckpts/m{number}-1b/step1-tokens2B"
            data = rbridge(name, 0.5 + 0.02 * number, **change)
            data["results"]["rbridge_gsm8k"]["acc,none"] = 0.5 - 0.02 * number
            folder = tmp_path / str(number)
            write_json(folder / f"results_{DATE}.json", data)
            folders.append(folder)
        return collected(tmp_path / "models.csv", *folders)

    command = ("select", "--metrics", "rbridge_nll", "--permutations", "1")
    with pytest.raises(RBridgeError) as other_reason:
        invoke(*command, table(tokenizer_eos_token=["<|end|>", "7"]))
    assert not isinstance(other_reason.value, IncomparableError)
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke(*command, table(**OTHER_SHOTS))


def test_a_table_made_by_hand_is_compared_as_it_is(tmp_path: Path) -> None:
    """Other numbers of items, and no settings: nothing is known to differ."""
    path = tmp_path / "scores.csv"
    path.write_text("run,benchmark,metric,value,n\na,gsm8k,rbridge_nll,0.5,100\nb,gsm8k,rbridge_nll,0.6,50\n")
    assert as_json("rank", path)["rankings"]


def test_a_column_of_ones_own_called_settings_is_one_line(tmp_path: Path) -> None:
    """It is not taken for what collect writes."""
    path = tmp_path / "scores.csv"
    path.write_text("run,benchmark,metric,value,settings\na,gsm8k,rbridge_nll,0.5,lr=1\nb,gsm8k,rbridge_nll,0.6,lr=2\n")
    with pytest.raises(RBridgeError, match=r"the column settings holds 'lr=1'.*rename"):
        invoke("rank", path)


def test_groups_compare_task_by_task(tmp_path: Path) -> None:
    """A group of a 5-shot and a 0-shot task is not one of a 0-shot and a 5-shot task."""
    tables = []
    for name, shots in (("a", {"t": 5, "u": 0}), ("b", {"t": 0, "u": 5})):
        data = modern(f"ckpts/{name}-1b/step1-tokens2B", {"t": {"x": 1}, "u": {"x": 1}}, **{"n-shot": shots})
        data |= {"groups": {"both": {"acc,none": 0.5}}, "group_subtasks": {"both": ["t", "u"]}}
        write_json(tmp_path / name / f"results_{DATE}.json", data)
        tables.append(tmp_path / name)
    table = collected(tmp_path / "scores.csv", *tables)
    with pytest.raises(IncomparableError, match="both acc: n-shot differs, such as t: 5, u: 0 for"):
        invoke("rank", table, "--metric", "acc", "--benchmark", "both")


def test_sampling_options_of_generation(tmp_path: Path) -> None:
    """Greedy against temperature 1, for tasks that generate."""
    folders = []
    for name, temperature in (("a", 0.0), ("b", 1.0)):
        data = modern(f"ckpts/{name}-1b/step1-tokens2B", {"gsm8k": {"exact_match,none": 0.5}})
        options = {"output_type": "generate_until", "generation_kwargs": {"temperature": temperature, "until": ["Q:"]}}
        data["configs"]["gsm8k"] |= options
        write_json(tmp_path / name / f"results_{DATE}.json", data)
        folders.append(tmp_path / name)
    table = collected(tmp_path / "scores.csv", *folders)
    with pytest.raises(IncomparableError, match=r"generation differs.*\"temperature\": 0.0.*\"temperature\": 1.0"):
        invoke("rank", table, "--metric", "exact_match")
