"""The size of a local checkpoint is read from its files as transformers counts it, without its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import transformers
from transformers import AutoModelForCausalLM

from rbridge_tasks.tables.checkpoint_files import params_of_checkpoint, tokens_of_checkpoint

from ..support import tiny_model


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("shard", ["10GB", "100KB"])
def test_the_count_is_that_of_transformers(kind: str, shard: str, tmp_path: Path) -> None:
    """One file or many, tied embeddings or not: the headers add up to the parameters of the model."""
    model = tiny_model(kind, 300)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len([*tmp_path.glob("*.safetensors")]) > 1) == (shard == "100KB")
    assert params_of_checkpoint(tmp_path) == AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters()


def test_without_safetensors_the_configuration_is_enough(checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint of another format is described by config.json."""
    shutil.copy(checkpoint / "config.json", tmp_path)
    expected = AutoModelForCausalLM.from_pretrained(checkpoint).num_parameters()
    assert params_of_checkpoint(tmp_path) == expected


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": "{"},
        {"config.json": '{"model_type": "no such model"}'},
        {"config.json": '{"model_type": "llama", "hidden_size": "wide"}'},
        {"config.json": '{"model_type": "no such model"}', "model.safetensors": "\x00"},
    ],
)
def test_what_does_not_tell_is_unknown(files: dict[str, str], tmp_path: Path) -> None:
    """Damaged and foreign files give no number, and no error."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert params_of_checkpoint(tmp_path) is None


def test_packed_weights_are_not_counted(checkpoint: Path, tmp_path: Path) -> None:
    """Four bits in a byte would count as half the parameters: unknown instead."""
    folder = shutil.copytree(checkpoint, tmp_path / "packed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    assert params_of_checkpoint(folder) is None


def test_tokens_stand_where_the_trainer_notes_them(tmp_path: Path) -> None:
    """trainer_state.json of transformers holds them when it was asked to count, and 0 when not."""
    state = transformers.TrainerState(global_step=500, num_input_tokens_seen=1_024_000)
    for name, seen in (("counted", 1_024_000), ("not", 0)):
        (tmp_path / name).mkdir()
        state.num_input_tokens_seen = seen
        state.save_to_json(str(tmp_path / name / "trainer_state.json"))
    assert tokens_of_checkpoint(tmp_path / "counted") == 1_024_000
    assert tokens_of_checkpoint(tmp_path / "not") is None
    assert tokens_of_checkpoint(tmp_path) is None
