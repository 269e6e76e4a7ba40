"""The real ``lm_eval`` command, from another directory, on the sample with confidences: table, results and samples."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rbridge_metrics import minmax_weights, minmax_weights_over_test_set, rbridge_nll, span_weights
from rbridge_traces import BENCHMARKS, TraceCache

from ..error_bounds import model_bound
from .lm_eval_command import Run, results_of, samples_of, scores_of, the_error

pytestmark = pytest.mark.slow(seconds=50)


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
    """The group has a row for each benchmark, labelled as sample; metrics have errors and are lower-is-better."""
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


def test_results_record_the_traces(group_run: tuple[str, Path], cache: Path, checkpoint: Path) -> None:
    """A results file has the checksums of the traces, the confidence model, and whether they are a sample."""
    provenance = results_of(group_run[1])["configs"]["rbridge_gsm8k"]["metadata"]["rbridge_traces"]
    manifest = TraceCache(str(cache)).load("gsm8k").manifest
    assert provenance["files"] == manifest.files
    assert provenance["confidence_model"] == str(checkpoint)
    assert provenance["sample"] is True


def test_weighted_scores_equal_a_loop_over_characters(group_run: tuple[str, Path], cache: Path) -> None:
    """rBridge NLL of every item equals the formula computed character by character in plain Python, to 1e-6."""
    for benchmark in BENCHMARKS:
        by_id = {trace.item_id: trace for trace in TraceCache(str(cache)).load(benchmark).traces}
        for sample in samples_of(group_run[1], f"rbridge_{benchmark}"):
            trace, scores = by_id[sample["doc"]["item_id"]], scores_of(sample)
            character_confidences, start = [], 0
            for end, logprob in zip(trace.token_end, trace.token_logprob, strict=True):
                character_confidences += [math.exp(float(logprob))] * (int(end) - start)
                start = int(end)
            assert len(character_confidences) == len(trace.trace)
            confidence: list[float] = []
            for first, last in zip(scores.token_start, scores.token_end, strict=True):
                covered = character_confidences[first:last]
                confidence.append(sum(covered) / len(covered) if covered else math.nan)
            for i in reversed(range(len(confidence) - 1)):  # without a character: as the next token
                if math.isnan(confidence[i]):
                    confidence[i] = confidence[i + 1]
            low, high = min(confidence), max(confidence)
            weights = [(c - low) / (high - low) for c in confidence]
            total = sum(-float(lp) * w for lp, w in zip(scores.logprob, weights, strict=True))
            assert sample["rbridge_nll"] == pytest.approx(total / len(weights), rel=1e-6)


def test_any_weighting_can_be_recomputed_from_the_samples_alone(group_run: tuple[str, Path]) -> None:
    """The samples file holds all per-token arrays, so task scores can be computed without a model or the cache."""
    results = results_of(group_run[1])["results"]["rbridge_csqa"]
    samples = samples_of(group_run[1], "rbridge_csqa")
    scores = [scores_of(sample) for sample in samples]
    nlls = [rbridge_nll(s.nll, minmax_weights(s.confidence)) for s in scores if s.confidence is not None]
    assert np.mean(nlls) == pytest.approx(results["rbridge_nll,none"], rel=1e-5)
    assert np.mean([s.nll.mean() for s in scores]) == pytest.approx(results["trace_nll,none"], rel=1e-9)
    bits = sum(s.nll.sum() for s in scores) / math.log(2) / sum(len(s["doc"]["trace"].encode()) for s in samples)
    assert bits == pytest.approx(results["trace_bits_per_byte,none"], rel=1e-9)
    spans = [
        span_weights(s.token_start, s.token_end, sample["doc"]["spans"])
        for s, sample in zip(scores, samples, strict=True)
    ]
    assert all(0 < weights.mean() < 1 for weights in spans)


def test_the_span_metric_is_reported_with_the_others(group_run: tuple[str, Path]) -> None:
    """If all traces have spans, samples and rows have the NLL of the tokens in spans, divided by all tokens."""
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
    """Each sample is a line that holds the arrays once, under resps."""
    (file,) = group_run[1].rglob("samples_rbridge_gsm8k_*.jsonl")
    for line in file.read_text().splitlines():
        assert line.count("max_logprob") == 1
        scores = scores_of(json.loads(line))
        assert len(json.loads(line)["resps"][0][0]) < 70 * scores.logprob.size
        assert scores.rank.min() >= 1
        assert (scores.max_logprob >= scores.logprob).all()


def test_weights_over_the_test_set_and_from_spans(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path, group_run: tuple[str, Path]
) -> None:
    """Scores of the other weightings equal those computed from the samples of the first run."""
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
        row = results_of(out)["results"]["rbridge_csqa"]
        # Another run has other batches: a mean of weighted NLLs changes by no more than its tokens do at most.
        assert row["rbridge_nll,none"] == pytest.approx(np.mean(expected), rel=0, abs=model_bound())
        assert row["rbridge_nll_stderr,none"] == pytest.approx(
            np.std(expected, ddof=1) / len(expected) ** 0.5, rel=0, abs=model_bound()
        )


@pytest.fixture(scope="module")
def graded(cache: Path, home: Path) -> Path:
    """A cache in which every second trace is right; one of the wrong ones has no spans."""
    held = TraceCache(str(cache)).load("gsm8k")
    traces = [dataclasses.replace(trace, correct=i % 2 == 0) for i, trace in enumerate(held.traces)]
    traces[1] = dataclasses.replace(traces[1], spans=None)
    folder = home / "graded"
    TraceCache(str(folder)).write(traces, benchmark="gsm8k", source="graded", confidence_model="tiny")
    TraceCache(str(folder)).write(
        TraceCache(str(cache)).load("csqa").traces, benchmark="csqa", source="graded", confidence_model="tiny"
    )
    return folder


def test_the_option_only_correct_limits_the_scored_traces(
    checkpoint: Path, lm_eval: Run, graded: Path, home: Path, tmp_path: Path
) -> None:
    """Only correct traces are scored, results record the option, and the scores are those of the kept traces."""
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


def test_the_span_metric_is_absent_if_a_trace_has_no_spans(
    checkpoint: Path, lm_eval: Run, graded: Path, home: Path, tmp_path: Path
) -> None:
    """There is no mean over part of the traces: that benchmark has no row, the other benchmark has one."""
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


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_a_damaged_cache_is_one_line(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path, damage: str
) -> None:
    """A file that differs from its checksum stops the run before there is a number."""
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
    """A checkpoint with NaN weights gives an error and no score."""
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


def test_predict_only_and_unrelated_flags_still_work(
    checkpoint: Path, lm_eval: Run, cache: Path, home: Path, tmp_path: Path
) -> None:
    """--predict_only writes the token scores; --cache_requests and --write_out can be combined with it."""
    result = lm_eval(
        checkpoint, "rbridge_gsm8k", "--predict_only", "--cache_requests", "true", "--write_out", "--limit", "2",
        "--output_path", str(tmp_path), cwd=home, RBRIDGE_CACHE=str(cache),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert all(scores_of(sample).logprob.size for sample in samples_of(tmp_path, "rbridge_gsm8k"))
