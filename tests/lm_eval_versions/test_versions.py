"""The real commands under each version of lm-eval that is supported: one run of every kind of task, the same numbers.

``make test-lm-eval`` installs the versions, each in a virtual environment of its own, and names these folders.
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
#: Sums of up to 64 terms of one sign, in another order, differ by less than this, relative, in float64.
ORDER_OF_SUMS = 64 * 2.0**-52
#: A float32 log-probability after two layers of width 32: a few hundred roundings of 2**-24, relative.
OTHER_BATCHES = 512 * 2.0**-24


def run(venv: Path, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module, or a script of a virtual environment, from another folder."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RBRIDGE", "PYTHON"))}
    env |= {"XDG_CACHE_HOME": str(cwd / "user-cache"), "COLUMNS": "200", "HF_ALLOW_CODE_EVAL": "1"} | environment
    name, *words = map(str, arguments)
    command = [venv / "bin" / "lm_eval"] if name == "lm_eval" else [venv / "bin" / "python", "-m", name]
    return subprocess.run([*command, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


class Evaluations:
    """What each version makes of the same checkpoint; every run is made once."""

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
        """Results and samples of a task of every kind."""
        options = ["--log_samples", "--use_cache", "answers", "--confirm_run_unsafe_code"]
        out, finished = self.of(venv, ",".join(GROUPS + OTHERS), *options)
        assert finished.returncode == 0, finished.stderr
        return out


@pytest.fixture(scope="module")
def evaluations(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluations:
    """Runs on a tiny random model."""
    return Evaluations(checkpoint, tmp_path_factory.mktemp("versions"))


@pytest.fixture(params=VENVS, ids=[venv.name for venv in VENVS])
def venv(request: pytest.FixtureRequest) -> Path:
    """Each version in turn."""
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
    return {task: sorted(found, key=lambda row: row["doc_id"]) for task, found in rows.items()}


def assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """The same keys, texts and, to a relative tolerance, numbers."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float) and isinstance(found[key], float):
            assert math.isclose(found[key], value, rel_tol=tolerance), key
        else:
            assert found[key] == value, key


def test_the_environment_has_the_version_in_its_name(venv: Path, tmp_path: Path) -> None:
    """The environments hold the versions that they are named after, whatever the main environment has."""
    code = "import importlib.metadata as m, lm_eval; print(m.version('lm_eval'), lm_eval.__version__)"
    found = subprocess.run(
        [venv / "bin" / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [venv.name.partition("lm-eval-")[2]] * 2


def test_all_versions_give_the_same_numbers(venv: Path, evaluations: Evaluations) -> None:
    """Every score and standard error of every task and group, under the same names."""
    found, expected = (results_of(evaluations.every_kind(one)) for one in (venv, VENVS[0]))
    for section in ("results", "groups"):
        assert found[section].keys() == expected[section].keys()
        for task, scores in expected[section].items():
            assert_close(found[section][task], scores, ORDER_OF_SUMS)
    for section in ("n-shot", "higher_is_better", "group_subtasks"):
        assert found[section] == expected[section]
    assert {*GROUPS, *OTHERS} <= found["results"].keys()


def test_all_versions_write_the_same_samples(venv: Path, evaluations: Evaluations) -> None:
    """The texts that are read, the responses with all token scores, and the metrics of every item."""
    found, expected = (samples_of(evaluations.every_kind(one)) for one in (venv, VENVS[0]))
    assert found.keys() == expected.keys()
    for task, rows in expected.items():
        for mine, row in zip(found[task], rows, strict=True):
            kept = ["doc_id", "doc", "arguments", "resps", "target", "filter", *row["metrics"]]
            assert {key: mine[key] for key in kept} == {key: row[key] for key in kept}, task


def test_a_second_run_takes_its_scores_from_the_cache(venv: Path, evaluations: Evaluations) -> None:
    """--use_cache: nothing is scored again, and the numbers are the same."""
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
    """Each task is scored and reported once. The task that runs code is left out, unless it is named."""
    out, finished = evaluations.of(venv, "rbridge_*")
    assert finished.returncode == 0, finished.stderr
    results = results_of(out)["results"]
    assert {"rbridge_comparators", "rbridge_proxies", "rbridge_gsm8k", "rbridge_csqa_gen"} <= results.keys()
    assert "rbridge_humaneval_gen" not in results
    assert "leaves out rbridge_humaneval_gen" in finished.stderr
    expected = results_of(evaluations.every_kind(venv))["results"]["rbridge_gsm8k"]
    assert_close(results["rbridge_gsm8k"], expected, OTHER_BATCHES)


def test_overlapping_groups_are_one_line(venv: Path, evaluations: Evaluations, tmp_path: Path) -> None:
    """A group of the user that shares a task with ours would give two results under one name."""
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
    """The model does not even exist: it is not looked at. From Python, an error that the caller can catch says it."""
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
    """collect and gate read what this version writes, and give what they give for the first version."""
    tables = []
    for number, one in enumerate((venv, VENVS[0])):
        table = tmp_path / f"{number}.csv"
        collected = run(
            venv, "rbridge_tasks", "collect", evaluations.every_kind(one), "--include-sample", "-o", table, cwd=tmp_path
        )
        assert collected.returncode == 0, collected.stderr
        tables.append([line.split(",") for line in table.read_text().splitlines()])
    mine, first = ([[row[0], *row[2:6]] for row in table] for table in tables)
    assert [row[1:] for row in mine] == [row[1:] for row in first]
    verdicts = []
    for one in (venv, VENVS[0]):
        folders = [evaluations.every_kind(one), evaluations.every_kind(VENVS[0])]
        gated = run(venv, "rbridge_tasks", "gate", *folders, "--json", "--metric", "trace_nll", cwd=tmp_path)
        compared = json.loads(gated.stdout)["benchmarks"] if gated.stdout.strip() else gated.stderr
        verdicts.append((gated.returncode, str(compared).replace(str(folders[0]), "")))
    assert verdicts[0] == verdicts[1]


def test_a_sweep(venv: Path, tmp_path: Path) -> None:
    """``rbridge sweep`` scores checkpoints by this version, and has nothing left to do in a second run."""
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
    """doctor finds nothing wrong."""
    found = run(venv, "rbridge_tasks", "doctor", cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert f"lm-eval: {venv.name.partition('lm-eval-')[2]}" in found.stdout
    assert "tasks: 6 built and scored" in found.stdout
