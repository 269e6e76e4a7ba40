"""``rb.score`` gives the numbers of the lm_eval command from Python, and restores the model and torch."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as tokenizers_library
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import models
from transformers import AutoModelForCausalLM, AutoTokenizer

import rbridge_tasks as rb
from rbridge_metrics import RBridgeError, rbridge_nll
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.scoring.teacher_forcing import add_confidence, load_scorer
from rbridge_tasks.tables.sample_settings import settings_beside
from rbridge_tasks.tables.samples import read_items
from rbridge_tasks.tables.score_table import checked_scores
from rbridge_tasks.tables.trace_samples import evaluations
from rbridge_traces import SampleCache, TraceCache

from ..error_bounds import model_bound
from ..support import tiny_model

#: Task version in the settings of ``rb.score``; lm-eval reports the version of the YAML file.
TASK_VERSION = "1.0"


def by_lm_eval(model: HFLM, benchmark: str, **options: Any) -> dict[str, float]:
    """Metrics and standard errors of lm-eval under its own names."""
    version = options.pop("version", TASK_VERSION)
    metadata = {"rbridge_cache": options.pop("cache", "sample"), "rbridge_weights": options.pop("weights")}
    manager = TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=metadata)
    results = simple_evaluate(
        model, tasks=[f"rbridge_{benchmark}"], task_manager=manager, metadata=metadata, bootstrap_iters=1000,
        **options,
    )  # fmt: skip
    assert str(results["versions"][f"rbridge_{benchmark}"]) == version
    return dict(results["results"][f"rbridge_{benchmark}"])


def equal(ours: rb.Scores, theirs: dict[str, float], version: str = TASK_VERSION) -> None:
    """Assert that all metrics and standard errors are equal to the last bit."""
    assert ours.metrics
    assert ours.settings["task version"] == version
    for metric, value in ours.metrics.items():
        assert value == theirs[f"{metric},none"], metric
        assert ours.stderr[metric] == theirs[f"{metric}_stderr,none"], metric


@pytest.mark.parametrize("benchmark", ["gsm8k", "arc_challenge", "humaneval"])
@pytest.mark.parametrize(("weights", "shots", "batch"), [("spans", 5, 1), ("spans", 0, 4), ("none", 2, 8)])
def test_numbers_are_those_of_lm_eval(checkpoint: Path, benchmark: str, weights: str, shots: int, batch: int) -> None:
    """Value and standard error of every metric, for several prompts, weights and batch sizes."""
    theirs = by_lm_eval(
        HFLM(str(checkpoint), device="cpu", batch_size=batch), benchmark, weights=weights, num_fewshot=shots
    )
    ours = rb.score(
        str(checkpoint), None, benchmark, num_fewshot=shots, weights=weights, cache="sample", batch_size=batch
    )
    equal(ours, theirs)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: No white space before an answer, and no system message.
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system message') }}"
    "{% elif m.role == 'user' %}[INST] {{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "version", "options"),
    [
        (CHATML, "1.0", {"num_fewshot": 2, "system_instruction": "Answer in short."}),
        (CHATML, "1.0", {"num_fewshot": 2, "fewshot_as_multiturn": False}),
        (MISTRAL, "1.1", {"num_fewshot": 1, "system_instruction": "Answer in short."}),
        (MISTRAL, "1.1", {"num_fewshot": 0}),
        (None, "1.0", {"num_fewshot": 1, "system_instruction": "Answer in short."}),
    ],
    ids=["chatml system", "chatml one turn", "mistral system", "mistral 0-shot", "system alone"],
)
def test_chat_templates_are_applied_as_under_lm_eval(
    checkpoint: Path, template: str | None, version: str, options: dict[str, Any]
) -> None:
    """Messages, assistant header, version and settings agree: numbers are equal to the last bit."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = template
    options |= {"apply_chat_template": template is not None, "limit": 3}
    model = HFLM(AutoModelForCausalLM.from_pretrained(checkpoint), tokenizer=tokenizer, device="cpu", batch_size=1)
    theirs = by_lm_eval(model, "gsm8k", weights="none", version=version, **options)
    ours = rb.score(str(checkpoint), tokenizer, "gsm8k", weights="none", cache="sample", **options)
    equal(ours, theirs, version)
    assert (ours.settings["chat template"] == "none") == (template is None)
    assert (ours.settings["system instruction"] == "none") == ("system_instruction" not in options)


def test_a_tokenizer_without_a_chat_template_is_refused(checkpoint: Path) -> None:
    """The error comes before any score."""
    with pytest.raises(RBridgeError, match="no default chat template"):
        rb.score(str(checkpoint), None, "gsm8k", cache="sample", weights="none", apply_chat_template=True)


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('ask for a system message') }}", "{% if %}", "{{ messages[0].content + 1 }}"],
    ids=["refuses", "syntax", "type"],
)
def test_a_chat_template_that_renders_nothing_is_refused(checkpoint: Path, template: str) -> None:
    """In one line that names the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = template
    with pytest.raises(RBridgeError, match=r"the chat template of the tokenizer .* cannot render a question") as error:
        rb.score(str(checkpoint), tokenizer, "gsm8k", cache="sample", weights="none", apply_chat_template=True)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def confident(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Cache of the sample's traces of GSM8K with the confidences of a tiny model."""
    sample = SampleCache().load("gsm8k").traces
    traces = add_confidence(sample, load_scorer(str(checkpoint)), num_fewshot=1)
    folder = str(tmp_path_factory.mktemp("cache"))
    TraceCache(folder).write(traces, benchmark="gsm8k", source="tiny", confidence_model="tiny")
    return folder


@pytest.mark.parametrize("weights", ["confidence", "confidence_test_set"])
def test_confidences_weight_as_under_lm_eval(checkpoint: Path, confident: str, weights: str) -> None:
    """With confidences in the cache: MinMax within each trace, and over the test set."""
    theirs = by_lm_eval(
        HFLM(str(checkpoint), device="cpu"), "gsm8k", weights=weights, cache=confident, num_fewshot=1, limit=None
    )
    equal(rb.score(str(checkpoint), None, "gsm8k", num_fewshot=1, weights=weights, cache=confident), theirs)


def test_a_model_in_training_is_restored(checkpoint: Path) -> None:
    """Modes of all modules, tensors, gradients, random states and torch's settings do not change."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).train()
    model.model.layers[0].eval()  # a frozen layer must keep its mode
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()

    def state() -> dict[str, Any]:
        tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        return {
            "modes": [module.training for module in model.modules()],
            "tensors": tensors,
            "gradients": {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None},
            "requires": [parameter.requires_grad for parameter in model.parameters()],
            "random": (list(random.getstate()[1]), np.random.get_state()[1].tolist(), torch.get_rng_state()),
            "torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()),
        }

    before, attention = state(), model.config._attn_implementation
    first = rb.score(model, tokenizer, "gsm8k", num_fewshot=1, weights="none", cache="sample", limit=3)
    torch.testing.assert_close(state(), before, rtol=0, atol=0)
    assert model.config._attn_implementation == attention
    model(input_ids=ids, labels=ids).loss.backward()
    again = rb.score(str(checkpoint), None, "gsm8k", num_fewshot=1, weights="none", cache="sample", limit=3)
    assert first.metrics == again.metrics


def test_a_callable_gives_the_scores_of_its_model(checkpoint: Path) -> None:
    """For a function from ids to logits, up to the rounding of other batches and another projection."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    expected = rb.score(model, tokenizer, "gsm8k", num_fewshot=1, weights="spans", cache="sample", limit=4)
    scores = rb.score(
        lambda ids: model(input_ids=ids).logits, tokenizer, "gsm8k", num_fewshot=1, weights="spans", cache="sample",
        limit=4, batch_size=2, max_length=model.config.max_position_embeddings,
    )  # fmt: skip
    logprobs = np.concatenate([token_scores.logprob for token_scores in expected.token_scores.values()])
    bound = model_bound(logprobs, positions=model.config.max_position_embeddings)
    for metric, value in expected.metrics.items():
        assert scores.metrics[metric] == pytest.approx(value, abs=bound)


def test_a_module_that_is_no_transformers_model_stays_in_training_mode(tokenizers: dict[str, Any]) -> None:
    """It is scored without dropout, so two scorings agree; its mode and the random states do not change."""
    vocabulary = len(tokenizers["bos"])

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Embedding(vocabulary, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, vocabulary)
    ).train()
    options: dict[str, Any] = {"num_fewshot": 0, "weights": "none", "cache": "sample", "limit": 2, "max_length": 4096}
    before = torch.get_rng_state()
    first, second = (rb.score(model, tokenizers["bos"], "gsm8k", **options) for _ in range(2))
    assert first.metrics == second.metrics
    assert all(module.training for module in model.modules())
    assert torch.equal(before, torch.get_rng_state())


def test_a_table_of_the_scores_is_a_score_table(checkpoint: Path) -> None:
    """The table passes the checks of score tables; the dictionary is JSON; notebooks show HTML."""
    import json

    scores = rb.score(str(checkpoint), None, "csqa", num_fewshot=0, weights="spans", cache="sample")
    table = checked_scores(scores.to_frame(run="mine", tokens=1e9))
    assert set(table.metric) == set(scores.metrics)
    assert (table.run == "mine").all()
    assert (table.n == len(scores.token_scores)).all()
    json.dumps(scores.to_dict(), allow_nan=False)
    assert "rbridge_nll" in scores._repr_html_()
    items = scores.item_frame()
    assert items.rbridge_nll.mean() == pytest.approx(scores.metrics["rbridge_nll"], rel=1e-12)


def test_reweighting_needs_no_model(checkpoint: Path) -> None:
    """New weights from the same token scores: equal to a run with these weights, and to weights worked by hand."""
    options: dict[str, Any] = {"num_fewshot": 1, "cache": "sample"}
    plain = rb.score(str(checkpoint), None, "gsm8k", weights="none", **options)
    assert "rbridge_nll" not in plain.metrics
    spans = rb.score(str(checkpoint), None, "gsm8k", weights="spans", **options)
    assert rb.reweight(plain, "spans").metrics == spans.metrics
    halves = rb.reweight(plain, lambda _trace, scores: np.full(scores.logprob.size, 0.5))
    assert halves.metrics["rbridge_nll"] == pytest.approx(plain.metrics["trace_nll"] / 2, rel=1e-12)
    item_id = next(iter(plain.traces))
    without_spans = dict(plain.traces) | {item_id: dataclasses.replace(plain.traces[item_id], spans=None)}
    some = rb.reweight(dataclasses.replace(plain, traces=without_spans), lambda _trace, scores: 0 * scores.logprob)
    assert some.metrics["rbridge_nll"] == 0
    assert "rbridge_span_nll" not in some.metrics
    first = rb.reweight(plain, lambda _trace, scores: np.arange(scores.logprob.size) == 0)
    by_hand = [rbridge_nll(s.nll, np.eye(1, s.logprob.size)[0]) for s in plain.token_scores.values()]
    assert first.metrics["rbridge_nll"] == pytest.approx(math.fsum(by_hand) / len(by_hand), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "offending"),
    [
        ({"weights": "confidnce"}, "confidnce"),
        ({"num_fewshot": 99}, "99"),
        ({"num_fewshot": -1}, "-1"),
        ({"limit": 0}, "0"),
        ({"batch_size": 0}, "0"),
        ({"benchmark": "gsm9k"}, "gsm9k"),
        ({"weights": "confidence"}, "confidence"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"model": 7, "tokenizer": "made"}, "int"),
        ({"model": tiny_model("llama", 50)}, "tokenizer"),
        ({"model": tiny_model("llama", 50), "tokenizer": "made"}, "the model knows 50 tokens"),
        ({"model": tiny_model("llama", 50), "tokenizer": tokenizers_library.Tokenizer(models.BPE())}, "Tokenizer"),
        ({"weights": ["none"]}, "['none']"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": "64"}, "max_length is '64'"),
        ({"autocast_dtype": "bfloat16"}, "'bfloat16'"),
        ({"model": torch.nn.Identity(), "tokenizer": "made", "device": "gpu"}, "device is 'gpu'"),
        ({"model": torch.nn.Identity(), "tokenizer": "made", "device": "cuda:99"}, "device is 'cuda:99'"),
    ],
)
def test_bad_input_is_one_line(
    checkpoint: Path, tokenizers: dict[str, Any], arguments: dict[str, Any], offending: str
) -> None:
    """The error names the invalid value."""
    if arguments.get("tokenizer") == "made":
        arguments = arguments | {"tokenizer": tokenizers["bos"]}
    call = {"model": str(checkpoint), "cache": "sample", "weights": "none"} | arguments
    with pytest.raises(RBridgeError) as error:
        rb.score(call.pop("model"), call.pop("tokenizer", None), call.pop("benchmark", "gsm8k"), **call)
    assert offending in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", b'{"added_tokens": [], "model": {"type": "Newer"}}'),  # tokenizers raises Exception itself
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"[]"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "wide"}'),
        ("model.safetensors", b""),
        ("pytorch_model.bin", b""),
        ("pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(checkpoint: Path, tmp_path: Path, file: str, content: bytes) -> None:
    """The error names the folder, whatever the libraries raise."""
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    if file.endswith(".bin"):
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(RBridgeError, match=f"cannot load {tmp_path} as a causal LM") as error:
        rb.score(str(tmp_path), None, "gsm8k", cache="sample", weights="none")
    assert "\n" not in str(error.value)
    if file.startswith("tokenizer"):
        with pytest.raises(RBridgeError, match=f"cannot load the tokenizer '{tmp_path}'"):
            rb.score(tiny_model("llama", 50), str(tmp_path), "gsm8k", cache="sample", weights="none")


def test_metrics_of_traces_follow_the_weights(checkpoint: Path, confident: str) -> None:
    """``item_frame`` uses the requested weighting: by a function, and over the whole test set."""
    scores = rb.score(str(checkpoint), None, "gsm8k", num_fewshot=0, limit=3, cache=confident)

    def first_token(_trace: Any, tokens: Any) -> Any:
        return np.arange(len(tokens.logprob)) == 0

    items = rb.reweight(scores, first_token).item_frame()
    expected = [float(tokens.nll[0]) / len(tokens.nll) for tokens in scores.token_scores.values()]
    assert items["rbridge_nll"].to_list() == pytest.approx(expected)
    over_test_set = rb.reweight(scores, "confidence_test_set")
    assert over_test_set.item_frame()["rbridge_nll"].mean() == pytest.approx(over_test_set.metrics["rbridge_nll"])


def test_saved_scores_are_read_like_samples_of_lm_eval(checkpoint: Path, confident: str, tmp_path: Path) -> None:
    """The files of ``save`` and of lm-eval hold the same items, metrics and token scores, to the last bit."""
    ours = rb.score(str(checkpoint), None, "gsm8k", num_fewshot=1, limit=3, cache=confident)
    (mine,) = sample_file(ours.save(tmp_path / "ours"))
    model = HFLM(str(checkpoint), device="cpu", batch_size=1)
    metadata = {"rbridge_cache": confident, "rbridge_token_scores": str(tmp_path / "theirs")}
    manager = TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=metadata)
    results = simple_evaluate(
        model, tasks=["rbridge_gsm8k"], task_manager=manager, metadata=metadata, limit=3, num_fewshot=1,
        log_samples=False,
    )  # fmt: skip
    assert "samples" not in results
    (theirs,) = sample_file(tmp_path / "theirs")
    for metric in ours.metrics:
        a, b = read_items(mine, metric), read_items(theirs, metric)
        assert (a.ids, a.hashes) == (b.ids, b.hashes)
        assert a.numerator.tobytes() == b.numerator.tobytes()
    (evaluation,), (reference,) = evaluations([mine]), evaluations([theirs])
    for first, second in zip(evaluation.traces(), reference.traces(), strict=True):
        assert str(first.scores) == str(second.scores)
    assert settings_beside(mine, "rbridge_nll").items() >= {"n-shot": "1", "weights": "confidence"}.items()


def sample_file(path: str | Path) -> list[Path]:
    """The files of token scores at a path, a file or a folder."""
    return [Path(path)] if Path(path).is_file() else [*Path(path).glob("samples_rbridge_gsm8k_*.parquet")]
