"""Runs that are killed at random moments, started twice, or spread over ranks give the results of a normal run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_tasks.resume import store

from ..error_bounds import model_bound
from .killed_runs import OPTIONS, TASKS, kept_bytes

pytestmark = pytest.mark.slow(seconds=50)

CHAINS, KILLS = 6, 3
#: Number of kills of the ``lm_eval`` command, each followed by a complete run; each takes about 20 s.
COMMAND_KILLS = int(os.environ.get("RBRIDGE_TEST_COMMAND_KILLS", "1"))


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of ``killed_runs.py``."""
    root = tmp_path_factory.mktemp("killed")
    program = Path(__file__).with_name("killed_runs.py")
    result = subprocess.run(
        [sys.executable, program, str(checkpoint), str(root), str(CHAINS), str(KILLS)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return root


def events(folder: Path, name: str, rank: int = 0) -> str:
    """Events of a run: F for a forward pass, D for a batch written to the store."""
    file = folder / f"{name}.events{rank}"
    return file.read_text() if file.exists() else ""


def kept_batches(cache: Path) -> list[bytes]:
    """Complete batches of a cache, sorted; a kill during a write also leaves an incomplete one."""
    batches = []
    for file in Path(f"{cache}_rbridge").rglob("*.scores"):
        for framed in file.read_bytes().split(store._MARK)[1:]:
            length, digest = store._FRAME.unpack_from(framed.ljust(store._FRAME.size, b"\0"))
            payload = framed[store._FRAME.size :]
            if len(payload) == length and store._digest(payload) == digest:
                batches.append(payload)
    return sorted(batches)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(folder: Path, chain: int) -> None:
    """All metrics, standard errors and token scores are equal after three kills at random moments."""
    assert (folder / f"{chain}-{KILLS}.json").read_bytes() == (folder / "whole.json").read_bytes()


def test_only_the_batch_of_the_kill_is_scored_twice(folder: Path) -> None:
    """Each batch is stored once.

    A run makes one forward pass for each batch that it stores, at most one more in which it is killed, and the passes
    that a run makes in addition to its batches. The pass of one batch, the longest text, is among the latter.
    """
    whole = events(folder, "whole")
    batches = whole.count("D")
    other_passes = whole.count("F") - (batches - 1)
    assert batches >= 10
    assert other_passes < 2 * batches  # so few that the assertions below detect a batch that is scored twice
    for chain in range(CHAINS):
        events_of_runs = [events(folder, f"{chain}-{number}") for number in range(KILLS + 1)]
        for run_events in events_of_runs[:-1]:
            assert run_events.count("F") <= other_passes + run_events.count("D") + 1
        assert events_of_runs[-1].count("F") <= other_passes + events_of_runs[-1].count("D")
        # A run may be killed after it stores a batch and before it writes the event.
        assert batches - KILLS <= sum(run_events.count("D") for run_events in events_of_runs) <= batches
        assert kept_batches(folder / f"cache-{chain}") == kept_batches(folder / "cache-whole")
    kept_by_killed = sum(bool(events(folder, f"{chain}-{i}")) for chain in range(CHAINS) for i in range(KILLS))
    assert kept_by_killed >= CHAINS  # not all kills come before the first forward pass


def test_two_runs_at_once_share_a_cache(folder: Path) -> None:
    """Two runs started together with one path give the results of a single run; a third run scores nothing."""
    whole = (folder / "whole.json").read_bytes()
    for name in ("twin-0", "twin-1", "twins-later"):
        assert (folder / f"{name}.json").read_bytes() == whole
    assert events(folder, "twins-later") == ""


def test_ranks_share_a_cache(folder: Path) -> None:
    """A run of two ranks, killed twice, gives the results of a normal run; a single rank reuses the scores of both."""
    assert (folder / "ranks-2.json").read_bytes() == (folder / "ranks-whole.json").read_bytes()
    assert kept_batches(folder / "cache-ranks") == kept_batches(folder / "cache-ranks-whole")
    assert events(folder, "ranks-whole", 0).count("D") < events(folder, "whole").count("D")
    assert events(folder, "ranks-later") == ""
    later, whole = (json.loads((folder / f"{name}.json").read_text())["results"] for name in ("ranks-later", "whole"))
    for task in TASKS:
        numbers = {key: value for key, value in whole[task].items() if isinstance(value, float)}
        # One rank has other batches than two. The bound holds for NLLs, and for accuracies and shares of at most 1.
        assert {key: later[task][key] for key in numbers} == pytest.approx(
            numbers, rel=0, abs=model_bound() / np.log(2)
        )


def command(checkpoint: Path, cache: Path, output: Path) -> list[str]:
    return [
        str(Path(sys.executable).parent / "lm_eval"), "--model", "hf", "--model_args", f"pretrained={checkpoint}",
        "--tasks", ",".join(TASKS), "--num_fewshot", "1", "--batch_size", "2", "--metadata", json.dumps(OPTIONS),
        "--use_cache", str(cache), "--output_path", str(output), "--log_samples",
    ]  # fmt: skip


def numbers_of(output: Path) -> dict[str, Any]:
    """Results, and samples by item, from the files of the command."""
    (results,) = output.rglob("results_*.json")
    samples = [
        json.loads(line) for file in sorted(output.rglob("samples_*.jsonl")) for line in file.read_text().splitlines()
    ]
    return {
        "results": json.loads(results.read_text())["results"],
        "samples": {sample["doc_hash"]: (sample["resps"], sample["rbridge_nll"]) for sample in samples},
    }


@pytest.mark.parametrize("kill", range(COMMAND_KILLS))
def test_the_command_resumes_after_a_kill(folder: Path, checkpoint: Path, tmp_path: Path, kill: int) -> None:
    """``lm_eval --use_cache``, killed and run again, gives the results of the run without kills."""
    moments = random.Random(kill)
    size, delay = moments.random() * kept_bytes(folder / "cache-whole"), moments.uniform(0, 0.03)
    cache, log = tmp_path / "cache", tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command(checkpoint, cache, tmp_path / "killed"), stdout=file, stderr=file)
        while kept_bytes(cache) < size and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        process.wait()
    assert process.returncode == -9, log.read_text()[-3000:]
    assert not list((tmp_path / "killed").rglob("*.json"))
    resumed = subprocess.run(
        command(checkpoint, cache, tmp_path / "out"), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "of 20 traces are taken from" in resumed.stderr
    numbers, whole = numbers_of(tmp_path / "out"), json.loads((folder / "whole.json").read_text())
    assert numbers["results"] == whole["results"]
    expected = {
        sample["doc_hash"]: (sample["resps"], sample["rbridge_nll"])
        for task in TASKS
        for sample in whole["samples"][task]
    }
    assert numbers["samples"] == expected
    assert kept_batches(cache) == kept_batches(folder / "cache-whole")
