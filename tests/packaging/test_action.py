"""The GitHub Action: valid, safe against shell text in inputs, with steps that work as plain shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..tables.made_scores import row, table
from .composite_steps import Ran, run_action

PROJECT = Path(__file__).parents[2]
ACTION, WORKFLOW = PROJECT / "action.yml", PROJECT / "examples" / "workflows" / "gate-checkpoint.yml"
BIN = Path(sys.executable).parent
SAMPLE = {"metadata": '{"rbridge_weights": "spans"}', "traces": "sample", "num-fewshot": "0", "batch-size": "4"}

pytestmark = pytest.mark.slow
Action = Callable[..., Ran]


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    """Content of action.yml."""
    content: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def action(definition: dict[str, Any], warm_commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Action:
    """Run the action with given inputs; by default rbridge-tasks is installed already."""
    root = tmp_path_factory.mktemp("runner")
    usual = {"PATH": f"{warm_commands}:{BIN}:{os.environ['PATH']}"}
    numbers = iter(range(1000))

    def run(environment: dict[str, str] | None = None, **inputs: str) -> Ran:
        given = {"install": "false", **{name.replace("_", "-"): value for name, value in inputs.items()}}
        folder = root / f"job{next(numbers)}"
        return run_action(definition, folder, given, home=PROJECT, environment=usual | (environment or {}))

    return run


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two random Llamas: one has nearly uniform predictions, the other one is confident of wrong tokens."""
    from ..support import byte_level, tiny_model

    tokenizer, folders = byte_level(), {}
    for name, spread in (("better", 0.01), ("worse", 0.4)):
        folders[name] = tmp_path_factory.mktemp("checkpoints") / name
        tiny_model("llama", len(tokenizer), initializer_range=spread).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def improvement(action: Action, checkpoints: dict[str, Path]) -> Ran:
    """The better checkpoint against the worse one, both evaluated by the action on two benchmarks."""
    sides = {"checkpoint": str(checkpoints["better"]), "baseline": str(checkpoints["worse"])}
    return action(**sides, tasks="rbridge_gsm8k,rbridge_csqa", **{k.replace("-", "_"): v for k, v in SAMPLE.items()})


@pytest.mark.parametrize(("schema", "file"), [("actions", ACTION), ("workflows", WORKFLOW)])
def test_the_files_match_githubs_schema(schema: str, file: Path) -> None:
    """The schema is the one in check-jsonschema."""
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", f"vendor.github-{schema}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", [ACTION, WORKFLOW])
def test_inputs_are_never_part_of_a_script(file: Path) -> None:
    """Scripts read inputs from environment variables only: no script has an expression."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    steps = (
        data["runs"]["steps"] if "runs" in data else [step for job in data["jobs"].values() for step in job["steps"]]
    )
    scripts = [step["run"] for step in steps if "run" in step]
    assert scripts
    assert not any("${{" in script for script in scripts)


def test_the_workflow_uses_inputs_and_outputs_of_the_action(definition: dict[str, Any]) -> None:
    """The inputs exist, required ones are given, and the outputs exist."""
    text = WORKFLOW.read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    (step,) = [step for step in steps if "rbridge-tasks" in step.get("uses", "")]
    assert step["with"].keys() <= definition["inputs"].keys()
    required = {name for name, entry in definition["inputs"].items() if entry.get("required")}
    assert required <= step["with"].keys()
    assert all(
        f"steps.gate.outputs.{name}" in text and name in definition["outputs"] for name in ("current", "results")
    )


def test_a_checkpoint_that_is_better_passes(improvement: Ran) -> None:
    """Both checkpoints are evaluated, the verdict is an output, and there are a summary and JUnit XML."""
    assert improvement.code == 0, improvement.log
    assert improvement.outputs["verdict"] == "passed"
    assert "### rBridge gate: passed" in improvement.summary
    suite = ET.parse(improvement.outputs["junit"]).getroot()  # noqa: S314  # the command wrote it
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    assert [*Path(improvement.outputs["current"]).rglob("samples_rbridge_gsm8k_*.jsonl")]


def test_a_regression_fails_the_job(action: Action, improvement: Ran) -> None:
    """With the sides exchanged the exit code is 1; existing evaluations are used again."""
    results = Path(improvement.outputs["results"])
    ran = action(checkpoint=str(results / "baseline"), baseline=str(results / "current"), benchmarks="gsm8k")
    assert (ran.code, ran.outputs["verdict"]) == (1, "regressed"), ran.log
    assert "### rBridge gate: failed: significantly worse than the baseline: gsm8k" in ran.summary
    suite = ET.parse(ran.outputs["junit"]).getroot()  # noqa: S314  # the command wrote it
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")


def test_a_run_is_gated_by_its_own_forecast(action: Action, tmp_path: Path) -> None:
    """The forecast comes from a score table with several runs, of which one is named."""
    curves = {"good": 1.0, "bad": 1.05}
    rows = [
        row(run, (0.6 + 0.4 * k**-0.4 + 0.001 * (-1) ** k) * (last if k == 9 else 1), size=(1e9, k * 1e11))
        for run, last in curves.items()
        for k in range(1, 10)
    ]
    scores = str(table(tmp_path / "scores.parquet", rows))
    verdicts = {run: action(checkpoint=scores, forecast=scores, run=run).outputs["verdict"] for run in curves}
    assert verdicts == {"good": "passed", "bad": "regressed"}
    ran = action(checkpoint=scores, forecast=scores, run="good", tokens="300B")
    assert (ran.code, ran.outputs["verdict"]) == (2, "error")
    assert "needs at least 4" in ran.log


def test_missing_or_contradictory_inputs_are_an_error(
    action: Action, improvement: Ran, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Exit code 2, the verdict "error", and the reason in the summary."""
    evaluated = improvement.outputs["current"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused = [
        ({"checkpoint": evaluated}, "nothing to compare with"),
        ({"checkpoint": evaluated, "baseline": evaluated, "forecast": evaluated}, "both a baseline and a forecast"),
        ({"checkpoint": "", "baseline": evaluated}, "no checkpoint"),
        ({"checkpoint": "gpt2,trust_remote_code=True", "baseline": evaluated}, "holds a comma"),
        ({"checkpoint": evaluated, "baseline": evaluated, "results": str(tmp_path / "full")}, "holds files already"),
        ({"checkpoint": evaluated, "baseline": evaluated, "metric": "surprise"}, "nothing was judged"),
        ({"checkpoint": evaluated, "baseline": str(tmp_path / "none"), "tasks": "rbridge_csqa"}, "could not evaluate"),
    ]
    for inputs, message in refused:
        ran = action(**inputs)
        assert (ran.code, ran.outputs["verdict"]) == (2, "error"), ran.log
        assert message in ran.summary


def test_inputs_are_not_executed(action: Action, improvement: Ran, tmp_path: Path) -> None:
    """Quotes, substitutions and options in an input are part of an unknown name."""
    evaluated = improvement.outputs["current"]
    for text in (f"$(touch {tmp_path}/made)", f'"; touch {tmp_path}/made; "', "--help"):
        ran = action(checkpoint=evaluated, baseline=evaluated, benchmarks=text)
        assert ran.code == 2, ran.log
    assert not (tmp_path / "made").exists()


def test_the_action_installs_itself(action: Action, improvement: Ran, tmp_path: Path) -> None:
    """It installs the package from its own folder; in this test without dependencies, into a separate folder."""
    pip = {"PIP_TARGET": str(tmp_path / "site"), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    evaluated = improvement.outputs["current"]
    ran = action(pip, checkpoint=evaluated, baseline=evaluated, install="true")
    assert ran.code == 0, ran.log
    metadata = next((tmp_path / "site").glob("rbridge_tasks-*.dist-info"))
    assert "direct_url.json" in [file.name for file in metadata.iterdir()]
    assert PROJECT.as_posix() in json.loads((metadata / "direct_url.json").read_text())["url"]
