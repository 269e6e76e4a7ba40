"""Score shards by jobs of Slurm. Finished shards are recognised by their files, never by the state of a job."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.executor import Executor, Outcome
from rbridge_tasks.sweeping.shards import OutputFolder, Shard
from rbridge_tasks.sweeping.slurm_job import ScoreShards
from rbridge_tasks.tables.rows import counted
from rbridge_traces.files import write_json

_QUEUE_SECONDS = 5.0  # between two requests to the scheduler
_GRACE_SECONDS = 10.0  # a network file system may show a shard so long after its job has ended
_SUBMISSIONS = 3  # of a shard whose jobs are lost
_REQUEUES = 100  # of a job that is out of time


@dataclass(frozen=True)
class SlurmOptions:
    """Options of Slurm jobs.

    Attributes:
        partition, gpus, cpus, mem: of a job; None for the cluster's default.
        time_minutes: time limit of a job.
        checkpoints_per_job: that a job scores in turn.
        max_parallel: jobs at once.
        more: any other options of sbatch.
        cancel: whether Ctrl-C cancels the jobs.
    """

    partition: str | None = None
    time_minutes: int = 60
    gpus: int | None = None
    cpus: int | None = None
    mem: str | None = None
    checkpoints_per_job: int = 1
    max_parallel: int = 64
    more: Mapping[str, Any] = field(default_factory=dict)
    cancel: bool = False


class SlurmExecutor(Executor):
    """Submits shards as job arrays through submitit, and follows them.

    Args:
        folder: of the sweep, on a disk that all nodes see.
        options: of the jobs.

    Raises:
        SweepError: submitit or Slurm is not installed here.
    """

    def __init__(self, folder: OutputFolder, options: SlurmOptions) -> None:
        try:
            import submitit
        except ImportError as error:
            raise SweepError(
                """--executor slurm needs submitit, which is not installed; pip install "rbridge-tasks[slurm]\""""
            ) from error
        if shutil.which("sbatch") is None or shutil.which("squeue") is None:
            raise SweepError("--executor slurm finds no sbatch here; start it on a login node of the cluster")
        folder.slurm.mkdir(exist_ok=True)
        self._folder, self._options = folder, options
        parameters = {
            "partition": options.partition,
            "time": options.time_minutes,
            "gpus_per_node": options.gpus,
            "cpus_per_task": options.cpus,
            "mem": options.mem,
            "array_parallelism": options.max_parallel,
        }
        self._submitit = submitit.SlurmExecutor(folder.slurm / "jobs", max_num_timeout=_REQUEUES)
        self._submitit.update_parameters(
            job_name="rbridge-sweep",
            additional_parameters={"requeue": True, **options.more},
            **{name: value for name, value in parameters.items() if value is not None},
        )
        self._left: dict[str, Shard] = {}
        self._jobs: dict[str, str] = {}  # job by name of the shard
        self._submissions: dict[str, int] = {}
        self._gone_since: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._asked = -_QUEUE_SECONDS

    @property
    def shards_left(self) -> list[Shard]:
        return [*self._left.values()]

    @property
    def at_work(self) -> list[Shard]:
        """The first unfinished shard of each running job."""
        first = {self._jobs[name]: shard for name, shard in reversed(self._left.items())}
        return [shard for job, shard in first.items() if self._states.get(job) == "RUNNING"]

    @property
    def at_once(self) -> int:
        """How many are scored at once."""
        return max(len(self.at_work), 1)

    @property
    def queued(self) -> int:
        return sum(self._states.get(self._jobs[name], "PENDING") != "RUNNING" for name in self._left)

    def submit(self, shards: Sequence[Shard]) -> None:
        """Queue shards, except those in jobs of an earlier sweep."""
        self._left |= {shard.name: shard for shard in shards}
        self._jobs |= {name: job for name, job in self._queued_before().items() if name in self._left}
        new = [shard for shard in shards if shard.name not in self._jobs]
        for shard in new:
            self._folder.failure_file(shard.name).unlink(missing_ok=True)
        self._queue(new)

    def wait(self, seconds: float) -> list[Outcome]:
        """Return outcomes after ``seconds``; shards whose jobs were lost are queued again."""
        time.sleep(seconds)
        outcomes = [outcome for shard in self.shards_left if (outcome := self._outcome(shard)) is not None]
        for outcome in outcomes:
            del self._left[outcome.shard.name]
        if time.monotonic() - self._asked >= _QUEUE_SECONDS:
            outcomes += self._ask_for_lost()
        return outcomes

    def cancel(self) -> None:
        if jobs := self._job_ids():
            _slurm("scancel", *jobs)
        self._left.clear()

    def end(self) -> None:
        """Do nothing: jobs go on without this process."""

    def interrupted(self) -> str:
        """Leave the jobs alone, or cancel them, and say how to go on."""
        jobs = self._job_ids()
        if self._options.cancel:
            self.cancel()
            return f"{counted(len(jobs), 'job')} cancelled; the same command goes on from here"
        return (
            f"jobs go on, and the same command picks them up; scancel {' '.join(jobs)} ends them"
            if jobs
            else "no job is left"
        )

    def _job_ids(self) -> list[str]:
        return sorted({self._jobs[name].partition("_")[0] for name in self._left}, key=int)

    def _outcome(self, shard: Shard) -> Outcome | None:
        if self._folder.has(shard.name):
            record = self._folder.record(shard.name)
            return Outcome(shard, seconds=record.seconds, started=record.with_start)
        failure = self._folder.failure(shard.name)
        return None if failure is None else Outcome(shard, failure=failure)

    def _ask_for_lost(self) -> list[Outcome]:
        """Ask the scheduler for our jobs. Shards of jobs that are gone are queued again, a few times."""
        self._asked = time.monotonic()
        states = queue_states()
        if states is None:
            return []  # the scheduler is busy or restarts; jobs go on without it
        self._states = states
        lost: list[Shard] = []
        for name, shard in self._left.items():
            if self._jobs[name] in states:
                self._gone_since.pop(name, None)
            elif time.monotonic() - self._gone_since.setdefault(name, self._asked) >= _GRACE_SECONDS:
                lost.append(shard)
        outcomes, again = list[Outcome](), list[Shard]()
        for shard in lost:
            job, tries = self._jobs[shard.name], self._submissions.get(shard.name, 1)
            state = _state_of(job)
            if tries < _SUBMISSIONS and state != "CANCELLED":
                again.append(shard)
                continue
            reason = (
                f"its job {job} ended {f'as {state}' if state else 'without a result'}; see {self._submitit.folder}"
            )
            outcomes.append(Outcome(shard, failure=reason, lost=True))
            self._folder.fail(shard.name, reason)
            del self._left[shard.name]
        self._queue(again)
        return outcomes

    def _queue(self, shards: Sequence[Shard]) -> None:
        if not shards:
            return
        per_job = self._options.checkpoints_per_job
        chunks = [shards[at : at + per_job] for at in range(0, len(shards), per_job)]
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with self._submitit.batch():
                jobs = [self._submitit.submit(ScoreShards(str(self._folder.root), chunk)) for chunk in chunks]
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, OSError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            why = next((line for line in lines if line.startswith("sbatch: ")), " ".join(lines) or type(error).__name__)
            why = why.removeprefix("sbatch: ").removeprefix("error: ")
            raise SweepError(f"Slurm refuses the job: {why}; check the options after --executor slurm") from error
        members = {job.job_id: [shard.name for shard in chunk] for job, chunk in zip(jobs, chunks, strict=True)}
        write_json(self._folder.slurm / f"submitted-{jobs[0].job_id.partition('_')[0]}.json", members)
        for job, names in members.items():
            for name in names:
                self._jobs[name] = job
                self._submissions[name] = self._submissions.get(name, 0) + 1
                self._gone_since.pop(name, None)
        self._asked = time.monotonic()

    def _queued_before(self) -> dict[str, str]:
        """Job of each shard that earlier sweeps submitted and Slurm still has."""
        files = sorted(self._folder.slurm.glob("submitted-*.json"))
        if not files:
            return {}
        states = queue_states()
        if states is None:
            raise SweepError("squeue gives no answer, so running jobs are unknown; try again when it does")
        self._states = states
        jobs: dict[str, str] = {}
        for file in files:
            members: dict[str, list[str]] = json.loads(file.read_bytes())
            live = {job: names for job, names in members.items() if job in states}
            jobs |= {name: job for job, names in live.items() for name in names}
            if not live:
                file.unlink()
        return jobs


def queue_states() -> dict[str, str] | None:
    """State by id of all our jobs in Slurm, each member of an array by itself; None where squeue gives no answer."""
    output = _slurm("squeue", "--me", "--noheader", "--array", "--format=%i %T")
    if output is None:
        return None
    return dict(line.split(None, 1) for line in output.splitlines() if len(line.split()) == 2)


def _state_of(job: str) -> str | None:
    """The final state of a job; None where Slurm has forgotten it."""
    state = re.search(r"JobState=(\w+)", _slurm("scontrol", "show", "job", job) or "")
    return state.group(1) if state else None


def _slurm(*command: str) -> str | None:
    """The output of a command of Slurm; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  # no shell
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
