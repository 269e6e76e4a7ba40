"""The real ``rbridge sweep`` over twelve tiny checkpoints: undisturbed, interrupted, on Slurm, with a bad one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from .slurm_cluster import Cluster, missing
from .sweeps import finished, started, sweep, table, write_checkpoints

pytestmark = pytest.mark.slow(seconds=80)

STEPS = range(10, 130, 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of twelve checkpoints."""
    return write_checkpoints(tmp_path_factory.mktemp("run") / "tiny-60K", STEPS)


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of an undisturbed sweep."""
    output = tmp_path_factory.mktemp("whole")
    done = sweep(run, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "12 checkpoints scored now, 0 before" in done.stdout
    return output


def wait_for(happened: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``happened()`` is true."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def made_at(output: Path) -> dict[str, int]:
    """Return when each finished shard was put in place, by name."""
    return {name: (output / "shards" / name).stat().st_mtime_ns for name in finished(output)}


def workers_of(output: Path) -> list[psutil.Process]:
    """Return the worker processes of a sweep: those with open files in its folder."""
    workers = []
    for process in psutil.process_iter(["cmdline"]):
        if "rbridge_tasks.sweeping.worker" in (process.info["cmdline"] or []):
            try:
                if any(str(output) in file.path for file in process.open_files()):
                    workers.append(process)
            except psutil.Error:
                continue
    return workers


def test_a_sweep_leaves_a_shard_for_each_checkpoint_and_a_table_in_the_order_of_training(whole: Path) -> None:
    """Each shard has lm-eval's files, the table is in the order of training, and no unfinished files remain."""
    assert len(finished(whole)) == len(STEPS)
    for shard in (whole / "shards").iterdir():
        written = sorted(path.name.partition("_20")[0] for path in shard.rglob("*") if path.is_file())
        assert written == ["results", "samples_rbridge_gsm8k", "shard.json"]
    scores = pd.read_parquet(whole / "scores.parquet")
    assert list(scores["tokens"].unique()) == [1000.0 * step for step in STEPS]
    assert set(scores["run"]) == {"tiny-60K"}
    assert scores[scores["metric"] == "rbridge_nll"]["value"].nunique() == len(STEPS)
    assert not list((whole / "work").iterdir())
    assert not list((whole / "failed").iterdir())


def test_the_same_command_scores_nothing_twice(run: Path, whole: Path) -> None:
    """The second run scores nothing, rewrites the table with the same bytes, and starts no worker."""
    before, logs = table(whole), {path: path.stat().st_mtime_ns for path in (whole / "logs").iterdir()}
    done = sweep(run, "--output", whole, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["scored"], summary["scored_before"], summary["failed"]) == (0, 12, [])
    assert table(whole) == before
    assert {path: path.stat().st_mtime_ns for path in (whole / "logs").iterdir()} == logs


def test_an_interrupted_and_killed_sweep_gives_the_same_table(run: Path, whole: Path, tmp_path: Path) -> None:
    """After Ctrl-C, then SIGKILL, the third run ends with the same table, and no shard was made twice."""
    stamps: dict[str, int] = {}
    for sign, shards in ((signal.SIGINT, 3), (signal.SIGKILL, 7)):
        with started(run, "-o", tmp_path) as process:
            wait_for(lambda: len(finished(tmp_path)) >= shards or process.poll() is not None)  # noqa: B023  # called here
            process.send_signal(sign)
            _, message = process.communicate(timeout=30)
        if sign == signal.SIGINT:
            assert process.returncode == 130, message
            assert "the same command goes on from here" in message
        else:
            assert process.returncode == -signal.SIGKILL, message
        wait_for(lambda: not workers_of(tmp_path), 20)  # no worker still writes
        made = made_at(tmp_path)
        assert shards <= len(made) < len(STEPS)
        assert stamps.items() <= made.items()
        stamps = made
    done = sweep(run, "-o", tmp_path, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert f"{len(stamps)} of 12 checkpoints scored before" in done.stderr
    assert (
        stamps.items() <= {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in finished(tmp_path)}.items()
    )
    assert table(tmp_path) == table(whole)


def test_a_bad_checkpoint_does_not_affect_the_others(run: Path, tmp_path: Path) -> None:
    """Wrong weights are named with the reason, other checkpoints are scored, and a repaired one can be scored."""
    mine = tmp_path / "bad-60K"
    for step in (10, 20, 30):
        shutil.copytree(run / f"step{step}-tokens{step}K", mine / f"step{step}-tokens{step}K")
    config = mine / "step20-tokens20K" / "config.json"
    good = config.read_text()
    config.write_text(good.replace('"intermediate_size": 64', '"intermediate_size": 96'))
    os.truncate(mine / "step30-tokens30K" / "model.safetensors", 100_000)
    done = sweep(mine, "-o", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "bad-60K/step20-tokens20K: RuntimeError" in done.stderr
    assert "1 checkpoint could not be scored; the same command tries them again" in done.stderr
    assert "step30-tokens30K is left for later: model.safetensors is not complete" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(pd.read_parquet(tmp_path / "out" / "scores.parquet")["tokens"]) == {10e3}
    config.write_text(good)
    planned = json.loads(sweep(mine, "-o", tmp_path / "out", "--dry-run", "--json").stdout)
    assert [entry["state"] for entry in planned] == ["scored", "to score", "incomplete"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Slurm with two nodes."""
    if reason := missing():
        pytest.skip(f"a real Slurm {reason}")
    with Cluster(["n1", "n2"]) as running:
        yield running


def test_on_slurm_a_lost_node_costs_one_shard(cluster: Cluster, run: Path, whole: Path, tmp_path: Path) -> None:
    """A node is killed and the sweep is interrupted: the same command continues the jobs and ends with the table of
    the local run; shards that the node had finished are not scored again."""
    options = ["--executor", "slurm", "--partition", "main", "--checkpoints-per-job", "6", "--time", "30m"]
    of_first_job = tuple(f"tiny-60K__step{step}-" for step in STEPS[:6])
    with started(run, "-o", tmp_path, *options, environment=cluster.environment) as front:
        wait_for(lambda: any(name.startswith(of_first_job) for name in finished(tmp_path)) or front.poll() is not None)
        job, node = next((job, node) for node, job in cluster.nodes_at_work().items() if job.endswith("_0"))
        cluster.kill_node(node)
        assert not cluster.processes_of(node)
        before = made_at(tmp_path)
        assert 1 <= len(before) < len(STEPS)
        front.send_signal(signal.SIGINT)
        _, message = front.communicate(timeout=30)
    assert front.returncode == 130, message
    assert "jobs go on, and the same command picks them up" in message
    # Slurm itself needs up to three minutes to notice that the node is down and to requeue its job.
    cluster.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")
    wait_for(lambda: f"{job} PENDING" in cluster.command("squeue", "-h", "-r", "--format=%i %T"), 30)
    cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now")
    done = sweep(run, "-o", tmp_path, *options, environment=cluster.environment)
    assert done.returncode == 0, done.stderr
    assert table(tmp_path) == table(whole)
    assert len([*(tmp_path / "slurm" / "jobs").glob("*_submitted.pkl")]) == 2  # no shard was in two jobs
    assert before.items() <= made_at(tmp_path).items()


def test_a_checkpoint_with_a_path_of_over_255_bytes_is_scored(tmp_path: Path) -> None:
    """A path of over 255 bytes is scored, although lm-eval cannot name a folder after it."""
    run = write_checkpoints(tmp_path / ("아주 긴 실험 이름 " * 6) / ("데이터셋" * 6), range(1, 2))
    done = sweep(run, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 checkpoint scored now" in done.stdout
