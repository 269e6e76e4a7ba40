"""Runs that are killed at random moments, started twice at once, or spread over ranks, end as one that was not."""

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
#: Kills of the ``lm_eval`` command itself, each followed by a run that ends; it takes about 20 s for each.
COMMAND_KILLS = int(os.environ.get("RBRIDGE_TEST_COMMAND_KILLS", "1"))


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``killed_runs.py`` left of thirty killed runs and some others."""
    root = tmp_path_factory.mktemp("killed")
    program = Path(__file__).with_name("killed_runs.py")
    result = subprocess.run(
        [sys.executable, program, str(checkpoint), str(root), str(CHAINS), str(KILLS)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return root


def events(folder: Path, name: str, rank: int = 0) -> str:
    """Letters of a run: F for a forward pass, D for a batch that was kept."""
    file = folder / f"{name}.events{rank}"
    return file.read_text() if file.exists() else ""


def kept_batches(cache: Path) -> list[bytes]:
    """Batches that are whole, in order of their bytes; a kill in mid-write leaves the beginning of one beside them."""
    found = []
    for file in Path(f"{cache}_rbridge").rglob("*.scores"):
        for framed in file.read_bytes().split(store._MARK)[1:]:
            length, digest = store._FRAME.unpack_from(framed.ljust(store._FRAME.size, b"\0"))
            payload = framed[store._FRAME.size :]
            if len(payload) == length and store._digest(payload) == digest:
                found.append(payload)
    return sorted(found)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(folder: Path, chain: int) -> None:
    """All numbers, all standard errors and all token scores, after three kills at random moments."""
    assert (folder / f"{chain}-{KILLS}.json").read_bytes() == (folder / "whole.json").read_bytes()


def test_no_batch_is_scored_twice_but_the_one_in_flight(folder: Path) -> None:
    """Each batch is kept once, and a run makes no forward passes but those of the batches that it keeps, one that it
    was killed in, and those that a run makes beside its batches."""
    whole = events(folder, "whole")
    batches = whole.count("D")
    beside = whole.count("F") - batches
    assert batches >= 10
    assert beside < 2 * batches  # few enough for a batch scored twice to show below
    for chain in range(CHAINS):
        of_runs = [events(folder, f"{chain}-{number}") for number in range(KILLS + 1)]
        for letters in of_runs[:-1]:
            assert letters.count("F") <= beside + letters.count("D") + 1
        assert of_runs[-1].count("F") <= beside + of_runs[-1].count("D")
        assert (
            batches - KILLS <= sum(letters.count("D") for letters in of_runs) <= batches
        )  # killed before it was noted
        assert kept_batches(folder / f"cache-{chain}") == kept_batches(folder / "cache-whole")
    kept_by_killed = sum(bool(events(folder, f"{chain}-{i}")) for chain in range(CHAINS) for i in range(KILLS))
    assert kept_by_killed >= CHAINS  # the moments are not all before the first forward pass


def test_two_runs_at_once_share_a_cache(folder: Path) -> None:
    """Started together with the same path, both end as one alone, and a third has nothing left to score."""
    whole = (folder / "whole.json").read_bytes()
    for name in ("twin-0", "twin-1", "twins-later"):
        assert (folder / f"{name}.json").read_bytes() == whole
    assert events(folder, "twins-later") == ""


def test_ranks_share_a_cache(folder: Path) -> None:
    """A run of two ranks, killed twice, ends as one that was not; a single rank finds what both have kept."""
    assert (folder / "ranks-2.json").read_bytes() == (folder / "ranks-whole.json").read_bytes()
    assert kept_bytes(folder / "cache-ranks") == kept_bytes(folder / "cache-ranks-whole")
    assert events(folder, "ranks-whole", 0).count("D") < events(folder, "whole").count("D")
    assert events(folder, "ranks-later") == ""
    later, whole = (json.loads((folder / f"{name}.json").read_text())["results"] for name in ("ranks-later", "whole"))
    for task in TASKS:
        numbers = {key: value for key, value in whole[task].items() if isinstance(value, float)}
        # One rank has other batches than two. NLLs, and accuracies and shares of at most 1, move within this.
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
    """Results and, by item, samples as the command wrote them."""
    (results,) = output.rglob("results_*.json")
    samples = [
        json.loads(line) for file in sorted(output.rglob("samples_*.jsonl")) for line in file.read_text().splitlines()
    ]
    return {
        "results": json.loads(results.read_text())["results"],
        "samples": {sample["doc_hash"]: (sample["resps"], sample["rbridge_nll"]) for sample in samples},
    }


@pytest.mark.parametrize("kill", range(COMMAND_KILLS))
def test_the_command_goes_on_where_it_was_killed(folder: Path, checkpoint: Path, tmp_path: Path, kill: int) -> None:
    """``lm_eval --use_cache``, killed and typed again: the numbers of the run above that was not killed."""
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
    again = subprocess.run(
        command(checkpoint, cache, tmp_path / "out"), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert again.returncode == 0, again.stderr[-3000:]
    assert "of 20 traces are taken from" in again.stderr
    found, whole = numbers_of(tmp_path / "out"), json.loads((folder / "whole.json").read_text())
    assert found["results"] == whole["results"]
    expected = {one["doc_hash"]: (one["resps"], one["rbridge_nll"]) for task in TASKS for one in whole["samples"][task]}
    assert found["samples"] == expected
    assert kept_batches(cache) == kept_batches(folder / "cache-whole")
