"""The real ``lm_eval`` command on the sample, from another directory: what a user types, and what comes out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rbridge_metrics import TokenScores, minmax_weights, minmax_weights_over_test_set, rbridge_nll, span_weights
from rbridge_traces import BENCHMARKS, TraceCache

from ..error_bounds import model_bound

pytestmark = pytest.mark.slow(seconds=50)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def command(warm_commands: Path) -> Run:
    """Runs an installed command with a user cache of its own."""

    def run(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("RBRIDGE")}
        env |= {"XDG_CACHE_HOME": str(cwd / "user-cache"), "COLUMNS": "200"}
        words = [str(warm_commands / name), *arguments]
        return subprocess.run(words, cwd=cwd, env=env | environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def lm_eval(command: Run) -> Run:
    """Runs ``lm_eval`` on a checkpoint."""

    def run(
        checkpoint: Path, tasks: str, *arguments: str, cwd: Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        options = ["--model", "hf", "--model_args", f"pretrained={checkpoint}", "--batch_size", "4", "--tasks", tasks]
        return command("lm_eval", *options, *arguments, cwd=cwd, **environment)

    return run


def results_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("results_*.json")
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def samples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def scores_of(sample: dict[str, Any]) -> TokenScores:
    return TokenScores.from_json(sample["resps"][0][0])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is not the project's."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def cache(checkpoint: Path, command: Run, home: Path) -> Path:
    """The sample with the confidences of a tiny model, as ``rbridge traces score`` writes it."""
    folder = home / "cache"
    options = ["--benchmark", "all", "--from", "sample", "--cache", str(folder), "--num-fewshot", "1"]
    result = command("rbridge", "traces", "score", "--model", str(checkpoint), *options, cwd=home)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def group_run(checkpoint: Path, lm_eval: Run, cache: Path, home: Path) -> tuple[str, Path]:
    """Standard output and output folder of one run of the whole group."""
    out = home / "group"
    result = lm_eval(
        checkpoint, "rbridge", "--num_fewshot", "1", "--output_path", str(out), "--log_samples",
        cwd=home, RBRIDGE_CACHE=str(cache),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"from {cache}/gsm8k/sample (RBRIDGE_CACHE)" in result.stderr
    assert f"confidences of {checkpoint}" in result.stderr
    return result.stdout, out


def test_the_table_shows_every_benchmark_and_a_mean(group_run: tuple[str, Path]) -> None:
    """The group has a row a benchmark, each labelled as sample, all metrics marked lower is better, with errors."""
    table, out = group_run
    for benchmark in BENCHMARKS:
        assert f"rbridge_{benchmark} (sample)" in table
    assert "rbridge (sample)" in table
    results = results_of(out)
    metrics = ("rbridge_nll", "rbridge_bits_per_byte", "rbridge_span_nll", "trace_nll", "trace_bits_per_byte")
    for metric in metrics:
        values = [results["results"][f"rbridge_{benchmark}"][f"{metric},none"] for benchmark in BENCHMARKS]
        assert results["groups"]["rbridge"][f"{metric},none"] == pytest.approx(np.mean(values))
        assert all(results["results"][f"rbridge_{b}"][f"{metric}_stderr,none"] > 0 for b in BENCHMARKS)
        assert results["groups"]["rbridge"][f"{metric}_stderr,none"] > 0
        assert results["higher_is_better"]["rbridge_gsm8k"][metric] is False
    assert "↓" in table
    assert "↑" not in table


def test_results_say_which_traces_were_used(group_run: tuple[str, Path], cache: Path, checkpoint: Path) -> None:
    """A results file names the cache, the models behind it, its checksum, and that it is a sample."""
    provenance = results_of(group_run[1])["configs"]["rbridge_gsm8k"]["metadata"]["rbridge_traces"]
    manifest = TraceCache(str(cache)).load("gsm8k").manifest
    assert provenance["files"] == manifest.files
    assert provenance["confidence_model"] == str(checkpoint)
    assert provenance["sample"] is True


def test_weighted_scores_equal_a_loop_over_letters(group_run: tuple[str, Path], cache: Path) -> None:
    """rBridge NLL of every item equals the formula worked letter by letter in plain Python, to 1e-6."""
    for benchmark in BENCHMARKS:
        by_id = {trace.item_id: trace for trace in TraceCache(str(cache)).load(benchmark).traces}
        for sample in samples_of(group_run[1], f"rbridge_{benchmark}"):
            trace, scores = by_id[sample["doc"]["item_id"]], scores_of(sample)
            letters, start = [], 0
            for end, logprob in zip(trace.token_end, trace.token_logprob, strict=True):
                letters += [math.exp(float(logprob))] * (int(end) - start)
                start = int(end)
            assert len(letters) == len(trace.trace)
            confidence: list[float] = []
            for first, last in zip(scores.token_start, scores.token_end, strict=True):
                covered = letters[first:last]
                confidence.append(sum(covered) / len(covered) if covered else math.nan)
            for i in reversed(range(len(confidence) - 1)):  # no letter: as the next token
                if math.isnan(confidence[i]):
                    confidence[i] = confidence[i + 1]
            low, high = min(confidence), max(confidence)
            weights = [(c - low) / (high - low) for c in confidence]
            total = sum(-float(lp) * w for lp, w in zip(scores.logprob, weights, strict=True))
            assert sample["rbridge_nll"] == pytest.approx(total / len(weights), rel=1e-6)


def test_any_weighting_can_be_recomputed_from_the_samples_alone(group_run: tuple[str, Path]) -> None:
    """The samples file holds all per-token arrays, so task scores follow from it without a model or the cache."""
    results = results_of(group_run[1])["results"]["rbridge_csqa"]
    samples = samples_of(group_run[1], "rbridge_csqa")
    scores = [scores_of(sample) for sample in samples]
    own = [rbridge_nll(s.nll, minmax_weights(s.confidence)) for s in scores if s.confidence is not None]
    assert np.mean(own) == pytest.approx(results["rbridge_nll,none"], rel=1e-5)
    assert np.mean([s.nll.mean() for s in scores]) == pytest.approx(results["trace_nll,none"], rel=1e-9)
    bits = sum(s.nll.sum() for s in scores) / math.log(2) / sum(len(s["doc"]["trace"].encode()) for s in samples)
    assert bits == pytest.approx(results["trace_bits_per_byte,none"], rel=1e-9)
    spans = [
        span_weights(s.token_start, s.token_end, sample["doc"]["spans"])
        for s, sample in zip(scores, samples, strict=True)
    ]
    assert all(0 < weights.mean() < 1 for weights in spans)


def test_the_span_metric_comes_beside_the_others(group_run: tuple[str, Path]) -> None:
    """Where all traces have spans: the NLL of the tokens in them, over all tokens; in every sample and every row."""
    assert "rbridge_span_nll" in group_run[0]
    for benchmark in BENCHMARKS:
        expected = []
        for sample in samples_of(group_run[1], f"rbridge_{benchmark}"):
            scores, spans = scores_of(sample), sample["doc"]["spans"]
            tokens = zip(scores.token_start, scores.token_end, scores.nll, strict=True)
            marked = [nll for start, end, nll in tokens if any(start < last and first < end for first, last in spans)]
            assert 0 < len(marked) < scores.nll.size
            expected.append(sum(marked) / scores.nll.size)
            assert sample["rbridge_span_nll"] == pytest.approx(expected[-1], rel=1e-6)
        row = results_of(group_run[1])["results"][f"rbridge_{benchmark}"]
        assert row["rbridge_span_nll,none"] == pytest.approx(np.mean(expected), rel=1e-6)


def test_samples_hold_the_arrays_once_and_compactly(group_run: tuple[str, Path]) -> None:
    """One line a sample, the arrays in it a single time, under resps."""
    (file,) = group_run[1].rglob("samples_rbridge_gsm8k_*.jsonl")
    for line in file.read_text().splitlines():
        assert line.count("max_logprob") == 1
        scores = scores_of(json.loads(line))
        assert len(json.loads(line)["resps"][0][0]) < 70 * scores.logprob.size
        assert scores.rank.min() >= 1
        assert (scores.max_logprob >= scores.logprob).all()


@pytest.mark.parametrize("shots", [0, 3])
def test_num_fewshot_sets_the_number_of_worked_examples(
    checkpoint: Path, lm_eval: Run, home: Path, tmp_path: Path, shots: int
) -> None:
    """--num_fewshot N puts N worked examples before the question, 0 included."""
    options = ["--metadata", '{"rbridge_weights": "none", "rbridge_cache": "sample"}', "--limit", "2"]
    result = lm_eval(
        checkpoint, "rbridge_math500", *options, "--num_fewshot", str(shots), "--output_path", str(tmp_path),
        "--log_samples", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for sample in samples_of(tmp_path, "rbridge_math500"):
        context = sample["arguments"]["gen_args_0"]["arg_0"]
        assert context.count("Question:") == shots + 1
        assert context.count("Final answer:") == shots
        assert context.endswith("Answer: ")
        assert sample["arguments"]["gen_args_0"]["arg_1"] == sample["doc"]["trace"]
        assert not {"rbridge_nll", "rbridge_bits_per_byte"} & set(sample["metrics"])


def test_weights_over_the_test_set_and_from_spans(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path, group_run: tuple[str, Path]
) -> None:
    """The other weightings are an option away, and equal what the samples of the first run say they should be."""
    samples = samples_of(group_run[1], "rbridge_csqa")
    scores = [scores_of(sample) for sample in samples]
    test_set = minmax_weights_over_test_set([s.confidence for s in scores if s.confidence is not None])
    spans = [span_weights(s.token_start, s.token_end, x["doc"]["spans"]) for s, x in zip(scores, samples, strict=True)]
    for weighting, weights in (("confidence_test_set", test_set), ("spans", spans)):
        out = tmp_path / weighting
        options = json.dumps({"rbridge_cache": str(cache), "rbridge_weights": weighting})
        result = lm_eval(
            checkpoint, "rbridge_csqa", "--num_fewshot", "1", "--metadata", options, "--output_path", str(out), cwd=home
        )
        assert result.returncode == 0, result.stderr
        expected = [rbridge_nll(s.nll, w) for s, w in zip(scores, weights, strict=True)]
        found = results_of(out)["results"]["rbridge_csqa"]
        # Another run, in other batches: a mean of weighted NLLs moves no further than the token that moves furthest.
        assert found["rbridge_nll,none"] == pytest.approx(np.mean(expected), rel=0, abs=model_bound())
        assert found["rbridge_nll_stderr,none"] == pytest.approx(
            np.std(expected, ddof=1) / len(expected) ** 0.5, rel=0, abs=model_bound()
        )


@pytest.fixture(scope="module")
def graded(cache: Path, home: Path) -> Path:
    """A cache of which every other trace is right; one of the wrong ones has no spans."""
    held = TraceCache(str(cache)).load("gsm8k")
    traces = [dataclasses.replace(trace, correct=i % 2 == 0) for i, trace in enumerate(held.traces)]
    traces[1] = dataclasses.replace(traces[1], spans=None)
    folder = home / "graded"
    TraceCache(str(folder)).write(traces, benchmark="gsm8k", source="graded", confidence_model="tiny")
    TraceCache(str(folder)).write(
        TraceCache(str(cache)).load("csqa").traces, benchmark="csqa", source="graded", confidence_model="tiny"
    )
    return folder


def test_only_correct_traces_are_scored_where_asked_for(
    checkpoint: Path, lm_eval: Run, graded: Path, home: Path, tmp_path: Path
) -> None:
    """The option filters before any model runs, says so in the results, and the scores are those of the rest."""
    options = {"rbridge_cache": str(graded), "rbridge_only_correct": True}
    result = lm_eval(
        checkpoint, "rbridge_gsm8k", "--num_fewshot", "0", "--metadata", json.dumps(options),
        "--output_path", str(tmp_path), "--log_samples", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    kept = [trace.item_id for trace in TraceCache(str(graded)).load("gsm8k").only_correct().traces]
    samples = samples_of(tmp_path, "rbridge_gsm8k")
    assert [sample["doc"]["item_id"] for sample in samples] == kept
    results = results_of(tmp_path)
    provenance = results["configs"]["rbridge_gsm8k"]["metadata"]["rbridge_traces"]
    assert (provenance["only_correct"], provenance["traces"]) == (True, len(kept))
    row = results["results"]["rbridge_gsm8k"]
    assert row["rbridge_nll,none"] == pytest.approx(np.mean([sample["rbridge_nll"] for sample in samples]))
    assert row["rbridge_span_nll,none"] > 0  # the trace without spans is not among them


def test_the_span_metric_is_absent_where_a_trace_has_no_spans(
    checkpoint: Path, lm_eval: Run, graded: Path, home: Path, tmp_path: Path
) -> None:
    """No mean over a part of the traces: the row is missing for that benchmark, and stays for the other."""
    result = lm_eval(
        checkpoint, "rbridge_gsm8k,rbridge_csqa", "--num_fewshot", "0", "--output_path", str(tmp_path),
        "--log_samples", cwd=home, RBRIDGE_CACHE=str(graded),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    results = results_of(tmp_path)["results"]
    assert not any(metric.startswith("rbridge_span_nll") for metric in results["rbridge_gsm8k"])
    assert results["rbridge_gsm8k"]["rbridge_nll,none"] > 0
    assert results["rbridge_csqa"]["rbridge_span_nll,none"] > 0
    assert not any("rbridge_span_nll" in sample for sample in samples_of(tmp_path, "rbridge_gsm8k"))


def the_error(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command ends with."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("rbridge: error: ")
    return line


def test_traces_without_confidences_are_one_line_with_the_remedy(
    checkpoint: Path, lm_eval: Run, home: Path, tmp_path: Path
) -> None:
    """The sample as shipped has no confidences: rBridge NLL says so and how to get them, and writes no results."""
    result = lm_eval(checkpoint, "rbridge_gsm8k", "--output_path", str(tmp_path), cwd=home)
    assert "no token confidences" in the_error(result)
    assert "rbridge traces score" in the_error(result)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_a_damaged_cache_is_one_line(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path, damage: str
) -> None:
    """A file that is not as it was written stops the run before a number comes out."""
    copy = tmp_path / "cache"
    folder = copy / "gsm8k" / "sample"
    folder.mkdir(parents=True)
    for file in (cache / "gsm8k" / "sample").iterdir():
        data = file.read_bytes()
        if file.suffix == ".parquet":
            if damage == "missing":
                continue
            data = data[: len(data) // 2] if damage == "truncated" else data[:-9] + b"?" + data[-8:]
        (folder / file.name).write_bytes(data)
    result = lm_eval(checkpoint, "rbridge_gsm8k", cwd=home, RBRIDGE_CACHE=str(copy))
    assert "gsm8k" in the_error(result)


def test_nan_logits_are_one_line_and_no_number(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path
) -> None:
    """A checkpoint with NaN weights never gives a score."""
    broken = tmp_path / "broken"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        next(model.parameters())[:] = torch.nan
    model.save_pretrained(broken)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((checkpoint / name).read_bytes())
    result = lm_eval(broken, "rbridge_gsm8k", cwd=home, RBRIDGE_CACHE=str(cache))
    assert "NaN" in the_error(result)
    assert "gsm8k/" in the_error(result)
    assert "rbridge_nll" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--metadata", '{"rbridge_wieghts": "none"}'], "rbridge_wieghts"),
        (["--metadata", '{"rbridge_weights": "magic"}'], "magic"),
        (["--metadata", '{"rbridge_only_correct": "yes"}'], "rbridge_only_correct is 'yes'; write true or false"),
        (["--metadata", '{"rbridge_only_correct": true}'], "says whether its answer is correct"),
        (["--metadata", '{"rbridge_cache": "/nowhere/at/all"}'], "/nowhere/at/all"),
        (["--metadata", '{"rbridge_weights": "none"}', "--num_fewshot", "9"], "--num_fewshot 9"),
    ],
)
def test_wrong_options_are_one_line(
    checkpoint: Path, lm_eval: Run, home: Path, arguments: list[str], named: str
) -> None:
    """A typing error is named, not ignored."""
    assert named in the_error(lm_eval(checkpoint, "rbridge_gsm8k", *arguments, cwd=home))


def test_predict_only_and_unrelated_flags_still_work(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path
) -> None:
    """--predict_only writes the token scores and no metrics; --cache_requests and --write_out do no harm."""
    result = lm_eval(
        checkpoint, "rbridge_gsm8k", "--predict_only", "--cache_requests", "true", "--write_out", "--limit", "2",
        "--output_path", str(tmp_path), cwd=home, RBRIDGE_CACHE=str(cache),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert all(scores_of(sample).logprob.size for sample in samples_of(tmp_path, "rbridge_gsm8k"))


def test_without_a_compiler_a_run_goes_on(checkpoint: Path, lm_eval: Run, home: Path) -> None:
    """rbridge_compile where there is no C++ compiler: one line says so, and the numbers are those of a plain run."""
    without_compiler = {"CXX": str(home / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}
    found = []
    for name, extra, environment in (("plain", {}, {}), ("compiled", {"rbridge_compile": True}, without_compiler)):
        metadata = json.dumps({"rbridge_cache": "sample", "rbridge_weights": "none", **extra})
        result = lm_eval(
            checkpoint, "rbridge_gsm8k", "--limit", "2", "--metadata", metadata, "--output_path", str(home / name),
            cwd=home, **environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        found.append(results_of(home / name)["results"]["rbridge_gsm8k"]["trace_nll,none"])
    assert found[0] == found[1]
    assert "compiled layers does not work with LlamaForCausalLM (InvalidCxxCompiler: No" in result.stderr
