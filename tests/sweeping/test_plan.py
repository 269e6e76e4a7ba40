"""What a sweep finds done, what it does again and what it refuses."""

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
    """Where a sweep writes."""
    output = OutputFolder(tmp_path / "out")
    output.make()
    return output


@pytest.fixture
def one(checkpoint: Path, tmp_path: Path) -> Checkpoint:
    """A checkpoint of one's own to change."""
    return local_checkpoint(shutil.copytree(checkpoint, tmp_path / "run" / "step10"), {})


def put(folder: OutputFolder, shard: Shard, traces: dict[str, dict[str, object]] | None = None) -> None:
    """A finished shard, as a worker leaves it."""
    written = Path(tempfile.mkdtemp(dir=folder.work))
    one = shard.checkpoint
    folder.finish(
        shard,
        written,
        ShardRecord(
            checkpoint=Reference(pretrained=one.pretrained, revision=one.revision, commit=one.commit),
            tasks=shard.settings.tasks,
            settings=shard.settings.decisive(one),
            files=contents(files_of(one, shard.settings)),
            traces=traces or {},
            seconds=1.0,
            with_start=False,
        ),
    )


def states(checkpoint: Checkpoint, settings: EvaluationSettings, folder: OutputFolder) -> list[tuple[str, str]]:
    return [(planned.state, planned.why) for planned in plan([checkpoint], settings, folder).checkpoints]


def test_a_shard_stands_as_long_as_its_content_does(one: Checkpoint, folder: OutputFolder) -> None:
    """Touching a file changes nothing; other bytes of the same size and date do."""
    put(folder, Shard(one, TASKS))
    assert states(one, TASKS, folder) == [("scored", "")]
    weights = Path(one.pretrained) / "model.safetensors"
    os.utime(weights, (0, 0))
    assert states(one, TASKS, folder) == [("scored", "")]
    status, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert states(one, TASKS, folder) == [("outdated", "model.safetensors has changed")]
    (planned,) = plan([one], TASKS, folder).checkpoints
    assert planned.shard == Shard(one, TASKS)
    assert planned.replaced == (Shard(one, TASKS).name,)


def test_trainers_may_write_their_own_files_into_a_scored_checkpoint(one: Checkpoint, folder: OutputFolder) -> None:
    """The state of the optimizer decides no score; another tokenizer file does."""
    put(folder, Shard(one, TASKS))
    (Path(one.pretrained) / "optimizer.pt").write_bytes(b"x")
    (Path(one.pretrained) / "trainer_state.json").write_text("{}")
    assert states(one, TASKS, folder) == [("scored", "")]
    (Path(one.pretrained) / "added_tokens.json").write_text("{}")
    ((state, why),) = states(one, TASKS, folder)
    assert (state, why) == ("outdated", "added_tokens.json was added or removed")


def test_files_that_settings_name_count_too(one: Checkpoint, folder: OutputFolder, tmp_path: Path) -> None:
    """A tokenizer of another folder, without the weights beside it; an adapter; a table of token frequencies."""
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
    put(folder, Shard(one, settings))
    (tmp_path / "tokenizer" / "model.safetensors").write_bytes(b"of another model")
    assert states(one, settings, folder) == [("scored", "")]
    for changed in ("tokenizer/tokenizer.json", "adapter/adapter_model.safetensors", "frequencies.json"):
        before = (tmp_path / changed).read_bytes()
        (tmp_path / changed).write_bytes(before + b" ")
        assert states(one, settings, folder) == [("outdated", f"{Path(changed).name} has changed")]
        (tmp_path / changed).write_bytes(before)


def test_more_tasks_are_scored_in_a_shard_of_their_own(one: Checkpoint, folder: OutputFolder) -> None:
    """What is there is not scored again; in any order of the tasks, a shard has one name."""
    put(folder, Shard(one, TASKS))
    (planned,) = plan([one], replace(TASKS, tasks=("rbridge_csqa", "rbridge_gsm8k")), folder).checkpoints
    assert planned.shard is not None
    assert planned.shard.settings.tasks == ("rbridge_csqa",)
    both = [Shard(one, replace(TASKS, tasks=tasks)).name for tasks in (("a", "b"), ("b", "a"))]
    assert both[0] == both[1] != planned.shard.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_fewshot": 2}, "with num_fewshot 1, and now it is 2"),
        ({"limit": 5.0}, "with limit None, and now it is 5.0"),
        ({"model_args": {"dtype": "float16"}}, "with model_args {}, and now it is {'dtype': 'float16'}"),
        ({"metadata": {"rbridge_weights": "spans"}}, "with metadata {}, and now"),
        ({"extra": ("--apply_chat_template",)}, r"with extra \[\], and now it is \['--apply_chat_template'\]"),
    ],
)
def test_other_settings_on_the_same_task_are_refused(
    one: Checkpoint, folder: OutputFolder, change: dict[str, object], said: str
) -> None:
    """The line names the setting, both values and what to do; on other tasks they are fine."""
    put(folder, Shard(one, TASKS))
    other = replace(TASKS, **change)  # type: ignore[arg-type]
    with pytest.raises(SweepError, match=f"{said}.*give another --output"):
        plan([one], other, folder)
    assert states(one, replace(other, tasks=("rbridge_csqa",)), folder) == [("to score", "")]


def test_batch_size_and_device_make_no_other_shard(one: Checkpoint) -> None:
    """They change last digits only; everything decisive makes another name."""
    name = Shard(one, TASKS).name
    assert Shard(one, replace(TASKS, batch_size="4", device="cpu")).name == name
    assert Shard(replace(one, model_args={"dtype": "float16"}), TASKS).name != name
    assert Shard.from_dict(json.loads(json.dumps(Shard(one, TASKS).to_dict()))) == Shard(one, TASKS)


def test_other_traces_make_a_shard_outdated(
    one: Checkpoint, folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by their checksums, wherever the cache is."""
    from rbridge_traces import resolve_cache

    monkeypatch.setenv("RBRIDGE_CACHE", "sample")
    files = resolve_cache("sample").cache.manifests("gsm8k")[0].files
    put(folder, Shard(one, TASKS), {"rbridge_gsm8k": {"source": "sample", "sample": True, "files": files}})
    assert states(one, TASKS, folder) == [("scored", "")]
    folder.put_aside(Shard(one, TASKS).name)
    changed = dict.fromkeys(files, "0" * 64)
    put(folder, Shard(one, TASKS), {"rbridge_gsm8k": {"source": "sample", "sample": True, "files": changed}})
    assert states(one, TASKS, folder) == [("outdated", "the traces of rbridge_gsm8k have changed")]


def test_a_revision_that_moved_is_scored_afresh(folder: OutputFolder) -> None:
    """A branch of the Hub at another commit."""
    before = Checkpoint("org/model-1B", revision="main", commit="a" * 40)
    put(folder, Shard(before, TASKS))
    assert states(before, TASKS, folder) == [("scored", "")]
    ((state, _),) = states(replace(before, commit="b" * 40), TASKS, folder)
    assert state == "outdated"


def test_a_shard_is_put_in_place_once(one: Checkpoint, folder: OutputFolder) -> None:
    """The second of two processes leaves the first one's results alone; one put aside is kept under a number."""
    shard = Shard(one, TASKS)
    put(folder, shard)
    first = (folder.shards / shard.name).stat().st_ino
    put(folder, shard)
    assert (folder.shards / shard.name).stat().st_ino == first
    assert folder.put_aside(shard.name).name == f"{shard.name}.1"
    assert not folder.has(shard.name)
    put(folder, shard)
    assert folder.put_aside(shard.name).name == f"{shard.name}.2"


def test_a_damaged_record_says_what_to_do(one: Checkpoint, folder: OutputFolder) -> None:
    """A file that somebody cut off."""
    put(folder, Shard(one, TASKS))
    (folder.shards / Shard(one, TASKS).name / "shard.json").write_text("{")
    with pytest.raises(SweepError, match=r"shard\.json is damaged .*remove .*it is scored again"):
        plan([one], TASKS, folder)
