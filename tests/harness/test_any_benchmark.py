"""Benchmarks that this package does not know: their tasks, prompts and numbers come from the cache."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import rbridge_tasks as rb
from rbridge_metrics import RBridgeError
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.lm_eval_results import benchmark_of
from rbridge_traces import Benchmark, TraceCache, import_traces
from rbridge_traces.definition import redefined

TEMPLATE = "Q: {question}\n{choices}\nA:"
N = 8


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write a table with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        table.writerows(rows)
    return str(path)


def tides(count: int = N) -> list[dict[str, Any]]:
    """Return open items with numeric answers; each half of a trace is one frontier token."""
    rows = []
    for n in range(count):
        trace = f"It rises {n} cm, then {2 * n} cm.\nThat is {3 * n} cm."
        ends, logprobs = [len(trace) // 2, len(trace)], [-0.1 * n - 0.1, -0.5]
        asked = f"The tide rises {n} cm, then {2 * n} cm. How far?"
        rows.append(
            {"id": f"t{n}", "question": asked, "trace": trace, "gold": 3 * n, "final_answer": 3 * n,
             "token_end": json.dumps(ends), "token_logprob": json.dumps(logprobs)}
        )  # fmt: skip
    return rows


def flags(count: int = N) -> list[dict[str, Any]]:
    """Return items with three choices, each in its own column, and without a final answer."""
    return [
        {"question": f"Which flag has {n} stars?", "first": f"flag {n}", "second": "none of", "third": "all,\nof them",
         "gold": "A", "trace": f"Flag {n} has {n} stars."}
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TraceCache:
    """A cache of two benchmarks: one with a definition and confidences, one with neither."""
    folder = tmp_path_factory.mktemp("any benchmark")
    cache = TraceCache(str(folder / "cache"))
    report = import_traces(write_csv(folder / "tides.csv", tides()), benchmark="tide-s", mapping={})
    cache.write(report.traces, benchmark="tide-s", source="made")
    definition = redefined(cache.definition("tide-s"), question_template=TEMPLATE, fewshot="3")
    assert definition is not None
    cache.define(definition)
    choices = {"choices": "first,second,third"}
    report = import_traces(write_csv(folder / "flags.csv", flags()), benchmark="Flags_2", mapping=choices)
    cache.write(report.traces, benchmark="Flags_2", source="made")
    return cache


def manager(cache: TraceCache, **metadata: Any) -> TaskManager:
    """Return lm-eval's index of our tasks only."""
    metadata = {"rbridge_cache": cache.root, **metadata}
    return TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=metadata)


def evaluated(model: HFLM, cache: TraceCache, tasks: list[str], **metadata: Any) -> dict[str, Any]:
    """Return lm-eval's results of the tasks."""
    metadata = {"rbridge_cache": cache.root, **metadata}
    options: dict[str, Any] = {"bootstrap_iters": 0, "metadata": metadata, "limit": 3}
    if any(task.endswith("_gen") for task in tasks):
        options["gen_kwargs"] = "max_gen_toks=4"
    return dict(simple_evaluate(model, tasks=tasks, task_manager=manager(cache, **metadata), **options))


@pytest.fixture
def model(checkpoint: Path) -> HFLM:
    """A tiny model as ``--model hf`` loads it."""
    return HFLM(str(checkpoint), device="cpu", batch_size=1)


def test_the_cache_determines_the_tasks(cache: TraceCache) -> None:
    """Every variant that the traces allow is listed, and its scores belong to the benchmark in a score table."""
    names = manager(cache).all_subtasks
    assert {name for name in names if "tide-s" in name} == {
        "rbridge_tide-s", "rbridge_proxies_tide-s", "rbridge_tide-s_gold", "rbridge_tide-s_scb", "rbridge_tide-s_gen",
    }  # fmt: skip
    assert {name for name in names if "Flags_2" in name} == {
        "rbridge_Flags_2", "rbridge_proxies_Flags_2", "rbridge_Flags_2_gold", "rbridge_Flags_2_cf",
        "rbridge_Flags_2_gen",
    }  # fmt: skip
    assert {benchmark_of(name) for name in names if "tide-s" in name} == {"tide-s"}
    assert {benchmark_of(name) for name in names if "Flags_2" in name} == {"Flags_2"}
    assert "rbridge_gsm8k" in names


def test_numbers_are_those_of_rb_score(cache: TraceCache, model: HFLM, checkpoint: Path) -> None:
    """With a custom template and examples from the traces the prompts are the same, so numbers are equal bit by bit."""
    theirs = evaluated(model, cache, ["rbridge_tide-s"])
    ours = rb.score(str(checkpoint), None, "tide-s", cache=cache.root, limit=3)
    assert theirs["n-shot"]["rbridge_tide-s"] == 3
    assert ours.settings["n-shot"] == "3"
    for metric, value in ours.metrics.items():
        assert value == theirs["results"]["rbridge_tide-s"][f"{metric},none"], metric
    for sample in theirs["samples"]["rbridge_tide-s"]:
        context = sample["arguments"][0][0]
        assert context.endswith(f"\n\nQ: {sample['doc']['question']}\nA: ")
        assert context.count(sample["doc"]["question"]) == 1, "the scored item is never an example"
        assert context.count("Final answer:") == 3


def test_every_variant_is_scored(cache: TraceCache, model: HFLM) -> None:
    """Each task gives finite numbers, and a benchmark without examples is scored 0-shot."""
    tasks = [name for name in manager(cache).all_subtasks if "tide-s" in name or "Flags_2" in name]
    results = evaluated(model, cache, tasks, rbridge_weights="none")
    for task in tasks:
        values = [value for key, value in results["results"][task].items() if "," in key and "stderr" not in key]
        assert any(isinstance(value, float) and value == value for value in values), task
    assert results["n-shot"]["rbridge_Flags_2"] == 0
    sample = results["samples"]["rbridge_Flags_2"][1]
    expected = "Question: Which flag has 1 stars?\nA. flag 1\nB. none of\nC. all,\nof them\nAnswer: "
    assert sample["arguments"][0][0] == expected


def test_the_bare_prompt_is_the_question_alone(cache: TraceCache, model: HFLM, checkpoint: Path) -> None:
    """The prompt is the question only; results record it; tasks without a trace refuse the option."""
    theirs = evaluated(model, cache, ["rbridge_tide-s", "rbridge_tide-s_gold"], rbridge_prompt="bare")
    for sample in theirs["samples"]["rbridge_tide-s"]:
        assert sample["arguments"][0] == (sample["doc"]["question"], sample["doc"]["trace"])
    assert theirs["configs"]["rbridge_tide-s"]["metadata"]["rbridge_traces"]["prompt"] == "bare"
    ours = rb.score(str(checkpoint), None, "tide-s", cache=cache.root, prompt="bare", limit=3)
    assert ours.metrics["rbridge_nll"] == theirs["results"]["rbridge_tide-s"]["rbridge_nll,none"]
    assert ours.settings["prompt"] == "bare"
    with pytest.raises(RBridgeError, match="bare"):
        manager(cache, rbridge_prompt="bare").load(["rbridge_tide-s_gen"])


@pytest.mark.parametrize("benchmark", ["gsm8k", "tide-s"])
def test_examples_of_the_user_are_used_and_recorded(
    benchmark: str, cache: TraceCache, model: HFLM, checkpoint: Path, tmp_path: Path
) -> None:
    """A file of seven examples works for shipped benchmarks, too; an example equal to the scored item is left out."""
    file = write_csv(tmp_path / "examples.csv", [{**row, "id": f"e{n}"} for n, row in enumerate(tides(7))])
    place = cache if benchmark == "tide-s" else None
    metadata = {"rbridge_cache": place.root if place else "sample", "rbridge_fewshot": file, "rbridge_weights": "none"}
    tasks = TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=metadata)
    task = f"rbridge_{benchmark}"
    theirs = simple_evaluate(
        model, tasks=[task], task_manager=tasks, metadata=metadata, num_fewshot=7, bootstrap_iters=0, limit=3
    )
    ours = rb.score(
        str(checkpoint), None, benchmark, cache=metadata["rbridge_cache"], weights="none", num_fewshot=7, fewshot=file,
        limit=3,
    )  # fmt: skip
    assert ours.metrics["trace_nll"] == theirs["results"][task]["trace_nll,none"]
    record = theirs["configs"][task]["metadata"]["rbridge_traces"]["fewshot"]
    assert record["origin"] == file
    assert ours.settings["few-shot examples"] == record["sha256"][:12]
    shots = theirs["samples"][task][0]["arguments"][0][0].count("Final answer:")
    assert shots == (7 if benchmark == "gsm8k" else 6)


def test_the_group_is_unchanged_unless_asked(cache: TraceCache) -> None:
    """Benchmarks of the cache are in the group ``rbridge`` only where ``rbridge_group`` names them."""
    asked = manager(cache, rbridge_group=["tide-s", "Flags_2"], rbridge_weights="none")
    members = [task.config.task for task in asked.load(["rbridge"])["groups"]["rbridge"].get_all_tasks()]
    assert members == ["rbridge_tide-s", "rbridge_Flags_2"]
    assert asked.load(["rbridge", "rbridge_tide-s"])["groups"].keys() == {"rbridge"}
    with pytest.raises(RBridgeError, match="rbridge_nobench"):
        manager(cache, rbridge_group=["nobench"])


def test_an_unreadable_benchmark_does_not_affect_other_tasks(
    cache: TraceCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged manifest or definition removes the tasks of its benchmark only; a warning names the file."""
    broken = TraceCache(str(tmp_path))
    for name in ("ok", "manifest", "yaml"):
        report = import_traces(write_csv(tmp_path / "t.csv", tides()), benchmark=name)
        broken.write(report.traces, benchmark=name, source="made")
    (tmp_path / "manifest/made/manifest.json").write_text("{", encoding="utf-8")
    (tmp_path / "yaml/benchmark.yaml").write_text("grader: [", encoding="utf-8")
    names = manager(broken).all_subtasks
    assert "rbridge_ok" in names
    assert "rbridge_gsm8k" in names
    assert not {"rbridge_manifest", "rbridge_yaml"} & {*names}
    assert "benchmark.yaml" in caplog.text
    assert "manifest.json" in caplog.text


def test_collect_warns_of_other_examples_and_prompts(cache: TraceCache, model: HFLM, tmp_path: Path) -> None:
    """Results with the default prompt cannot be compared with results with the bare prompt."""
    for name, metadata in (("a", {}), ("b", {"rbridge_prompt": "bare"})):
        results = evaluated(model, cache, ["rbridge_tide-s"], **metadata)
        results.pop("samples")
        results["config"] = {"model": "hf", "model_args": {"pretrained": name}}
        (tmp_path / f"results_{name}.json").write_text(json.dumps(results, default=str), encoding="utf-8")
    collected = collect(tmp_path)
    lines = [note.text for note in collected.notes]
    assert any("prompt differs" in line for line in lines), lines
    assert set(collected.table["benchmark"]) == {"tide-s"}


def test_a_definition_is_read_back_unchanged(cache: TraceCache) -> None:
    """Template, grader and examples are read back as they were written."""
    examples = import_traces(str(Path(cache.root).parent / "tides.csv"), benchmark="x").traces[:2]
    written = Benchmark(name="x", question_template="é {question} {x}", grader="text", fewshot=tuple(examples))
    place = TraceCache(str(Path(cache.root).parent / "definitions"))
    place.define(written)
    read = place.definition("x")
    assert (read.question_template, read.grader, read.default_shots) == ("é {question} {x}", "text", 2)
    assert isinstance(read.fewshot, tuple)
    assert [(e.question, e.trace, e.final_answer) for e in read.fewshot] == [
        (e.question, e.trace, e.final_answer) for e in examples
    ]
