"""A private Slurm cluster: munged, slurmctld and several node daemons on this machine, all files in one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
_STARTING_SECONDS = 30.0

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=3
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=4
KillWait=1
MpiDefault=none
MailProg=/bin/true
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why a cluster cannot run here, or None if it can."""
    lacking = [name for name in NEEDED if _path_of(name) is None]
    if lacking:
        return f"needs {', '.join(lacking)} (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "needs root, to start its daemons"


def _path_of(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Cluster:
    """A cluster that runs within ``with``; commands reach it through ``environment``.

    Args:
        nodes: names of the nodes; each has one processor.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 108 characters
        self.environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._nodes = nodes
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        ports = _free_ports(len(self._nodes) + 1)
        host = socket.gethostname().partition(".")[0]
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=1000 State=UNKNOWN"
            for name, port in zip(self._nodes, ports[1:], strict=True)
        ]
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, port=ports[0], folder=self.folder, nodes="\n".join(lines))
        )
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.folder.chmod(0o755)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
        files |= {"seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        self._daemon("munged", "--foreground", "--force", *options)
        _until(lambda: (self.folder / "munge.socket").exists(), "munged does not start")
        self._daemon("slurmctld", "-D", "-c")
        for name in self._nodes:
            self._daemon("slurmd", "-D", "-N", name, name=name)
        _until(lambda: self.states() == ["idle"] * len(self._nodes), f"no node is idle; see {self.folder}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._nodes:
            self.kill_node(name)
        for process in reversed([*self._daemons.values()]):
            process.terminate()
        for process in self._daemons.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *words: str) -> str:
        """Run a Slurm command; return its output."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    def states(self) -> list[str]:
        """Return the state of each node, or an empty list while the controller does not answer."""
        try:
            return self.command("sinfo", "--noheader", "--Node", "--format=%t").split()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return []

    def nodes_at_work(self) -> dict[str, str]:
        """Return the running job of each node, by the node's name."""
        lines = self.command("squeue", "--noheader", "--array", "--states=R", "--format=%N %i").splitlines()
        return dict(line.split() for line in lines if len(line.split()) == 2)

    def processes_of(self, node: str) -> list[psutil.Process]:
        """Return the processes of a node: its daemon, its jobs, and their slurmstepd parents."""
        daemon = self._daemons.get(node)
        configuration = self.environment["SLURM_CONF"]
        processes = [psutil.Process(daemon.pid)] if daemon is not None and daemon.poll() is None else []
        for process in psutil.process_iter():
            try:
                variables = process.environ()
                if (variables.get("SLURMD_NODENAME"), variables.get("SLURM_CONF")) == (node, configuration):
                    keepers = [parent for parent in process.parents() if parent.name().startswith("slurmstepd")]
                    processes += [*keepers, process]
            except psutil.Error:
                continue
        return [*dict.fromkeys(processes)]

    def kill_node(self, node: str) -> None:
        """Kill all processes of a node, as a power failure does."""
        processes = self.processes_of(node)
        for process in processes:
            try:
                process.kill()
            except psutil.Error:
                continue
        if (daemon := self._daemons.pop(node, None)) is not None:
            daemon.wait(10)
        psutil.wait_procs(processes, 10)

    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> None:
        path = _path_of(program)
        assert path is not None
        with (self.folder / f"{name or program}.out").open("wb") as out:
            self._daemons[name or program] = subprocess.Popen(
                [path, *arguments], env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for free_socket in sockets:
            free_socket.bind(("127.0.0.1", 0))
        return [free_socket.getsockname()[1] for free_socket in sockets]
    finally:
        for free_socket in sockets:
            free_socket.close()


def _until(happened: object, otherwise: str) -> None:
    deadline = time.monotonic() + _STARTING_SECONDS
    while not happened():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.2)
