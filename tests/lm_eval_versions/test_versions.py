"""The real commands under each supported version of lm-eval: tasks of every kind give the same numbers.

``make test-lm-eval`` installs each version in its own virtual environment and lists the environments' folders.
"""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..sweeping.sweeps import write_checkpoints

VENVS = [Path(folder) for folder in os.environ.get("RBRIDGE_LM_EVAL_VENVS", "").split()]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not VENVS, reason="RBRIDGE_LM_EVAL_VENVS names no environments; run make test-lm-eval"),
]

GROUPS = ["rbridge", "rbridge_proxies"]
OTHERS = [  # the first is also in a group
    "rbridge_gsm8k", "rbridge_gsm8k_gold", "rbridge_humaneval_gold", "rbridge_math500_scb", "rbridge_arc_challenge_cf",
    "rbridge_csqa_gen", "rbridge_math500_gen", "rbridge_humaneval_gen",
]  # fmt: skip
OPTIONS = {"rbridge_cache": "sample", "rbridge_weights": "spans"}
SETTINGS = ["--limit", "2", "--num_fewshot", "1", "--batch_size", "2", "--gen_kwargs", '{"max_gen_toks": 8}']
#: Bound on the relative difference of float64 sums of up to 64 terms of one sign in another order.
ORDER_OF_SUMS = 64 * 2.0**-52
#: Relative bound for float32 log-probabilities after two layers of width 32: a few hundred roundings of 2**-24.
OTHER_BATCHES = 512 * 2.0**-24


def run(venv: Path, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module, or a script of a virtual environment, from another folder."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RBRIDGE", "PYTHON"))}
    env |= {"XDG_CACHE_HOME": str(cwd / "user-cache"), "COLUMNS": "200", "HF_ALLOW_CODE_EVAL": "1"} | environment
    name, *words = map(str, arguments)
    command = [venv / "bin" / "lm_eval"] if name == "lm_eval" else [venv / "bin" / "python", "-m", name]
    return subprocess.run([*command, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


class Evaluations:
    """Results of each version for the same checkpoint; every command runs once."""

    def __init__(self, checkpoint: Path, home: Path) -> None:
        self.checkpoint, self.home = checkpoint, home

    @functools.cache  # noqa: B019  # lives as long as the tests of this module
    def of(self, venv: Path, tasks: str, *options: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        """Folder of the results of ``lm_eval --tasks TASKS``, and the finished process."""
        cwd = self.home / venv.name
        out = cwd / f"out-{len(list(cwd.glob('out-*')))}"
        out.mkdir(parents=True)
        model = ["--model", "hf", "--model_args", f"pretrained={self.checkpoint}", *SETTINGS]
        more = ["--metadata", json.dumps(OPTIONS), "--output_path", str(out), *options]
        return out, run(venv, "lm_eval", *model, "--tasks", tasks, *more, cwd=cwd)

    def every_kind(self, venv: Path) -> Path:
        """Folder of the results and samples of tasks of every kind."""
        options = ["--log_samples", "--use_cache", "answers", "--confirm_run_unsafe_code"]
        out, finished = self.of(venv, ",".join(GROUPS + OTHERS), *options)
        assert finished.returncode == 0, finished.stderr
        return out


@pytest.fixture(scope="module")
def evaluations(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluations:
    """Evaluations of a tiny random model."""
    return Evaluations(checkpoint, tmp_path_factory.mktemp("versions"))


@pytest.fixture(params=VENVS, ids=[venv.name for venv in VENVS])
def venv(request: pytest.FixtureRequest) -> Path:
    """The virtual environment of each version."""
    folder: Path = request.param
    return folder


def results_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("results_*.json")
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def samples_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Samples of every task in the order of the documents."""
    files = {file.name.removeprefix("samples_").rpartition("_")[0]: file for file in folder.rglob("samples_*.jsonl")}
    rows = {task: [json.loads(line) for line in file.read_text().splitlines()] for task, file in files.items()}
    return {task: sorted(samples, key=lambda row: row["doc_id"]) for task, samples in rows.items()}


def assert_close(scores: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Assert that keys and texts are equal, and numbers equal to a relative tolerance."""
    assert scores.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float) and isinstance(scores[key], float):
            assert math.isclose(scores[key], value, rel_tol=tolerance), key
        else:
            assert scores[key] == value, key


def test_the_environment_has_the_version_in_its_name(venv: Path, tmp_path: Path) -> None:
    """Each environment holds the version in its name, not that of the main environment."""
    code = "import importlib.metadata as m, lm_eval; print(m.version('lm_eval'), lm_eval.__version__)"
    process = subprocess.run(
        [venv / "bin" / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == [venv.name.partition("lm-eval-")[2]] * 2


def test_all_versions_give_the_same_numbers(venv: Path, evaluations: Evaluations) -> None:
    """Scores and standard errors of all tasks and groups agree, under the same names."""
    results, expected = (results_of(evaluations.every_kind(version)) for version in (venv, VENVS[0]))
    for section in ("results", "groups"):
        assert results[section].keys() == expected[section].keys()
        for task, task_scores in expected[section].items():
            assert_close(results[section][task], task_scores, ORDER_OF_SUMS)
    for section in ("n-shot", "higher_is_better", "group_subtasks"):
        assert results[section] == expected[section]
    assert {*GROUPS, *OTHERS} <= results["results"].keys()


def test_all_versions_write_the_same_samples(venv: Path, evaluations: Evaluations) -> None:
    """Texts, responses with all token scores, and metrics of every item are equal."""
    samples, expected = (samples_of(evaluations.every_kind(version)) for version in (venv, VENVS[0]))
    assert samples.keys() == expected.keys()
    for task, rows in expected.items():
        for sample, row in zip(samples[task], rows, strict=True):
            fields = ["doc_id", "doc", "arguments", "resps", "target", "filter", *row["metrics"]]
            assert {key: sample[key] for key in fields} == {key: row[key] for key in fields}, task


def test_a_second_run_takes_its_scores_from_the_cache(venv: Path, evaluations: Evaluations) -> None:
    """With --use_cache nothing is scored again, and the results are equal."""
    first = evaluations.every_kind(venv)
    options = ["--log_samples", "--use_cache", "answers"]
    out, finished = evaluations.of(venv, "rbridge,rbridge_arc_challenge_cf", *options)
    assert finished.returncode == 0, finished.stderr
    before = results_of(first)["results"]
    assert results_of(out)["results"] == {task: before[task] for task in results_of(out)["results"]}
    assert (evaluations.home / venv.name / "answers_rbridge").is_dir()
    assert ", 0 are scored" in finished.stderr
    assert "Requests remaining: 0" in finished.stderr


def test_a_pattern_that_selects_groups_and_their_members(venv: Path, evaluations: Evaluations) -> None:
    """Each task is scored and reported once. The task that runs code is left out unless it is named."""
    out, finished = evaluations.of(venv, "rbridge_*")
    assert finished.returncode == 0, finished.stderr
    results = results_of(out)["results"]
    assert {"rbridge_comparators", "rbridge_proxies", "rbridge_gsm8k", "rbridge_csqa_gen"} <= results.keys()
    assert "rbridge_humaneval_gen" not in results
    assert "leaves out rbridge_humaneval_gen" in finished.stderr
    expected = results_of(evaluations.every_kind(venv))["results"]["rbridge_gsm8k"]
    assert_close(results["rbridge_gsm8k"], expected, OTHER_BATCHES)


def test_overlapping_groups_are_one_line(venv: Path, evaluations: Evaluations, tmp_path: Path) -> None:
    """A user's group that shares a task with ours would give two results under one name."""
    (tmp_path / "mine.yaml").write_text("group: mine\ntask:\n  - task: rbridge_gsm8k\n    num_fewshot: 0\n")
    _, finished = evaluations.of(venv, "rbridge,mine", "--include_path", str(tmp_path))
    assert finished.returncode != 0
    assert "Traceback" not in finished.stderr
    assert finished.stderr.strip().splitlines()[-1].startswith("rbridge: error: rbridge_gsm8k is selected twice")


def test_predictions_without_metrics(venv: Path, evaluations: Evaluations) -> None:
    """--predict_only writes responses and no metrics, for every kind of task."""
    tasks = "rbridge_gsm8k,rbridge_proxies_csqa,rbridge_csqa_gold,rbridge_csqa_cf,rbridge_csqa_gen"
    out, finished = evaluations.of(venv, tasks, "--predict_only")
    assert finished.returncode == 0, finished.stderr
    samples = samples_of(out)
    assert samples.keys() == set(tasks.split(","))
    assert all(row["resps"] and not set(row["metrics"]) - {"bypass"} for rows in samples.values() for row in rows)


@pytest.mark.parametrize(
    "metadata", ['{"rbridge_wieghts": "none"}', '{"rbridge_cache": 12}', '{"rbridge_source": true}']
)
def test_wrong_options_are_one_line_before_the_model_is_loaded(venv: Path, tmp_path: Path, metadata: str) -> None:
    """The model does not exist and is not opened. In Python the same message is an exception."""
    model = ["--model", "hf", "--model_args", "pretrained=/no/such/model", "--tasks", "rbridge_gsm8k"]
    finished = run(venv, "lm_eval", *model, "--metadata", metadata, cwd=tmp_path)
    assert finished.returncode != 0
    assert "Traceback" not in finished.stderr
    assert "/no/such/model" not in finished.stderr
    (last,) = finished.stderr.strip().splitlines()[-1:]
    assert last.startswith("rbridge: error: ")
    code = (
        "import json, sys; from lm_eval import simple_evaluate\n"
        "simple_evaluate('hf', 'pretrained=/no/such/model', tasks=['rbridge_gsm8k'], metadata=json.loads(sys.argv[1]))"
    )
    (tmp_path / "call.py").write_text(code)
    called = run(venv, "call", metadata, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert called.returncode != 0
    assert called.stderr.strip().splitlines()[-1].endswith(last.removeprefix("rbridge: error: "))


def test_the_commands_that_read_results(venv: Path, evaluations: Evaluations, tmp_path: Path) -> None:
    """``collect`` and ``gate`` read the files of this version with the same output as for the first version."""
    tables = []
    for number, version in enumerate((venv, VENVS[0])):
        table = tmp_path / f"{number}.csv"
        folder = evaluations.every_kind(version)
        collected = run(venv, "rbridge_tasks", "collect", folder, "--include-sample", "-o", table, cwd=tmp_path)
        assert collected.returncode == 0, collected.stderr
        tables.append([line.split(",") for line in table.read_text().splitlines()])
    mine, first = ([[row[0], *row[2:6]] for row in table] for table in tables)
    assert [row[1:] for row in mine] == [row[1:] for row in first]
    verdicts = []
    for version in (venv, VENVS[0]):
        folders = [evaluations.every_kind(version), evaluations.every_kind(VENVS[0])]
        gated = run(venv, "rbridge_tasks", "gate", *folders, "--json", "--metric", "trace_nll", cwd=tmp_path)
        compared = json.loads(gated.stdout)["benchmarks"] if gated.stdout.strip() else gated.stderr
        verdicts.append((gated.returncode, str(compared).replace(str(folders[0]), "")))
    assert verdicts[0] == verdicts[1]


def test_a_sweep(venv: Path, tmp_path: Path) -> None:
    """``rbridge sweep`` scores checkpoints with this version; a second run scores nothing."""
    runs = write_checkpoints(tmp_path / "run", range(1, 3))
    words = ["sweep", runs, "-o", tmp_path / "out", "--tasks", "rbridge_gsm8k,rbridge_csqa_cf", "--limit", "2"]
    words += ["--num-fewshot", "1", "--metadata", json.dumps(OPTIONS), "--include-sample", "--json"]
    for left in (2, 0):
        swept = run(venv, "rbridge_tasks", *words, cwd=tmp_path)
        assert swept.returncode == 0, swept.stderr
        assert json.loads(swept.stdout)["scored"] == left, swept.stdout
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert sum("rbridge_nll" in row for row in rows) == 2


def test_doctor_builds_a_task(venv: Path, tmp_path: Path) -> None:
    """``doctor`` reports no problem."""
    process = run(venv, "rbridge_tasks", "doctor", cwd=tmp_path)
    assert process.returncode == 0, process.stdout
    assert f"lm-eval: {venv.name.partition('lm-eval-')[2]}" in process.stdout
    assert "tasks: 6 built and scored" in process.stdout
