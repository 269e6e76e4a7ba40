"""All comparators of a checkpoint by the real ``lm_eval`` command, and the score table of their results."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rbridge_metrics import CLOZE_METRICS
from rbridge_traces import BENCHMARKS

from ..error_bounds import model_bound
from ..support import harness_model, stock_loglikelihoods
from .comparators import TASKS, UNSAFE, load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def group_run(checkpoint: Path, warm_commands: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Output, log and folder of a run of the whole group with HumanEval, on three items of each benchmark."""
    home = tmp_path_factory.mktemp("comparators")
    env = {key: value for key, value in os.environ.items() if not key.startswith("RBRIDGE")}
    env |= {"XDG_CACHE_HOME": str(home / "cache"), "HF_ALLOW_CODE_EVAL": "1", "COLUMNS": "200"}
    options = {
        "--model": "hf",
        "--model_args": f"pretrained={checkpoint}",
        "--tasks": f"rbridge_comparators,{UNSAFE}",
        "--num_fewshot": "1",
        "--limit": "3",
        "--batch_size": "4",
        "--gen_kwargs": "max_gen_toks=24",
        "--output_path": str(home / "out"),
    }
    flags = ["--log_samples", "--confirm_run_unsafe_code"]
    command = [str(warm_commands / "lm_eval"), *(word for pair in options.items() for word in pair)]
    result = subprocess.run([*command, *flags], cwd=home, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr, home / "out"


def samples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    return sorted(map(json.loads, file.read_text().splitlines()), key=lambda sample: sample["doc_id"])


def test_one_command_gives_every_metric_with_its_error(group_run: tuple[str, str, Path]) -> None:
    """Each metric has a row, labelled as sample; none is missing, NaN or without a standard error."""
    table, log, out = group_run
    assert "leaves out" not in log
    (file,) = out.rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    for names in TASKS.values():
        for name in names:
            assert f"{name} (sample)" in table
            for metric in load(name).higher_is_better():
                values = [sample[metric] for sample in samples_of(out, name)]
                assert len(values) == 3
                assert results[name][f"{metric},none"] == pytest.approx(np.mean(values))
                error = float(np.std(values, ddof=1) / math.sqrt(3))
                assert results[name][f"{metric}_stderr,none"] == pytest.approx(error)
    assert {metric for metric in results["rbridge_csqa_cf"] if metric.startswith("cf_")} == {
        f"{metric}{suffix},none" for metric in CLOZE_METRICS for suffix in ("", "_stderr")
    }


def test_answer_scores_equal_stock_loglikelihoods(group_run: tuple[str, str, Path], checkpoint: Path) -> None:
    """``mpca``, ``gold_nll`` and ``scb_nll`` follow from lm-eval's own sum over the same pair and the token count."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    lm = harness_model(AutoModelForCausalLM.from_pretrained(checkpoint), tokenizer)
    for name, metric in [(name, "gold_nll") for name in TASKS["gold"]] + [(name, "scb_nll") for name in TASKS["scb"]]:
        samples = samples_of(group_run[2], name)
        pairs = [(s["arguments"]["gen_args_0"]["arg_0"], s["arguments"]["gen_args_0"]["arg_1"]) for s in samples]
        for sample, pair, total in zip(samples, pairs, stock_loglikelihoods(lm, pairs), strict=True):
            tokens = len(json.loads(sample["resps"][0][0])["logprob"])
            context = pair[0].rstrip()
            assert tokens == len(tokenizer(context + pair[0][len(context) :] + pair[1])["input_ids"]) - len(
                tokenizer(context)["input_ids"]
            )
            bound = tokens * model_bound()  # of the sum; exp(x) moves by x's error times exp(x)
            assert sample[metric] == pytest.approx(-total / tokens, rel=0, abs=bound / tokens)
            if metric == "gold_nll":
                assert sample["mpca"] == pytest.approx(math.exp(total), rel=math.expm1(bound))


def test_collect_reads_them_as_scores_of_their_benchmarks(group_run: tuple[str, str, Path], tmp_path: Path) -> None:
    """The table has the scores under gsm8k, csqa, ..., as ``rbridge compare`` reads them."""
    command = [sys.executable, "-m", "rbridge_tasks", "collect", str(group_run[2]), "--include-sample"]
    table = tmp_path / "scores.csv"
    result = subprocess.run([*command, "-o", str(table)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    scores = pd.read_csv(table)
    assert set(scores["benchmark"]) == set(BENCHMARKS)
    assert set(scores[scores["benchmark"] == "csqa"]["metric"]) == {
        *CLOZE_METRICS, "gold_nll", "mpca", "scb_nll", "exact_match", "ted", "ted_per_token",
    }  # fmt: skip
    assert "pass@1" in set(scores[scores["benchmark"] == "humaneval"]["metric"])
    assert scores["stderr"].notna().all()
