"""The checkpoints that a sweep finds, and their order."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError, in_order, natural
from rbridge_tasks.sweeping.checkpoints import find, folders_of
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard
from rbridge_tasks.sweeping.sweep import only_sweep


def checkpoint(*parts: str | Path) -> Path:
    """Make a folder that looks like a checkpoint."""
    folder = Path(*parts)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=2), st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_steps(steps: list[int], shuffle: random.Random) -> None:
    """Checkpoints of a run are sorted by their steps as numbers."""
    names = [f"/ckpts/web-1B/{shuffle.choice(['step', 'checkpoint-', 'global_step'])}{step}" for step in steps]
    shuffle.shuffle(names)
    ordered_steps = [ordered.named.step for ordered in in_order(Checkpoint(name) for name in names)]
    assert ordered_steps == sorted(steps)


def test_checkpoints_are_ordered_by_run_size_and_step() -> None:
    """A final model without a step follows the checkpoints of its run; stages are separate runs."""
    names = ["/c/web-1B/final", "/c/web-1B/step20", "/c/books-1B/step5", "/c/web-98M/step100", "/c/web-1B/step3"]
    assert [ordered.pretrained for ordered in in_order(map(Checkpoint, names))] == [
        "/c/books-1B/step5", "/c/web-98M/step100", "/c/web-1B/step3", "/c/web-1B/step20", "/c/web-1B/final",
    ]  # fmt: skip
    revisions = ["stage2-step10-tokens1B", "stage1-step200-tokens20B", "stage1-step30-tokens3B", "main"]
    ordered = in_order(Checkpoint("a/OLMo-1B", revision=revision, commit="c") for revision in revisions)
    assert [checkpoint.revision for checkpoint in ordered][:2] == ["stage1-step30-tokens3B", "stage1-step200-tokens20B"]


@given(st.lists(st.text("ab01-_", max_size=6), unique=True), st.randoms(use_true_random=False))
def test_the_natural_order_does_not_depend_on_the_input_order(names: list[str], shuffle: random.Random) -> None:
    """Any names can be sorted, and their sort keys are in the same order for each shuffle."""
    keys = sorted(map(natural, names))
    shuffle.shuffle(names)
    assert [natural(name) for name in sorted(names, key=natural)] == keys


def test_complete_folders_of_a_run_are_found(tmp_path: Path) -> None:
    """The search is three levels deep; temporary names, links to a checkpoint and other folders are ignored."""
    step10, step9 = checkpoint(tmp_path, "web-1B", "step10"), checkpoint(tmp_path, "web-1B", "step9")
    deep = checkpoint(tmp_path, "books", "1B", "checkpoint-5")
    for name in ("tmp-step11", "step12.tmp", ".step13", "step14.partial"):
        checkpoint(tmp_path, "web-1B", name)
    (tmp_path / "web-1B" / "latest").symlink_to(step10)
    (tmp_path / "web-1B" / "logs").mkdir()
    assert folders_of(tmp_path) == [deep, step9, step10]
    assert folders_of(step9) == [step9]
    assert folders_of(tmp_path / "web-1B" / "latest") == [tmp_path / "web-1B" / "latest"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user")
def test_a_folder_closed_to_us_is_skipped_and_a_closed_output_is_named() -> None:
    """A mounted disk has ``lost+found``; an output folder may belong to a colleague."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        step1 = checkpoint(root, "run", "step1")
        (root / "lost+found").mkdir(mode=0o700)
        output = OutputFolder(root / "out")
        output.make()
        os.seteuid(65534)
        try:
            assert folders_of(root) == [step1]
            with pytest.raises(SweepError, match=r"cannot write to .*/out \(Permission denied\)"), only_sweep(output):
                pass
        finally:
            os.seteuid(0)


def test_names_of_many_bytes_leave_room_for_suffixes() -> None:
    """Most file systems limit a name to 255 bytes, of which a Korean syllable takes three."""
    korean = Shard(Checkpoint(f"/ckpts/{'실' * 80}/{'험' * 80}"), EvaluationSettings())
    assert len(korean.name.encode()) < 100


def test_the_final_model_in_a_runs_folder_is_optional(tmp_path: Path) -> None:
    """A model beside checkpoints needs include_final; a model without them is the checkpoint."""
    alone, run = checkpoint(tmp_path, "alone"), checkpoint(tmp_path, "web-1B")
    step = checkpoint(run, "checkpoint-5")
    assert folders_of(alone) == [alone]
    assert folders_of(run) == [step]
    assert folders_of(run, include_final=True) == [run, step]


def test_a_tokenizer_in_the_runs_folder_is_used(tmp_path: Path) -> None:
    """It is passed to lm-eval for checkpoints without a tokenizer, unless model_args name one."""
    bare, step2 = checkpoint(tmp_path, "run", "step1"), checkpoint(tmp_path, "run", "step2")
    for folder in (tmp_path / "run", step2):
        (folder / "tokenizer.json").write_text("{}")
    first, second = find([str(tmp_path)], revisions=[], include_final=False, model_args={})
    assert (first.pretrained, first.tokenizer) == (str(bare), str(tmp_path / "run"))
    assert (second.pretrained, second.tokenizer) == (str(step2), None)
    (named, _) = find([str(tmp_path)], revisions=[], include_final=False, model_args={"tokenizer": "gpt2"})
    assert named.tokenizer is None


def test_other_folders_are_refused_with_a_remedy(tmp_path: Path) -> None:
    """A missing folder, an empty folder, and revisions of a folder give one line each."""
    with pytest.raises(SweepError, match=r"there is no folder .*; give a checkpoint"):
        find([str(tmp_path / "nowhere")], revisions=[], include_final=False, model_args={})
    with pytest.raises(SweepError, match=r"there is no folder .*; give a checkpoint"):
        find([str(tmp_path / ("x" * 300))], revisions=[], include_final=False, model_args={})
    with pytest.raises(SweepError, match=r"neither it nor a folder in it has a config\.json"):
        find([str(tmp_path)], revisions=[], include_final=False, model_args={})
    checkpoint(tmp_path, "step1")
    with pytest.raises(SweepError, match="--revisions chooses branches and tags of a model of the Hub"):
        find([str(tmp_path)], revisions=["step*"], include_final=False, model_args={})
