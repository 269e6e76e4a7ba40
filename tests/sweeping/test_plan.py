"""Which checkpoints are scored already, which are scored again and which settings are refused."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.checkpoints import local_checkpoint
from rbridge_tasks.sweeping.identity import contents, files_of
from rbridge_tasks.sweeping.plan import plan
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Reference, Shard, ShardRecord

TASKS = EvaluationSettings(tasks=("rbridge_gsm8k",), num_fewshot=1)


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """The output folder of a sweep."""
    output = OutputFolder(tmp_path / "out")
    output.make()
    return output


@pytest.fixture
def step10(checkpoint: Path, tmp_path: Path) -> Checkpoint:
    """A copy of the checkpoint that a test may change."""
    return local_checkpoint(shutil.copytree(checkpoint, tmp_path / "run" / "step10"), {})


def put(folder: OutputFolder, shard: Shard, traces: dict[str, dict[str, object]] | None = None) -> None:
    """Write a finished shard as a worker does."""
    written = Path(tempfile.mkdtemp(dir=folder.work))
    checkpoint = shard.checkpoint
    folder.finish(
        shard,
        written,
        ShardRecord(
            checkpoint=Reference(
                pretrained=checkpoint.pretrained, revision=checkpoint.revision, commit=checkpoint.commit
            ),
            tasks=shard.settings.tasks,
            settings=shard.settings.decisive(checkpoint),
            files=contents(files_of(checkpoint, shard.settings)),
            traces=traces or {},
            seconds=1.0,
            with_start=False,
        ),
    )


def states(checkpoint: Checkpoint, settings: EvaluationSettings, folder: OutputFolder) -> list[tuple[str, str]]:
    return [(planned.state, planned.why) for planned in plan([checkpoint], settings, folder).checkpoints]


def test_a_shard_is_valid_while_the_content_of_the_files_is_unchanged(step10: Checkpoint, folder: OutputFolder) -> None:
    """A new date does not make a shard outdated; other bytes of the same size and date do."""
    put(folder, Shard(step10, TASKS))
    assert states(step10, TASKS, folder) == [("scored", "")]
    weights = Path(step10.pretrained) / "model.safetensors"
    os.utime(weights, (0, 0))
    assert states(step10, TASKS, folder) == [("scored", "")]
    status, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert states(step10, TASKS, folder) == [("outdated", "model.safetensors has changed")]
    (planned,) = plan([step10], TASKS, folder).checkpoints
    assert planned.shard == Shard(step10, TASKS)
    assert planned.replaced == (Shard(step10, TASKS).name,)


def test_files_of_the_trainer_do_not_make_a_shard_outdated(step10: Checkpoint, folder: OutputFolder) -> None:
    """The state of the optimizer has no effect on scores; another tokenizer file does."""
    put(folder, Shard(step10, TASKS))
    (Path(step10.pretrained) / "optimizer.pt").write_bytes(b"x")
    (Path(step10.pretrained) / "trainer_state.json").write_text("{}")
    assert states(step10, TASKS, folder) == [("scored", "")]
    (Path(step10.pretrained) / "added_tokens.json").write_text("{}")
    ((state, why),) = states(step10, TASKS, folder)
    assert (state, why) == ("outdated", "added_tokens.json was added or removed")


def test_files_named_in_settings_are_checked(step10: Checkpoint, folder: OutputFolder, tmp_path: Path) -> None:
    """They are a tokenizer's folder without weights in it, an adapter, and a table of token frequencies."""
    for name in ("tokenizer", "adapter"):
        (tmp_path / name).mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "frequencies.json").write_text("{}")
    settings = replace(
        TASKS,
        model_args={"tokenizer": str(tmp_path / "tokenizer"), "peft": str(tmp_path / "adapter")},
        metadata={"rbridge_frequencies": str(tmp_path / "frequencies.json")},
    )
    put(folder, Shard(step10, settings))
    (tmp_path / "tokenizer" / "model.safetensors").write_bytes(b"of another model")
    assert states(step10, settings, folder) == [("scored", "")]
    for changed in ("tokenizer/tokenizer.json", "adapter/adapter_model.safetensors", "frequencies.json"):
        before = (tmp_path / changed).read_bytes()
        (tmp_path / changed).write_bytes(before + b" ")
        assert states(step10, settings, folder) == [("outdated", f"{Path(changed).name} has changed")]
        (tmp_path / changed).write_bytes(before)


def test_more_tasks_are_scored_in_a_separate_shard(step10: Checkpoint, folder: OutputFolder) -> None:
    """Scored tasks are not scored again; the name of a shard does not depend on the order of tasks."""
    put(folder, Shard(step10, TASKS))
    (planned,) = plan([step10], replace(TASKS, tasks=("rbridge_csqa", "rbridge_gsm8k")), folder).checkpoints
    assert planned.shard is not None
    assert planned.shard.settings.tasks == ("rbridge_csqa",)
    both = [Shard(step10, replace(TASKS, tasks=tasks)).name for tasks in (("a", "b"), ("b", "a"))]
    assert both[0] == both[1] != planned.shard.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_fewshot": 2}, "with num_fewshot 1, and now it is 2"),
        ({"limit": 5.0}, "with limit None, and now it is 5.0"),
        ({"model_args": {"dtype": "float16"}}, "with model_args {}, and now it is {'dtype': 'float16'}"),
        ({"metadata": {"rbridge_weights": "spans"}}, "with metadata {}, and now"),
        ({"extra": ("--apply_chat_template",)}, r"with extra \[\], and now it is \['--apply_chat_template'\]"),
    ],
)
def test_other_settings_on_the_same_task_are_refused(
    step10: Checkpoint, folder: OutputFolder, change: dict[str, object], message: str
) -> None:
    """The error names the setting, both values and the remedy; other tasks may have other settings."""
    put(folder, Shard(step10, TASKS))
    changed_settings = replace(TASKS, **change)  # type: ignore[arg-type]
    with pytest.raises(SweepError, match=f"{message}.*give another --output"):
        plan([step10], changed_settings, folder)
    assert states(step10, replace(changed_settings, tasks=("rbridge_csqa",)), folder) == [("to score", "")]


def test_batch_size_and_device_do_not_change_the_shard(step10: Checkpoint) -> None:
    """They only change last digits; settings that change scores change the name."""
    name = Shard(step10, TASKS).name
    assert Shard(step10, replace(TASKS, batch_size="4", device="cpu")).name == name
    assert Shard(replace(step10, model_args={"dtype": "float16"}), TASKS).name != name
    assert Shard.from_dict(json.loads(json.dumps(Shard(step10, TASKS).to_dict()))) == Shard(step10, TASKS)


def test_other_traces_make_a_shard_outdated(
    step10: Checkpoint, folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checksums of the trace files are compared."""
    from rbridge_traces import resolve_cache

    monkeypatch.setenv("RBRIDGE_CACHE", "sample")
    files = resolve_cache("sample").cache.manifests("gsm8k")[0].files
    put(folder, Shard(step10, TASKS), {"rbridge_gsm8k": {"source": "sample", "sample": True, "files": files}})
    assert states(step10, TASKS, folder) == [("scored", "")]
    folder.put_aside(Shard(step10, TASKS).name)
    changed = dict.fromkeys(files, "0" * 64)
    put(folder, Shard(step10, TASKS), {"rbridge_gsm8k": {"source": "sample", "sample": True, "files": changed}})
    assert states(step10, TASKS, folder) == [("outdated", "the traces of rbridge_gsm8k have changed")]


def test_a_revision_that_moved_is_scored_again(folder: OutputFolder) -> None:
    """The branch points to another commit."""
    before = Checkpoint("org/model-1B", revision="main", commit="a" * 40)
    put(folder, Shard(before, TASKS))
    assert states(before, TASKS, folder) == [("scored", "")]
    ((state, _),) = states(replace(before, commit="b" * 40), TASKS, folder)
    assert state == "outdated"


def test_a_shard_is_put_in_place_once(step10: Checkpoint, folder: OutputFolder) -> None:
    """A second process keeps the first one's results; a shard that is put aside gets a number."""
    shard = Shard(step10, TASKS)
    put(folder, shard)
    first = (folder.shards / shard.name).stat().st_ino
    put(folder, shard)
    assert (folder.shards / shard.name).stat().st_ino == first
    assert folder.put_aside(shard.name).name == f"{shard.name}.1"
    assert not folder.has(shard.name)
    put(folder, shard)
    assert folder.put_aside(shard.name).name == f"{shard.name}.2"


def test_the_error_of_a_damaged_record_has_the_remedy(step10: Checkpoint, folder: OutputFolder) -> None:
    """A truncated record must be removed, and then its checkpoint is scored again."""
    put(folder, Shard(step10, TASKS))
    (folder.shards / Shard(step10, TASKS).name / "shard.json").write_text("{")
    with pytest.raises(SweepError, match=r"shard\.json is damaged .*remove .*it is scored again"):
        plan([step10], TASKS, folder)


def test_an_impossible_output_folder_is_one_line() -> None:
    """A name that no disk can hold."""
    for name in ("a\0b", "x" * 300):
        with pytest.raises(SweepError, match="give another --output"):
            OutputFolder(name).make()
