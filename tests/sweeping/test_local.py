"""The reason why a worker ended, and when a sweep gives up; these tests score nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rbridge_tasks.sweeping.checkpoint import Checkpoint
from rbridge_tasks.sweeping.executor import Outcome
from rbridge_tasks.sweeping.local import LocalExecutor, _reason
from rbridge_tasks.sweeping.scoring_loop import Tally
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard

SHARD = Shard(Checkpoint("/run/step10"), EvaluationSettings())

TRACEBACK = """Loading weights: 100%
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    load()
OSError: Can't load the model.

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "y.py", line 2, in <module>
{error}
"""


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """The output folder of a sweep."""
    output = OutputFolder(tmp_path / "out")
    output.make()
    return output


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        (TRACEBACK.format(error="RuntimeError: sizes differ:\n\tself: 3\n\tother: 4"), 1,
         "RuntimeError: sizes differ: self: 3 other: 4"),
        (TRACEBACK.format(error="torch.OutOfMemoryError: CUDA out of memory."), 1,
         "torch.OutOfMemoryError: CUDA out of memory."),
        ("rbridge: error: no traces of gsm8k; get some\n", 1, "no traces of gsm8k; get some"),
        (TRACEBACK.format(error="rbridge_tasks.sweeping.checkpoints.SweepError: it was written to"), 1,
         "it was written to"),
        ("usage: lm-eval run\nlm-eval: error: unrecognized arguments: --x\n", 2,
         "lm-eval: error: unrecognized arguments: --x"),
        ("half a li", -9, "its process was killed by SIGKILL; out of memory, perhaps"),
        ("", -11, "its process was killed by SIGSEGV"),
        ("", 3, "its process ended with exit code 3 and no word"),
    ],
)  # fmt: skip
def test_the_reason_is_the_last_error_in_one_line(folder: OutputFolder, log: str, code: int, reason: str) -> None:
    """Errors of several lines are joined, and earlier output is ignored."""
    if log:
        folder.log(SHARD.name).write_text(log)
    assert _reason(folder, SHARD, code) == reason


def test_equal_failures_end_a_sweep_sooner_than_different_ones(folder: OutputFolder) -> None:
    """Two equal failures or three different ones end a sweep without a success; lost jobs do not count."""

    def hopeless(*failures: str | None, lost: bool = False) -> bool:
        finished = Tally()
        for failure in failures:
            finished.add(Outcome(SHARD, None if failure else 1.0, failure, lost=lost), folder)
        return finished.hopeless

    assert not hopeless("a")
    assert hopeless("a", "a")
    assert not hopeless("a", "b")
    assert hopeless("a", "b", "c")
    assert not hopeless(None, "a", "a", "a")
    assert not hopeless("a", "a", "a", lost=True)


@pytest.mark.slow
def test_a_worker_ends_with_its_sweep_and_is_replaced_after_a_failure(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing checkpoint fails at once; the next shard has a new process, and no process remains at the end."""
    executor = LocalExecutor(folder)
    executor.submit([SHARD])
    deadline, outcomes = time.monotonic() + 60, list[Outcome]()
    while not outcomes:
        assert time.monotonic() < deadline
        outcomes = executor.wait(1.0)
    assert "run/step10 is no longer there" in str(outcomes[0].failure)
    assert not executor.shards_left
    assert folder.failure(SHARD.name) == outcomes[0].failure
    executor.submit([SHARD])
    (worker,) = executor._workers.values()
    assert executor.at_work == [SHARD]
    executor.end()
    assert worker.process.returncode is not None
    assert not executor.shards_left
