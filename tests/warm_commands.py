"""The real ``rbridge`` and ``lm_eval`` commands without their start: one Python that has imported them, and forks.

A shell in a test finds ``rbridge`` and ``lm_eval`` on its PATH as small programs that hand their arguments, folder,
environment and open files to that Python. It forks, takes them over, and runs the command's own entry point. Importing
torch, and reading the thousands of task files of lm-eval, is paid for once and not by each command.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

# Read when libraries are imported: a command that wants others has to have a Python of its own.
READ_AT_IMPORT = (
    "HF_HOME", "HF_ENDPOINT", "HF_HUB_", "HF_DATASETS_", "RBRIDGE_AUTOLOAD", "OMP_NUM_THREADS", "HTTP_PROXY",
    "HTTPS_PROXY", "CXX",
)  # fmt: skip

_CLIENT = """\
#!{python} -IS
import array, json, os, socket, sys
line = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(line).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(line)
    sys.exit(int(server.recv(8) or b"1"))
"""

_SERVER = """\
import contextlib, json, os, socket, sys

read_at_import, address = sys.argv[1].split(","), sys.argv[2]
started_with = {name: value for name, value in os.environ.items() if name.startswith(tuple(read_at_import))}

import lm_eval.__main__, lm_eval.evaluator, lm_eval.loggers, lm_eval.models.huggingface, lm_eval.tasks, pandas
import pytablewriter, rbridge_tasks.backends.hf, rbridge_tasks.cli, rich.table, scipy.stats, sklearn, sympy, torch
import transformers.generation, transformers.models.llama.modeling_llama
from importlib.metadata import entry_points
from pathlib import Path
from lm_eval.tasks._index import TaskIndex
from rbridge_tasks.harness.task_folder import TASKS_PATH

our_paths = [Path(lm_eval.tasks.__file__).parent, TASKS_PATH]
builds, build = {}, TaskIndex.build
TaskIndex.build = staticmethod(lambda paths, **options: builds.get(repr(paths)) or build(paths, **options))
builds[repr(our_paths)] = build(our_paths)
mains = {point.name: point for point in entry_points(group="console_scripts") if point.name in ("rbridge", "lm_eval")}


def run(name, arguments, folder, environment):
    os.chdir(folder)
    asked = {key: value for key, value in environment.items() if key.startswith(tuple(read_at_import))}
    os.environ.clear()
    os.environ.update(environment)
    if asked != started_with:
        module = {"rbridge": "rbridge_tasks", "lm_eval": "lm_eval"}[name]
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    sys.argv = [name, *arguments]
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    try:
        mains[name].load()()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # as Python itself ends: lm-eval's errors become one line there
        sys.excepthook(*sys.exc_info())
        code = 1
    else:
        code = 0
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


with socket.socket(socket.AF_UNIX) as server:
    server.bind(address)
    server.listen(8)
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            size, files, _, _ = socket.recv_fds(connection, 8, 3)
            if not size:  # somebody looked whether we are there
                os._exit(0)
            line = b""
            while len(line) < int.from_bytes(size, "big"):
                line += connection.recv(1 << 16)
            worker = os.fork()
            if worker == 0:
                for place, file in enumerate(files):
                    os.dup2(file, place)
                run(*json.loads(line))
            _, status = os.waitpid(worker, 0)
            connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
            os._exit(0)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
"""


class WarmCommands:
    """A folder ``bin`` with ``rbridge`` and ``lm_eval``; a context that ends their Python."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        address = folder / "socket"
        for name in ("rbridge", "lm_eval"):
            client = self.bin / name
            client.write_text(_CLIENT.format(python=sys.executable, name=name, address=str(address)))
            client.chmod(0o755)
        command = [sys.executable, "-c", _SERVER, ",".join(READ_AT_IMPORT), str(address)]
        self._log = (folder / "log").open("w")
        self._server = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        self._address = address

    def __enter__(self) -> WarmCommands:
        until = time.monotonic() + 600
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if self._address.exists() and probe.connect_ex(str(self._address)) == 0:
                    return self
            if self._server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(Path(self._log.name).read_text())
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()
        self._log.close()
        os.unlink(self._address)  # noqa: PTH108
