"""Cloze metrics of real items equal those computed from the samples of stock ``multiple_choice`` tasks."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import Trace, TraceCache, few_shot_examples
from rbridge_traces.questions import STEM, load_questions

pytestmark = pytest.mark.slow

STOCK = """
task: {task}
dataset_path: json
dataset_kwargs:
  data_files: {{"train": "{folder}/{name}.shots.jsonl", "test": "{folder}/{name}.jsonl"}}
output_type: multiple_choice
fewshot_split: train
fewshot_config:
  sampler: first_n
test_split: test
num_fewshot: 5
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{target}"
doc_to_choice: "{choices}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
  - metric: acc_bytes
    aggregation: mean
    higher_is_better: true
"""
FIELDS = {
    "arc_challenge": ("{{choices.label.index(answerKey)}}", "{{choices.text}}"),
    "mmlu_pro_stem": ("{{answer_index}}", "{{options}}"),
}


def arc_rows(data: Path) -> list[dict[str, Any]]:
    """Return every item whose labels are not A to D, and eight other items."""
    rows = [
        json.loads(line) for line in (data / "benchmarks" / "arc_challenge" / "test.jsonl").read_text().splitlines()
    ]
    usual = [row for row in rows if row["choices"]["label"] == [*"ABCD"]]
    return [row for row in rows if row["choices"]["label"] != [*"ABCD"]] + usual[:8]


def mmlu_pro_rows(data: Path) -> list[dict[str, Any]]:
    """Return three items of each number of choices."""
    with gzip.open(data / "benchmarks" / "mmlu_pro" / "test.jsonl.gz", "rt") as file:
        rows = [row for row in map(json.loads, file) if row["category"] in STEM]
    return [row for n in range(3, 11) for row in [row for row in rows if len(row["options"]) == n][:3]]


def written(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_arc(trace: Trace) -> dict[str, Any]:
    choices = trace.choices or ()
    listed = {"text": [choice.text for choice in choices], "label": [choice.label for choice in choices]}
    return {"id": trace.item_id, "question": trace.question, "choices": listed, "answerKey": trace.gold}


def as_mmlu_pro(trace: Trace) -> dict[str, Any]:
    choices = trace.choices or ()
    gold = [choice.label for choice in choices].index(str(trace.gold))
    return {"question": trace.question, "options": [choice.text for choice in choices], "answer_index": gold}


@pytest.fixture(scope="module")
def samples(data: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Samples by task, of stock lm-eval and of ours, from one command on one checkpoint."""
    folder = tmp_path_factory.mktemp("cloze")
    kinds = {"arc_challenge": (arc_rows, as_arc), "mmlu_pro_stem": (mmlu_pro_rows, as_mmlu_pro)}
    for name, (rows_of, as_row) in kinds.items():
        rows, shots = rows_of(data), [as_row(example) for example in few_shot_examples(name)]
        file = written(folder / f"{name}.questions.jsonl", rows)
        written(folder / f"{name}.jsonl", [{field: row[field] for field in shots[0]} for row in rows])
        written(folder / f"{name}.shots.jsonl", shots)
        target, choices = FIELDS[name]
        config = STOCK.format(task=f"stock_{name}", folder=folder, name=name, target=target, choices=choices)
        (folder / f"stock_{name}.yaml").write_text(config)
        traces = [
            Trace(name, item.item_id, item.question, "Not read by this task.", choices=item.choices, gold=item.gold)
            for item in load_questions(name, path=str(file))
        ]
        TraceCache(str(folder / "cache")).write(traces, benchmark=name, source="questions")
    tasks = [f"stock_{name}" for name in kinds] + [f"rbridge_{name}_cf" for name in kinds]
    lm_eval = [str(Path(sys.executable).parent / "lm_eval"), "--model", "hf", "--batch_size", "4", "--log_samples"]
    options = {
        "--model_args": f"pretrained={checkpoint}",
        "--tasks": ",".join(tasks),
        "--include_path": str(folder),
        "--num_fewshot": "2",
        "--output_path": str(folder / "out"),
    }
    command = [*lm_eval, *(word for option in options.items() for word in option)]
    env = os.environ | {"RBRIDGE_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    task_samples = {}
    for task in tasks:
        (path,) = (folder / "out").rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        task_samples[task] = sorted(rows, key=lambda row: row["doc_id"])
    return task_samples


def test_the_items_have_unusual_labels_and_numbers_of_choices(samples: dict[str, list[dict[str, Any]]]) -> None:
    """ARC items have numeric labels and three to five choices, MMLU-Pro items three to ten choices."""
    labels = Counter("".join(row["doc"]["choices"]["label"]) for row in samples["stock_arc_challenge"])
    assert labels == {"1234": 21, "123": 1, "ABC": 3, "ABCDE": 3, "ABCD": 8}
    choices = Counter(len(row["doc"]["options"]) for row in samples["stock_mmlu_pro_stem"])
    assert choices == dict.fromkeys(range(3, 11), 3)


@pytest.mark.parametrize("name", FIELDS)
def test_all_fifteen_equal_those_of_stock_samples(samples: dict[str, list[dict[str, Any]]], name: str) -> None:
    """Each metric is computed by its definition from stock lm-eval's log-likelihoods, and is equal to 1e-5."""
    pairs = list(zip(samples[f"stock_{name}"], samples[f"rbridge_{name}_cf"], strict=True))
    assert len(pairs) > 20
    for stock, ours in pairs:
        assert list(ours["arguments"].values()) == list(stock["arguments"].values())
        doc, gold = stock["doc"], int(stock["target"])
        texts = doc["options"] if name == "mmlu_pro_stem" else doc["choices"]["text"]
        logprob = [float(response[0][0]) for response in stock["resps"]]
        lengths = {
            "": [1] * len(texts),
            "_per_char": [len(text) for text in texts],
            "_per_byte": [len(text.encode()) for text in texts],
        }
        for suffix, length in lengths.items():
            p = [math.exp(value / n) for value, n in zip(logprob, length, strict=True)]
            top = max(value / n for value, n in zip(logprob, length, strict=True))
            shifted = [math.exp(value / n - top) for value, n in zip(logprob, length, strict=True)]
            expected = {
                "cf_correct_prob": p[gold],
                "cf_norm_correct_prob": shifted[gold] / sum(shifted),
                "cf_total_prob": sum(p),
                "cf_margin": p[gold] - max(value for at, value in enumerate(p) if at != gold),
                "cf_accuracy": float(shifted.index(1.0) == gold),
            }
            for metric, value in expected.items():
                assert ours[metric + suffix] == pytest.approx(value, rel=1e-5, abs=1e-12), (metric + suffix, doc)
        accuracies = (ours["cf_accuracy"], ours["cf_accuracy_per_char"], ours["cf_accuracy_per_byte"])
        assert accuracies == (stock["acc"], stock["acc_norm"], stock["acc_bytes"])
