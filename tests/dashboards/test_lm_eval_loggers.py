"""``lm_eval --wandb_args`` and ``--trackio_args`` log our metrics and our samples."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rbridge_tasks.harness import patches
from rbridge_tasks.harness.logger_samples import plain_samples

from ..harness.made_traces import made_scores
from .readers import BIN, wandb_records

TASKS = ("rbridge_gsm8k", "rbridge_proxies_gsm8k", "rbridge_arc_challenge_cf")


@pytest.mark.slow
def test_our_metrics_and_samples_are_in_the_offline_run(checkpoint: Path, tmp_path: Path, clean_trackio: None) -> None:
    """The summary has each number of the results file under lm-eval's name, and each task has its samples."""
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "RBRIDGE_CACHE")}
    done = subprocess.run(
        [str(BIN / "lm_eval"), "--model", "hf", "--model_args", f"pretrained={checkpoint}", "--batch_size", "4",
         "--tasks", ",".join(TASKS), "--limit", "2", "--num_fewshot", "1", "--output_path", str(tmp_path / "out"),
         "--metadata", '{"rbridge_weights": "spans"}', "--log_samples",
         "--wandb_args", "project=proxies,name=dclm-97.9M", "--trackio_args", "project=proxies"],
        cwd=tmp_path, env=environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert "W&B failed" not in output, output
    assert "Trackio failed" not in output, output
    assert "skipped metric" not in output, output
    (file,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    summary: dict[str, object] = {}
    for record in wandb_records(folder):
        summary |= record.get("summary", {}).get("update", {})
    for task in TASKS:
        numbers = {name: value for name, value in results[task].items() if isinstance(value, float)}
        assert numbers
        for name, value in numbers.items():
            assert summary[f"{task}/{name.removesuffix(',none')}"] == value
        (file,) = (tmp_path / "out").rglob(f"samples_{task}_*.jsonl")
        samples = [json.loads(line) for line in file.read_text().splitlines()]
        rows = sample_table(folder, task)
        metrics = [name for name in samples[0]["metrics"] if isinstance(samples[0][name], float)]
        assert metrics
        expected = [[sample[name] for name in metrics] for sample in samples]
        assert [[row[name] for name in metrics] for row in rows] == expected
    assert trackio_rows()[0].items() >= {
        f"{task}/{name.removesuffix(',none')}": value
        for task in TASKS for name, value in results[task].items() if isinstance(value, float)
    }.items()  # fmt: skip
    rows = sample_table(folder, "rbridge_gsm8k")
    assert sum(row["rbridge_nll"] for row in rows) / len(rows) == pytest.approx(
        results["rbridge_gsm8k"]["rbridge_nll,none"]
    )
    assert {row["output_type"] for row in rows} == {"loglikelihood"}
    assert all(row["raw_predictions"] < 0 < row["rbridge_bits_per_byte"] for row in rows)


def trackio_rows() -> list[dict[str, Any]]:
    """Return trackio's rows of the evaluation, one for each step."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("proxies")
    return SQLiteStorage.get_logs("proxies", run.name, run_id=run.id)


def sample_table(folder: Path, task: str) -> list[dict[str, Any]]:
    """Return the rows of W&B's table of samples of an offline run."""
    (file,) = (folder / "files/media/table").glob(f"{task}_eval_results_*.table.json")
    table = json.loads(file.read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def test_metrics_without_a_number_for_a_trace_are_omitted_from_the_table() -> None:
    """Metrics that only the aggregation makes a number, and absent ones, are omitted; samples are not changed."""
    scores = made_scores(1)
    metrics = {"trace_nll": 1.5, "trace_bits_per_byte": (4.0, 8), "rank_last": object()}
    sample = {"doc_id": 0, "resps": [[scores]], "filtered_resps": ["20 tokens, see resps"], **metrics}
    names = (*metrics, "rbridge_span_nll")
    config = {"output_type": "loglikelihood", "metric_list": [{"metric": name} for name in names]}
    samples, plain = plain_samples([sample], config)
    assert plain["metric_list"] == [{"metric": "trace_nll"}, {"metric": "trace_bits_per_byte"}]
    assert samples[0]["resps"] == [[pytest.approx(float(scores.logprob.sum()))]]
    assert samples[0]["trace_bits_per_byte"] == pytest.approx(4.0 / (8 * math.log(2)))
    assert sample["trace_bits_per_byte"] == (4.0, 8)
    assert config["output_type"] == "loglikelihood"


def test_trackio_accepts_our_samples(quiet: None) -> None:
    """Samples are conversations with numbers and texts as metadata, because the store drops other values."""
    import trackio
    from lm_eval.loggers import trackio_logger

    patches.apply("task")
    scores = made_scores(1)
    sample = {
        "doc_id": 0, "doc": {"benchmark": "gsm8k", "item_id": "0", "trace": "abc"}, "target": "abc", "filter": "none",
        "arguments": [("Question: 1 + 1?\nAnswer:", "abc")], "resps": [[scores]],
        "filtered_resps": ["20 tokens, see resps"], "metrics": ["trace_nll", "rank_last"], "trace_nll": 1.5,
        "rank_last": scores,
    }  # fmt: skip
    trace = trackio_logger._sample_to_trace(trackio, sample, "rbridge_gsm8k", "loglikelihood")
    prompt, response = trace.messages
    assert prompt["content"] == "Question: 1 + 1?\nAnswer:"
    assert response["content"] == f"continuation log-prob: {float(scores.logprob.sum())}"
    assert trace.metadata["trace_nll"] == 1.5
    assert "rank_last" not in trace.metadata
    json.dumps(trace.metadata)
