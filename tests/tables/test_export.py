"""Results in the formats of Every Eval Ever and of the Hub hold what the files state and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import rbridge_tasks as rb
from rbridge_metrics import RBridgeError

from ..harness.lm_eval_files import early, modern, rbridge, write_json
from .every_eval_ever_schema import RECORD

DATED = "results_2024-05-01T10-00-00.000000.json"
OURS: dict[str, Any] = {"organization": "Our lab", "relationship": "third_party"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A proxy on the Hub at one revision, a target of lm-eval's own task, and a checkpoint in a folder."""
    folder = tmp_path / "out"
    write_json(folder / "1" / DATED, rbridge("EleutherAI/pythia-160m", 0.75, revision="step1000"))
    target: dict[str, dict[str, object]] = {
        "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.02},
        "odd": {"surprise,none": 1.0, "known_to_the_file,none": 2.0},
    }
    data = modern("org/target-13b", target, higher_is_better={"odd": {"known_to_the_file": False}})
    data["configs"]["gsm8k"] |= {"dataset_path": "openai/gsm8k", "dataset_name": "main", "test_split": "test"}
    write_json(folder / "2" / DATED, data)
    write_json(folder / "3" / DATED, rbridge("ckpts/dclm-97.9M/step1-tokens1B", 0.5))
    write_json(folder / "4" / DATED, rbridge("org/other", 0.5, traces={"sample": True}))
    return folder


def records(exported: rb.Exported) -> dict[str, dict[str, Any]]:
    """The records by the model's identifier and benchmark."""
    read = [json.loads(path.read_text(encoding="utf-8")) for path in exported.files]
    return {record["evaluation_id"].rpartition("/")[0]: record for record in read}


def test_records_fit_the_schema_and_the_folders_of_the_store(out: Path, tmp_path: Path) -> None:
    """Valid files named by a UUID of version 4; a second export writes the same files."""
    folder = tmp_path / "eee"
    exported = rb.export(out, folder, to="every-eval-ever", developer="us", **OURS)
    for path in exported.files:
        jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), RECORD)
        benchmark, developer, model, name = path.relative_to(folder / "data").parts
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json", name)
        assert f"{benchmark}/{developer}/{model}" in records(exported)
    assert {*records(exported)} == {
        "gsm8k/EleutherAI/pythia-160m", "gsm8k/org/target-13b", "odd/org/target-13b",
        "gsm8k/us/dclm-97.9M_step1-tokens1B",
    }  # fmt: skip
    assert not any("ckpts" in path.read_text(encoding="utf-8") for path in exported.files)  # the path of a machine
    repeated = rb.export(out, folder, to="every-eval-ever", developer="us", **OURS)
    assert {*repeated.files} == {*exported.files} == {*folder.rglob("*.json")}


def test_scores_keep_their_direction_unit_bounds_and_errors(out: Path, tmp_path: Path) -> None:
    """Losses have their direction; value, error and number of items are those of the results file."""
    exported = records(rb.export(out, tmp_path, to="every-eval-ever", **OURS))
    proxy = exported["gsm8k/EleutherAI/pythia-160m"]
    first, second = proxy["evaluation_results"]
    assert first["metric_config"]["lower_is_better"] is second["metric_config"]["lower_is_better"] is True
    assert (first["metric_config"]["min_score"], first["metric_config"]["max_score"]) == (0, "Infinity")
    assert first["metric_config"]["metric_unit"] == "nats per token"
    assert first["score_details"] == {
        "score": 0.75, "uncertainty": {"standard_error": {"value": 0.01}, "num_samples": 50}
    }  # fmt: skip
    assert second["score_details"] == {"score": 1.75, "uncertainty": {"num_samples": 50}}
    assert first["source_data"]["source_type"] == "other"
    assert first["generation_config"]["additional_details"]["confidence model"] == "gpt-4o"
    assert proxy["model_info"]["additional_details"]["revision"] == "step1000"
    assert (proxy["eval_library"]["version"], proxy["evaluation_timestamp"]) == ("0.4.13", "1700000000")

    (target,) = exported["gsm8k/org/target-13b"]["evaluation_results"]
    config = target["metric_config"]
    assert (config["lower_is_better"], config["metric_unit"], config["max_score"]) == (False, "proportion", 1)
    assert target["source_data"] == {
        "dataset_name": "gsm8k", "source_type": "hf_dataset", "hf_repo": "openai/gsm8k", "hf_config": "main",
        "hf_split": "test",
    }  # fmt: skip
    (odd,) = exported["odd/org/target-13b"]["evaluation_results"]
    assert (odd["metric_config"]["metric_name"], odd["metric_config"]["lower_is_better"]) == ("known_to_the_file", True)
    assert "score_type" not in odd["metric_config"]


def test_what_a_file_does_not_state_is_left_out(tmp_path: Path) -> None:
    """Results of lm-eval 0.4.0 have neither version nor date."""
    data = early("pretrained=org/model", {"piqa": {"acc,none": 0.5, "acc_stderr,none": "N/A"}})
    path = write_json(tmp_path / "results.json", data)
    (record,) = records(rb.export(path, tmp_path / "eee", to="every-eval-ever", **OURS)).values()
    jsonschema.validate(record, RECORD)
    assert record["eval_library"]["version"] == "unknown"
    assert "evaluation_timestamp" not in record
    assert record["evaluation_results"][0]["score_details"] == {"score": 0.5}
    exported = rb.export(path, tmp_path / "hub", to="eval-results", datasets={"piqa": "org/piqa:test"})
    assert "date" not in yaml.safe_load(exported.files[0].read_text(encoding="utf-8"))[0]


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_path_without_a_name_is_left_out(tmp_path: Path, path: str) -> None:
    """No name can be made of it, whoever owns the model."""
    results = write_json(tmp_path / DATED, rbridge(path, 0.5))
    with pytest.raises(RBridgeError, match=r"2 scores left out: of a model given as the path .* holds no name"):
        rb.export(results, tmp_path / "out", to="every-eval-ever", developer="us", **OURS)


def test_a_lone_surrogate_is_written_as_json_spells_it(tmp_path: Path) -> None:
    """UTF-8 cannot encode it otherwise; in the name of a folder, other characters stand for it."""
    data = rbridge("org/model", 0.5, tokenizer_eos_token="a\ud800")
    data["results"]["b\ud800"] = {"acc,none": 0.5}
    exported = rb.export(write_json(tmp_path / DATED, data), tmp_path / "out", to="every-eval-ever", **OURS)
    first, second = records(exported).values()
    assert "a\ud800" in first["evaluation_results"][0]["generation_config"]["additional_details"]["tokenizer"]
    assert second["evaluation_results"][0]["evaluation_name"] == "b\ud800"


@pytest.mark.parametrize("name", [[], {"a": 1}, None])
def test_an_engine_that_is_no_text_is_unknown(tmp_path: Path, name: object) -> None:
    """Nothing is said of how the model was run."""
    data = rbridge("org/model", 0.5)
    data["config"]["model"] = name
    exported = rb.export(write_json(tmp_path / DATED, data), tmp_path / "out", to="every-eval-ever", **OURS)
    (record,) = records(exported).values()
    assert record["model_info"]["additional_details"]["deployment_type"] == "unknown"
    assert "inference_engine" not in record["model_info"]


def test_a_date_in_another_unit_is_that_of_the_file_name(tmp_path: Path) -> None:
    """Milliseconds, read as seconds, lie after the year 9999."""
    results = write_json(tmp_path / DATED, rbridge("org/model", 0.5, date=1.7e12))
    options: dict[str, Any] = {"metrics": ["rbridge_nll"], "datasets": {"gsm8k": "openai/gsm8k:gsm8k"}}
    (path,) = rb.export(results, tmp_path / "hub", to="eval-results", **options).files
    assert yaml.safe_load(path.read_text(encoding="utf-8"))[0]["date"].startswith(("2024-04-30", "2024-05-01"))


def test_each_reason_to_leave_scores_out_has_a_line(out: Path, tmp_path: Path) -> None:
    """The line names the option that would include the scores, if there is one."""
    exported = rb.export(out, tmp_path, to="every-eval-ever", **OURS)
    assert exported.scores == 4
    assert sorted(line.partition(" ")[0] for line in exported.left_out) == ["1", "2", "2"]
    text = "\n".join(exported.left_out)
    assert all(part in text for part in ("--include-sample", "--developer", "surprise"))


def test_entries_of_the_hub_are_read_back_by_its_library(out: Path, tmp_path: Path) -> None:
    """One value per benchmark, the latest; the notes name the metric and its direction."""
    later = rbridge("EleutherAI/pythia-160m", 0.7, revision="step1000", date=1700000001.0)
    write_json(out / "5" / DATED, later)
    exported = rb.export(
        out, tmp_path / "hub", to="eval-results", metrics=["rbridge_nll"], source_url="https://example.org/run",
        datasets={"gsm8k": "openai/gsm8k:gsm8k@abc"},
    )  # fmt: skip
    (path,) = exported.files
    assert path == tmp_path / "hub/EleutherAI/pythia-160m@step1000/.eval_results/gsm8k.yaml"
    (entry,) = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "rbridge_nll" in entry["notes"]
    assert "lower is better" in entry["notes"]
    assert {name: entry[name] for name in ("dataset", "value", "date", "source")} == {
        "dataset": {"id": "openai/gsm8k", "task_id": "gsm8k", "revision": "abc"},
        "value": 0.7,
        "date": "2023-11-14T22:13:21Z",
        "source": {"url": "https://example.org/run"},
    }
    huggingface_hub = pytest.importorskip("huggingface_hub", minversion="1.4")
    (read,) = huggingface_hub.parse_eval_result_entries([entry])
    assert (read.dataset_id, read.task_id, read.value) == ("openai/gsm8k", "gsm8k", 0.7)
    assert huggingface_hub.eval_result_entries_to_yaml([read]) == [entry]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "every-eval-ever", "relationship": "other"}, "--organization"),
        ({"to": "every-eval-ever", "organization": "us", "relationship": "friend"}, "--relationship"),
        ({"to": "every-eval-ever", "developer": "../us", **OURS}, "--developer"),
        ({"to": "every-eval-ever", "metrics": ["bleu"], **OURS}, "no score of the metric bleu"),
        ({"to": "eval-results"}, "--dataset BENCHMARK=OWNER/NAME:TASK"),
        ({"to": "eval-results", "datasets": {"gsm8k": "gsm8k"}}, "OWNER/NAME:TASK"),
        ({"to": "eval-results", "datasets": {"gsm8k": "openai/gsm8k:main"}}, "--metric"),
        ({"to": "leaderboard"}, "every-eval-ever or eval-results"),
    ],
)
def test_missing_or_bad_options_are_refused(out: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """The message names the option that the format requires; nothing is written."""
    with pytest.raises(RBridgeError, match=re.escape(message)) as error:
        rb.export(out, tmp_path / "made", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


def test_a_score_table_cannot_be_exported(tmp_path: Path) -> None:
    """It does not state when and with which version its scores were measured."""
    with pytest.raises(RBridgeError, match="collected from"):
        rb.export(tmp_path / "scores.csv", tmp_path, to="every-eval-ever", **OURS)
