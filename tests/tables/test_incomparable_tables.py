"""Collected tables of different settings: refused by every command that compares them, or compared with a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.tables.comparable import IncomparableError
from rbridge_tasks.tables.score_table import read_scores, write_scores

from ..harness.lm_eval_files import modern, rbridge, write_json
from .made_evaluations import DATE, DIFFERENCES, INSIST, NLL, Change, collected, evaluation
from .made_scores import as_json, invoke


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("change", "setting", "first", "second"), DIFFERENCES)
def test_a_collected_table_keeps_settings(
    tmp_path: Path, change: Change, setting: str, first: str, second: str, suffix: str
) -> None:
    """Collect keeps incomparable rows with a warning, and commands that read its table refuse them."""
    table = collected(tmp_path / f"scores.{suffix}", evaluation(tmp_path / "a"), evaluation(tmp_path / "b", **change))
    assert len(read_scores(table)) == 4
    with pytest.raises(IncomparableError) as refused:
        invoke("rank", table)
    assert all(text in str(refused.value) for text in (setting, first, second, INSIST))
    notes = as_json("rank", table, INSIST)["notes"]
    assert any(setting in note and first in note and second in note for note in notes)


def test_rank_compares_the_samples_too(tmp_path: Path) -> None:
    """A handmade table has no settings; the results files beside the samples have."""
    a, b = evaluation(tmp_path / "a"), evaluation(tmp_path / "b", chat_template_sha="abc")
    value = float(np.mean(NLL))
    rows = [
        {"run": run, "params": 1e9, "tokens": 2e9, "benchmark": "gsm8k", "metric": "rbridge_nll", "value": value}
        for run in ("a", "b")
    ]
    table = tmp_path / "scores.csv"
    write_scores(pd.DataFrame(rows), table)
    assert as_json("rank", table)["rankings"]
    sample_options = ("--samples", f"a={a}", "--samples", f"b={b}")
    with pytest.raises(IncomparableError, match="chat template differs, such as none for a and abc for b"):
        invoke("rank", table, *sample_options)
    assert any("chat template" in note for note in as_json("rank", table, *sample_options, INSIST)["notes"])


def test_runs_at_other_sizes_are_not_compared_by_rank(tmp_path: Path) -> None:
    """Rank compares candidates of equal params and tokens; settings of other sizes do not matter."""
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
    """A table of a small and a large model at eight checkpoints of two runs; one last checkpoint has other settings."""

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
    """And predict compares the settings of new scores with those of the fitted scores."""
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
    """And with --fit also the settings of the fitted proxy scores."""
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
    """In both modes of compare."""
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
    """The difference is in the head of the page."""
    table, page = runs(**OTHER_SHOTS), tmp_path / "report.html"
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke("report", table, "-o", page)
    assert not page.exists()
    assert "n-shot differs" in invoke("report", table, "-o", page, INSIST).stderr
    head = page.read_text().partition("<main>")[0]
    assert "Settings differ" in head
    assert "n-shot differs, such as 5 for" in head


def test_select_lets_tokenizers_differ(tmp_path: Path) -> None:
    """Select ranks models of different families; different shots are refused."""

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
    with pytest.raises(RBridgeError) as error:
        invoke(*command, table(tokenizer_eos_token=["<|end|>", "7"]))
    assert not isinstance(error.value, IncomparableError)
    with pytest.raises(IncomparableError, match="n-shot differs"):
        invoke(*command, table(**OTHER_SHOTS))


def test_a_table_made_by_hand_is_compared_as_it_is(tmp_path: Path) -> None:
    """It has different numbers of items and no settings, so no difference is known."""
    path = tmp_path / "scores.csv"
    path.write_text("run,benchmark,metric,value,n\na,gsm8k,rbridge_nll,0.5,100\nb,gsm8k,rbridge_nll,0.6,50\n")
    assert as_json("rank", path)["rankings"]


def test_a_user_column_called_settings_is_one_line(tmp_path: Path) -> None:
    """It is not taken for the column that collect writes."""
    path = tmp_path / "scores.csv"
    path.write_text("run,benchmark,metric,value,settings\na,gsm8k,rbridge_nll,0.5,lr=1\nb,gsm8k,rbridge_nll,0.6,lr=2\n")
    with pytest.raises(RBridgeError, match=r"the column settings holds 'lr=1'.*rename"):
        invoke("rank", path)


def test_groups_compare_task_by_task(tmp_path: Path) -> None:
    """A group of a 5-shot and a 0-shot task differs from one with the shots exchanged."""
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
    """Greedy decoding against temperature 1, for tasks that generate."""
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
