"""The tasks ``rbridge_proxies_*``: requests, reported metrics, and one forward pass for both groups."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import evaluator_utils
from lm_eval.api import metrics as lm_eval_metrics
from lm_eval.api.registry import get_aggregation
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from rbridge_metrics import PROXIES, TokenScores, proxy_scores_of_traces
from rbridge_tasks.backends import hf
from rbridge_tasks.frequencies.frequency_file import FrequencyFileError, read_frequencies
from rbridge_tasks.harness import patches, proxy_metrics
from rbridge_tasks.harness.proxy_metrics import BY_TRACE_TOKENS, TokenRanks
from rbridge_tasks.harness.requests import token_scores
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.harness.trace_docs import TaskOptionError
from rbridge_tasks.tables.catalogue import REPORTED_PROXIES
from rbridge_tasks.tables.score_table import read_scores
from rbridge_traces import BENCHMARKS

from ..error_bounds import assert_within, model_bound
from ..tables.made_scores import as_json
from .made_traces import VOCABULARY, made_scores


def load(*names: str, **options: object) -> dict[str, Any]:
    """Load tasks by name, over the sample."""
    metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"} | options
    manager = TaskManager(metadata=metadata, include_path=str(TASKS_PATH), include_defaults=False)
    return dict(manager.load([*names])["tasks"])


def model(checkpoint: Path) -> HFLM:
    return HFLM(pretrained=str(checkpoint), device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def frequency_file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frequencies of a small corpus under the checkpoint's tokenizer."""
    folder = tmp_path_factory.mktemp("frequencies")
    (folder / "a.txt").write_text("The sum of 12 and 30 is 42, so the answer is 42.\n" * 9)
    as_json("frequencies", folder, "--tokenizer", checkpoint, "-o", folder / "f.parquet", "--processes", 1)
    return folder / "f.parquet"


def test_every_benchmark_has_a_task_and_the_group_holds_all_six() -> None:
    """As with ``rbridge``; each task reports the five chosen proxies with the direction that score tables use."""
    tasks = load("rbridge_proxies")
    assert set(tasks) == {f"rbridge_proxies_{benchmark}" for benchmark in BENCHMARKS}
    for task in tasks.values():
        assert tuple(task.aggregation()) == REPORTED_PROXIES
        ways = {name: not higher for name, higher in task.higher_is_better().items()}
        assert ways == {name: PROXIES[name].lower_is_better for name in REPORTED_PROXIES}
        assert task.config.metadata["rbridge_token_counts"] == "the scored traces"


def test_both_tasks_of_a_benchmark_share_one_forward_pass(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair is scored once, in any order of requests; every request gets its own object."""
    scored: list[str] = []
    score = hf.score

    def counted(lm: Any, pairs: Any, labels: Any) -> Any:
        scored.extend(labels)
        return score(lm, pairs, labels)

    monkeypatch.setattr(hf, "BACKEND", replace(hf.BACKEND, score=counted))
    tasks = load("rbridge_csqa", "rbridge_proxies_csqa").values()
    for task in tasks:
        task.set_config("num_fewshot", 1)
        task.build_all_requests(limit=3)
    first, second = ([*task.instances] for task in tasks)
    mixed = [first[0], second[2], second[0], first[1], second[1], first[2], first[2]]
    answers = token_scores(model(checkpoint), mixed)
    assert len(scored) == len(set(scored)) == 3
    assert len({id(answer) for answer in answers}) == len(mixed)
    alone = {request.args: token_scores(model(checkpoint), [request])[0] for request in first}
    for request, answer in zip(mixed, answers, strict=True):
        assert answer.token_id.tolist() == alone[request.args].token_id.tolist()
        expected = alone[request.args].logprob
        assert_within(answer.logprob, expected, model_bound(expected))
    answers[0].confidence = np.ones(3, np.float32)
    assert answers[2].confidence is None


def test_no_requests_are_no_answers(checkpoint: Path) -> None:
    """A rank without requests gets an empty list."""
    assert token_scores(model(checkpoint), []) == []


def test_frequency_weighted_aggregates_equal_all_80() -> None:
    """Values and errors aggregated from ids and ranks equal the proxies computed with counts over all traces."""
    traces = [made_scores(seed, tokens=3 + 2 * seed) for seed in range(9)]
    counts = np.bincount(np.concatenate([trace_scores.token_id for trace_scores in traces]), minlength=VOCABULARY)
    items = proxy_scores_of_traces(traces, counts=counts).reshape(9, 80)
    gathered = [TokenRanks(trace_scores.token_id, trace_scores.rank) for trace_scores in traces]
    patches.apply("task")
    for name, registered in BY_TRACE_TOKENS.items():
        aggregation = get_aggregation(registered)
        expected = items[:, list(PROXIES).index(name)]
        assert aggregation(gathered) == pytest.approx(expected.mean(), rel=1e-12)
        used = evaluator_utils if hasattr(evaluator_utils, "stderr_for_metric") else lm_eval_metrics
        stderr = used.stderr_for_metric(aggregation, 1000)
        assert stderr(gathered) == pytest.approx(expected.std(ddof=1) / 3, rel=1e-9)
        assert np.isnan(stderr(gathered[:1]))
    assert str(gathered[0]) == "3 tokens, see resps"


def test_a_back_end_without_entropies_reports_none(caplog: pytest.LogCaptureFixture) -> None:
    """The metric is absent and logged once; the other metrics are present."""
    (task,) = load("rbridge_proxies_gsm8k").values()
    trace = next(iter(task.traces.values()))
    scores = replace(made_scores(1), entropy=None, max_logprob=None)
    with caplog.at_level("WARNING", logger="rbridge_tasks"):
        for _ in range(2):
            assert set(task.metrics_of(trace, scores)) == {*REPORTED_PROXIES} - {"entropy"}
    assert len([record for record in caplog.records if "no entropy" in record.message]) == 1


def test_frequencies_from_a_file_give_numbers_per_item(frequency_file: Path) -> None:
    """With a file every item has its own score, and the results record the file's checksum."""
    (task,) = load("rbridge_proxies_gsm8k", rbridge_frequencies=str(frequency_file)).values()
    frequencies = read_frequencies(frequency_file)
    assert task.config.metadata["rbridge_token_counts"] == frequencies.sha256
    trace = next(iter(task.traces.values()))
    scores = task.metrics_of(trace, made_scores(1))
    expected = proxy_scores_of_traces([made_scores(1)], counts=frequencies.counts).ravel()
    assert scores == {name: expected[list(PROXIES).index(name)] for name in REPORTED_PROXIES}
    assert not {*task.aggregation().values()} & {*map(get_aggregation, BY_TRACE_TOKENS.values())}


def test_frequencies_of_another_tokenizer_stop_the_run_before_scoring(
    checkpoint: Path, frequency_file: Path, tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    """The vocabulary of the loaded model must be the counted one."""
    (task,) = load("rbridge_proxies_gsm8k", rbridge_frequencies=str(frequency_file)).values()
    task.build_all_requests(limit=1)
    lm = model(checkpoint)
    assert len(token_scores(lm, task.instances)) == 1
    lm.tokenizer = tokenizers["byte_fallback"]
    with pytest.raises(FrequencyFileError, match="another vocabulary"):
        token_scores(lm, task.instances)


@pytest.mark.parametrize(("value", "error"), [(3, TaskOptionError), ("no/such.parquet", FrequencyFileError)])
def test_wrong_frequencies_are_one_line(value: object, error: type[Exception]) -> None:
    """An option that is not a file name, and a file that does not exist."""
    with pytest.raises(error) as refusal:
        load("rbridge_proxies_gsm8k", rbridge_frequencies=value)
    assert "\n" not in str(refusal.value)


def test_metrics_are_registered_under_their_names() -> None:
    """lm-eval's registry holds each reported metric under its name."""
    from lm_eval.api.registry import metric_registry

    for name in REPORTED_PROXIES:
        metric = metric_registry.get(name)
        assert getattr(metric, "fn", metric) is getattr(proxy_metrics, name)


def assert_agreement(out: Path, reported: dict[str, Any], *arguments: str | Path) -> None:
    """Assert that ``rbridge proxies`` computes lm-eval's reported scores of csqa from the samples files."""
    as_json("proxies", out, "-o", out / "p.csv", "--include-sample", *arguments)
    table = read_scores(out / "p.csv").query("benchmark == 'csqa'").set_index("metric")
    assert len(table) == 80
    for metric in REPORTED_PROXIES:
        assert table["value"][metric] == pytest.approx(reported[f"{metric},none"], rel=1e-9)
        assert table["stderr"][metric] == pytest.approx(reported[f"{metric}_stderr,none"], rel=1e-9)


@pytest.mark.slow
def test_lm_eval_reports_what_rbridge_proxies_computes(checkpoint: Path, warm_commands: Path, tmp_path: Path) -> None:
    """The real command scores each trace of two tasks over a benchmark once and reports five proxies with errors;
    ``rbridge proxies`` computes the same numbers from the samples files."""
    metadata = json.dumps({"rbridge_cache": "sample", "rbridge_weights": "spans"})
    done = subprocess.run(
        [warm_commands / "lm_eval", "--model", "hf", "--model_args", f"pretrained={checkpoint}", "--num_fewshot", "0",
         "--tasks", "rbridge_csqa,rbridge_proxies_csqa,rbridge_proxies_gsm8k", "--batch_size", "4", "--limit", "4",
         "--metadata", metadata, "--output_path", tmp_path / "out", "--log_samples"],
        cwd=tmp_path, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "top1_accuracy_by_inverse_frequency" in done.stdout
    assert "| 8/8 [" in done.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    assert_agreement(tmp_path / "out", json.loads(file.read_text())["results"]["rbridge_proxies_csqa"])
    (samples,) = (tmp_path / "out").rglob("samples_rbridge_proxies_csqa_*.jsonl")
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        scores = TokenScores.from_json(sample["resps"][0][0])
        assert scores.confidence is None
        assert sample["cross_entropy"] == pytest.approx(scores.nll.mean(), rel=1e-9)
        assert line.count("max_logprob") == 1


def test_frequencies_of_a_corpus_reach_the_table(checkpoint: Path, tmp_path: Path, frequency_file: Path) -> None:
    """lm-eval with the option and ``rbridge proxies --frequencies`` use the same counts as weights."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    options = {"rbridge_cache": "sample", "rbridge_weights": "none", "rbridge_frequencies": str(frequency_file)}
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    results = simple_evaluate(
        model=model(checkpoint), tasks=["rbridge_proxies_csqa"], limit=4, num_fewshot=0, metadata=options,
        task_manager=TaskManager(metadata=options, include_path=str(TASKS_PATH), include_defaults=False),
        evaluation_tracker=tracker,
    )  # fmt: skip
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name="rbridge_proxies_csqa", samples=samples["rbridge_proxies_csqa"])
    assert_agreement(tmp_path / "out", results["results"]["rbridge_proxies_csqa"], "--frequencies", frequency_file)
