"""A model spread over devices, two processes, and lm-eval's own command, on the GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from lm_eval.models.huggingface import HFLM

from rbridge_tasks.backends import hf

from ..error_bounds import assert_within, model_sum_bound
from ..support import harness_model, mixed_pairs, stock_loglikelihoods, tiny_model

METADATA = json.dumps({"rbridge_weights": "spans", "rbridge_cache": "sample"})
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices here")


def model_on(device: torch.device, tokenizers: dict[str, Any], **options: Any) -> HFLM:
    """A random Llama on the device, wrapped by lm-eval."""
    tokenizer = tokenizers["bos"]
    return harness_model(tiny_model("llama", len(tokenizer)).to(device), tokenizer, **{"batch_size": 4} | options)


def scores_of(lm: HFLM, **options: Any) -> list[Any]:
    return [
        score.logprob for score in hf.score(lm, mixed_pairs(), [str(i) for i in range(len(mixed_pairs()))], **options)
    ]


def agree(log_probs: list[Any], expected: list[Any]) -> None:
    """Assert that sums are equal to rounding."""
    for logprob, reference in zip(log_probs, expected, strict=True):
        assert_within(logprob.sum(dtype=float), reference.sum(dtype=float), model_sum_bound(reference))


def test_sums_are_those_of_stock(device: torch.device, tokenizers: dict[str, Any]) -> None:
    """In float32, on the same device."""
    lm = model_on(device, tokenizers)
    stock = stock_loglikelihoods(lm, mixed_pairs())
    for logprob, total in zip(scores_of(lm), stock, strict=True):
        assert_within(logprob.sum(dtype=float), total, model_sum_bound(logprob))


def test_scores_are_those_of_the_cpu(device: torch.device, tokenizers: dict[str, Any]) -> None:
    """In float32 the devices differ only by rounding."""
    agree(scores_of(model_on(device, tokenizers)), scores_of(model_on(torch.device("cpu"), tokenizers)))


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_compiled_layers_give_the_same_scores(
    device: torch.device, tokenizers: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Layers and reduction are compiled for the device."""
    agree(scores_of(model_on(device, tokenizers), compiled=True), scores_of(model_on(device, tokenizers)))
    assert "compiled layers" not in caplog.text, "the trial refused them"


@pytest.mark.parametrize(
    "places",
    [
        pytest.param((0, "cpu"), id="GPU and host memory"),
        pytest.param((0, 1), id="two GPUs", marks=needs_two),
        pytest.param((1, 0), id="two GPUs, the last layers on the first", marks=needs_two),
    ],
)
def test_model_spread_over_devices(places: tuple[Any, Any], device: torch.device, tokenizers: dict[str, Any]) -> None:
    """Embeddings and the first layer on one device, the second layer and the output projection on another."""
    first, last = (device if place == 0 and device.type == "cpu" else place for place in places)
    layout = {"model.embed_tokens": first, "model.layers.0": first, "model.layers.1": last}
    layout |= {"model.norm": last, "model.rotary_emb": first, "lm_head": last}
    model = tiny_model("llama", len(tokenizers["bos"]), tie_word_embeddings=False)
    dispatched = dispatch_model(model, layout, main_device=first, force_hooks=True)
    lm = harness_model(dispatched, tokenizers["bos"], batch_size=4)
    reference = harness_model(
        tiny_model("llama", len(tokenizers["bos"]), tie_word_embeddings=False).to(device), tokenizers["bos"]
    )
    agree(scores_of(lm), scores_of(reference))


@needs_two
def test_parallelize_gives_the_same_scores(checkpoint: Path, device: torch.device) -> None:
    """``parallelize=True`` of lm-eval, which divides the layers between the GPUs."""
    on_one_gpu = HFLM(pretrained=str(checkpoint), device=str(device), dtype="float32", batch_size=4, max_length=2048)
    size = sum(parameter.numel() * 4 for parameter in on_one_gpu.model.parameters())
    on_two_gpus = HFLM(
        pretrained=str(checkpoint),
        parallelize=True,
        max_memory_per_gpu=int(0.7 * size),
        dtype="float32",
        batch_size=4,
        max_length=2048,
    )
    assert len(set(on_two_gpus.model.hf_device_map.values())) == 2
    agree(scores_of(on_two_gpus), scores_of(on_one_gpu))


@needs_two
def test_two_processes_give_the_table_of_one_process(checkpoint: Path, tmp_path: Path) -> None:
    """``accelerate launch --num_processes 2``: each process scores half of the traces on its own GPU."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m"]
    results_of_two = run([*launch, "lm_eval"], checkpoint, tmp_path / "two")
    results_of_one = run(lm_eval("cuda:0"), checkpoint, tmp_path / "one")
    assert results_of_two["n-samples"] == results_of_one["n-samples"]
    assert_metrics_equal(results_of_two, results_of_one)


def test_command_on_the_device_gives_the_table_of_the_cpu(
    checkpoint: Path, tmp_path: Path, device: torch.device
) -> None:
    """``lm_eval --device`` runs the whole task, from the checkpoint to the table."""
    results = [run(lm_eval(name), checkpoint, tmp_path / name.replace(":", "")) for name in (str(device), "cpu")]
    assert_metrics_equal(*results)


def lm_eval(device: str) -> list[str]:
    return [sys.executable, "-m", "lm_eval", "--device", device]


def run(command: list[str], checkpoint: Path, output: Path) -> dict[str, Any]:
    """Run the command on eight traces of the sample; return its results."""
    words = ["--model", "hf", "--model_args", f"pretrained={checkpoint},dtype=float32", "--tasks", "rbridge_gsm8k"]
    words += ["--limit", "8", "--batch_size", "4", "--metadata", METADATA, "--output_path", str(output)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=os.environ, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = output.rglob("results_*.json")
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def assert_metrics_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Assert equality to 1e-5, relative: means over a few thousand tokens, each with a rounding error of about 1e-6."""
    table, reference = (results["results"]["rbridge_gsm8k"] for results in (first, second))
    names = [name for name, value in table.items() if isinstance(value, float) and "stderr" not in name]
    assert names
    for name in names:
        assert table[name] == pytest.approx(reference[name], rel=1e-5), name
