"""The identity of a model and run changes with everything that scores depend on, and with nothing else."""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from rbridge_tasks.backends import hf, stock
from rbridge_tasks.resume.identity import digest_of, scope_of, tokenizer_sha256
from rbridge_tasks.resume.model_files import files_of
from rbridge_tasks.resume.weights import UnidentifiedModelError, loaded_model, weights_sha256

from ..support import FAMILIES, TOKENIZERS, PythonTwin, harness_model, tiny_model

HF, STOCK = hf.BACKEND, stock.BACKEND


def flip_one_bit(model: torch.nn.Module, name: str = "model.layers.1.mlp.down_proj.weight") -> None:
    """Change the least significant bit of one number."""
    with torch.no_grad():
        model.get_parameter(name).data.view(torch.int32)[3, 5] ^= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_models_have_equal_identities_and_one_bit_changes_them(family: str) -> None:
    """For every architecture, also with tied weights."""
    model, changed = tiny_model(family, 300), tiny_model(family, 300)
    assert loaded_model(model) == loaded_model(changed)
    name = sorted(name for name, parameter in changed.named_parameters() if parameter.ndim == 2)[0]
    flip_one_bit(changed, name)
    assert weights_sha256(model) != weights_sha256(changed)


def test_names_types_and_shapes_count(tokenizers: dict[str, Any]) -> None:
    """A changed dtype, shape, order of layers, vocabulary or buffer gives another identity."""
    model = tiny_model("llama", 300)
    identities = {weights_sha256(model)}
    changes: list[Callable[[Any], Any]] = [
        lambda m: m.to(torch.bfloat16),
        lambda m: m.to(torch.float16),
        lambda m: m.model.layers.append(m.model.layers.pop(0)),
        lambda m: setattr(m.model.layers[0].self_attn.o_proj, "weight",
                          torch.nn.Parameter(m.model.layers[0].self_attn.o_proj.weight.reshape(16, 64))),
        lambda m: m.resize_token_embeddings(301),
        lambda m: m.model.rotary_emb.inv_freq.mul_(0.5),
    ]  # fmt: skip
    for change in changes:
        changed = copy.deepcopy(model)
        change(changed)
        identities.add(weights_sha256(changed))
    assert len(identities) == len(changes) + 1


def test_the_location_of_weights_does_not_count(tmp_path: Path) -> None:
    """For a model in memory, offloaded to CPU or disk, read from another folder, or with non-contiguous weights."""
    model = tiny_model("llama", 300)
    expected = weights_sha256(model)
    model.save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first, second = (loaded_model(AutoModelForCausalLM.from_pretrained(tmp_path / name)) for name in ("one", "two"))
    assert first == second
    assert first["weights_sha256"] == expected
    transposed = copy.deepcopy(model)
    weight = transposed.get_parameter("model.layers.0.mlp.up_proj.weight")
    weight.data = weight.data.t().contiguous().t()
    assert weights_sha256(transposed) == expected
    assert loaded_model(cpu_offload(copy.deepcopy(model))) == loaded_model(model)
    assert loaded_model(disk_offload(copy.deepcopy(model), str(tmp_path / "offload"))) == loaded_model(model)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft reads it
def test_settings_of_the_model_and_its_adapters_count() -> None:
    """A layer's constant, the attention implementation, an adapter's weights, and an adapter's scale."""
    model = tiny_model("llama", 300)
    identities = [loaded_model(model), loaded_model(tiny_model("llama", 300, rms_norm_eps=1e-3))]
    model.set_attn_implementation("eager")
    identities.append(loaded_model(model))
    for seed, alpha in ((0, 8), (0, 16), (1, 8)):
        base = tiny_model("llama", 300)
        torch.manual_seed(seed)
        adapter = LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj"], init_lora_weights=False)
        identities.append(loaded_model(get_peft_model(base, adapter)))
    assert len({str(identity) for identity in identities}) == len(identities)


class Doubled(torch.nn.Linear):
    """A module whose code is in no released package."""


def test_code_outside_released_packages_counts() -> None:
    """A module of a user's class is identified by its source."""
    model = tiny_model("llama", 300)
    head = Doubled(32, 300, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    assert any("test_resume_identity" in name for name in loaded_model(model)["code"])
    model.lm_head = type("Nowhere", (Doubled,), {"__module__": "nowhere"})(32, 300)
    with pytest.raises(UnidentifiedModelError, match="source of its code, nowhere, cannot be read"):
        loaded_model(model)


def test_hooks_and_replaced_methods_prevent_identification() -> None:
    """They may change scores in any way, so the model has no identity."""
    model = tiny_model("llama", 300)
    handle = model.model.layers[0].register_forward_hook(lambda _module, _inputs, output: output)
    with pytest.raises(UnidentifiedModelError, match=r"hook .*lambda.* on model.layers.0"):
        loaded_model(model)
    handle.remove()
    model.model.norm.forward = lambda hidden: hidden
    with pytest.raises(UnidentifiedModelError, match=r"forward method of model\.norm was replaced"):
        loaded_model(model)
    with pytest.raises(UnidentifiedModelError, match="not in memory"):
        weights_sha256(tiny_model("llama", 300).to("meta"))


def test_tokenizers_have_identities_that_do_not_depend_on_earlier_calls(tokenizers: dict[str, Any]) -> None:
    """Offsets, special tokens and normalisers count; padding and truncation do not."""
    identities = {name: tokenizer_sha256(tokenizer) for name, tokenizer in tokenizers.items()}
    identities |= {
        f"python {name}": tokenizer_sha256(PythonTwin(tokenizers[name])) for name in ("bos", "byte_fallback")
    }
    assert len(set(identities.values())) == len(identities)
    used = TOKENIZERS["bos"]()
    used("a b c d", max_length=2, truncation=True)
    used.pad_token = used.eos_token
    used(["a", "a b c d"], padding="max_length", max_length=9)
    assert tokenizer_sha256(used) == identities["bos"]
    used.add_tokens(["frontier"])
    assert tokenizer_sha256(used) != identities["bos"]
    with pytest.raises(UnidentifiedModelError, match="its tokenizer, a object"):
        tokenizer_sha256(object())


def test_settings_of_the_run_count_but_batches_do_not(tokenizers: dict[str, Any], monkeypatch: Any) -> None:
    """Window, BOS rule, precision and version of the scorer count; a run may be resumed with other batches."""
    model, tokenizer = tiny_model("llama", 700), tokenizers["bos"]

    def digest(**options: Any) -> str:
        return digest_of(scope_of(harness_model(model, tokenizer, **options), HF))

    same = digest()
    assert digest(batch_size=7) == same
    assert digest(batch_size="auto") == same
    different = [
        digest(max_length=100), digest(add_bos_token=True), digest(prefix_token_id=2),
        digest(mixed_precision_dtype="bfloat16"),
    ]  # fmt: skip
    monkeypatch.setattr("rbridge_tasks.resume.identity.SCORER_VERSION", 10**6)
    different.append(digest())
    assert len({same, *different}) == 6


def test_only_models_whose_weights_are_known_are_identified(tokenizers: dict[str, Any]) -> None:
    """Also by the slow back end; a user's class has an identity only if its back end gives one."""
    model, tokenizer = tiny_model("llama", 700), tokenizers["bos"]
    lm = harness_model(model, tokenizer)
    assert scope_of(lm, STOCK)["model"] == scope_of(lm, HF)["model"]
    assert digest_of(scope_of(lm, STOCK)) != digest_of(scope_of(lm, HF))
    steered = type("Steered", (HFLM,), {})(pretrained=model, tokenizer=tokenizer)
    with pytest.raises(UnidentifiedModelError, match="Steered does not say which weights it scores with"):
        scope_of(steered, STOCK)
    probing = dataclasses.replace(STOCK, identity=lambda _lm: {"probe": [-1.5, -2.0]})
    assert scope_of(steered, probing)["model"] == {"probe": [-1.5, -2.0]}


def test_files_are_identified_by_their_bytes(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A file replaced by one of the same size and time is another; other files of a trainer do not count."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    monkeypatch.setattr("rbridge_tasks.resume.model_files._process_start", lambda: time.time() + 60)
    before = files_of(str(folder), None)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= before.keys()
    (folder / "optimizer.pt").write_bytes(b"moments")
    (folder / "runs").mkdir()
    assert files_of(str(folder), None) == before
    weights = folder / "model.safetensors"
    status, content = weights.stat(), bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = files_of(str(folder), None)
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}


def test_files_written_while_a_model_is_loaded_are_not_identified(checkpoint: Path, tmp_path: Path) -> None:
    """It is unknown which content was loaded. A name that is no folder and not in the Hub's cache has no files."""
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    with pytest.raises(UnidentifiedModelError, match=r"checkpoint/.* changed after this process began"):
        files_of(str(tmp_path / "checkpoint"), None)
    with pytest.raises(UnidentifiedModelError, match=r"no folder, and the cache of the Hub has no config\.json of it"):
        files_of("nobody/nothing", None)
