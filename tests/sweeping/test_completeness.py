"""Whether the files of a checkpoint are complete."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from rbridge_tasks.sweeping.completeness import lacking, state_of

from ..metrics.strategies import cases
from ..support import tiny_model


@pytest.fixture(scope="module")
def sharded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint in several parts."""
    folder = tmp_path_factory.mktemp("sharded")
    tiny_model("llama", 700).save_pretrained(folder, max_shard_size="80KB")
    shutil.copy(checkpoint / "tokenizer.json", folder)
    assert len([*folder.glob("*.safetensors")]) > 1
    return folder


@pytest.fixture
def copy(sharded: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(sharded, tmp_path / "step10")


def test_saved_checkpoints_of_transformers_are_complete(checkpoint: Path, sharded: Path) -> None:
    """Weights in one file and weights in several files."""
    assert lacking(checkpoint) is None
    assert lacking(sharded) is None


@cases(60)
@given(data=st.data())
def test_a_truncated_safetensors_file_is_not_complete(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cuts within the length, the header, a tensor and the last byte, and an extra byte, are detected."""
    folder = tmp_path_factory.getbasetemp() / "cut"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    path = folder / "model.safetensors"
    save_file({"a": torch.ones(3, 5), "b": torch.zeros(7, dtype=torch.float16)}, path)
    whole = path.read_bytes()
    assert lacking(folder) is None
    header = int.from_bytes(whole[:8], "little")
    edges = st.sampled_from([0, 1, 7, 8, 9, 8 + header - 1, 8 + header, 8 + header + 1, len(whole) - 1])
    path.write_bytes(whole[: data.draw(edges | st.integers(0, len(whole) - 1))])
    assert "model.safetensors" in (lacking(folder) or "")
    path.write_bytes(whole + b"\0")
    assert "model.safetensors" in (lacking(folder) or "")


def test_a_checkpoint_is_complete_only_with_its_last_file(sharded: Path, tmp_path: Path) -> None:
    """Files are added in two orders; the checkpoint is complete only with all of them."""
    needed = [path for path in sorted(sharded.iterdir()) if path.name != "generation_config.json"]
    for number, order in enumerate((needed, needed[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in order:
            assert lacking(folder) is not None, f"complete before {path.name}"
            shutil.copy(path, folder)
        assert lacking(folder) is None


def test_each_missing_or_unfinished_file_is_named(copy: Path) -> None:
    """The reason names the file and its defect."""
    index = copy / "model.safetensors.index.json"
    parts = sorted(path.name for path in copy.glob("*.safetensors"))
    (copy / parts[1]).rename(copy / "elsewhere")
    assert lacking(copy) == f"{parts[1]} is missing ({len(parts) - 1} of {len(parts)} parts are there)"
    (copy / "elsewhere").rename(copy / parts[1])
    written = index.read_text()
    index.unlink()
    assert lacking(copy) == f"{parts[0]} is there, but not the index that names all parts"
    index.write_text(written[:50])
    assert lacking(copy) == "model.safetensors.index.json is not finished"
    index.write_text(json.dumps({"weight_map": {}}))
    assert lacking(copy) == "model.safetensors.index.json names no weights"
    index.write_text(written)
    (copy / "config.json").write_text('{"model_type": "lla')
    assert lacking(copy) == "config.json is not finished"
    (copy / "config.json").unlink()
    assert lacking(copy) == "no config.json"


def test_a_tokenizer_may_be_in_the_parent_folder_or_elsewhere(copy: Path) -> None:
    """A missing or unfinished tokenizer makes the checkpoint incomplete."""
    (copy / "tokenizer.json").rename(copy.parent / "tokenizer.json")
    assert lacking(copy) is None
    (copy.parent / "tokenizer.json").write_text("{")
    assert lacking(copy) == "tokenizer.json is not finished"
    (copy.parent / "tokenizer.json").unlink()
    assert lacking(copy) == "no tokenizer in it, nor in the folder above"
    assert lacking(copy, tokenizer_elsewhere=True) is None
    for name in ("qwen.tiktoken", "tiktoken.model", "tokenization_mine.py"):
        (copy / name).touch()
        assert lacking(copy) is None
        (copy / name).unlink()


def test_pickled_weights_are_complete_with_their_directory_or_after_a_minute(copy: Path) -> None:
    """Zip files end with a directory; the older format counts as complete if it is unchanged for a minute."""
    for part in copy.glob("model*"):
        part.unlink()
    path = copy / "pytorch_model.bin"
    torch.save({"weight": torch.ones(1000)}, path)
    assert lacking(copy) is None
    path.write_bytes(path.read_bytes()[:-100])
    assert lacking(copy) == "pytorch_model.bin ends too early"
    torch.save({"weight": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    assert "may not be finished" in (lacking(copy) or "")
    os.utime(path, (time.time() - 100, time.time() - 100))
    assert lacking(copy) is None
    path.unlink()
    assert lacking(copy) == "no weights"


def test_the_state_of_a_folder_changes_with_every_write(copy: Path) -> None:
    """The state changes with an added byte, an added file, and the removal of the folder."""
    before = state_of(copy)
    assert before == state_of(copy)
    with (copy / "config.json").open("a") as file:
        file.write(" ")
    assert (after := state_of(copy)) != before
    (copy / "new").touch()
    assert state_of(copy) != after
    assert state_of(copy / "gone") == {}
