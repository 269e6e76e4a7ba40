"""Parameters and tokens of a local checkpoint, read from its files without loading weights."""

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
    """The headers give the number of parameters, for one file or many, with or without tied embeddings."""
    model = tiny_model(kind, 300)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len([*tmp_path.glob("*.safetensors")]) > 1) == (shard == "100KB")
    assert params_of_checkpoint(tmp_path) == AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters()


def test_without_safetensors_the_configuration_is_enough(checkpoint: Path, tmp_path: Path) -> None:
    """The size of a checkpoint of another format follows from config.json."""
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
def test_unreadable_files_give_no_size(files: dict[str, str], tmp_path: Path) -> None:
    """Damaged files and unknown models give no number and no error."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert params_of_checkpoint(tmp_path) is None


def test_packed_weights_are_not_counted(checkpoint: Path, tmp_path: Path) -> None:
    """Two 4-bit weights in a byte would count as one parameter, so the size is unknown."""
    folder = shutil.copytree(checkpoint, tmp_path / "packed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    assert params_of_checkpoint(folder) is None


def test_tokens_come_from_the_trainer_state(tmp_path: Path) -> None:
    """trainer_state.json of transformers holds them if counting was on, and else 0, which is unknown."""
    state = transformers.TrainerState(global_step=500, num_input_tokens_seen=1_024_000)
    for name, seen in (("counted", 1_024_000), ("not", 0)):
        (tmp_path / name).mkdir()
        state.num_input_tokens_seen = seen
        state.save_to_json(str(tmp_path / name / "trainer_state.json"))
    assert tokens_of_checkpoint(tmp_path / "counted") == 1_024_000
    assert tokens_of_checkpoint(tmp_path / "not") is None
    assert tokens_of_checkpoint(tmp_path) is None


def test_a_checkpoint_that_is_written_again_is_read_again(checkpoint: Path, tmp_path: Path) -> None:
    """A folder such as ``last`` holds other weights and tokens later in the same process."""
    state = transformers.TrainerState(num_input_tokens_seen=1000)
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    assert (params_of_checkpoint(tmp_path), tokens_of_checkpoint(tmp_path)) == (None, 1000)
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    state.num_input_tokens_seen = 2000
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    expected = AutoModelForCausalLM.from_pretrained(checkpoint).num_parameters()
    assert (params_of_checkpoint(tmp_path), tokens_of_checkpoint(tmp_path)) == (expected, 2000)
