"""Run code that a model wrote: in a new interpreter, for a few seconds, in an empty folder, with limits.

This limits accidents. It is not a sandbox: the code has all permissions of the user who runs it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rbridge_metrics import RBridgeError

#: The environment variable that also allows Hugging Face's ``code_eval`` to run code.
ALLOW = "HF_ALLOW_CODE_EVAL"

_CLOCK = 10  # seconds of the clock for a second of processor time: a busy machine does not make right code wrong
_MEMORY_BYTES = 4 << 30
_FILE_BYTES = 1 << 24

_HAS_LIMITS = importlib.util.find_spec("resource") is not None

# Ends with an exit status that the program does not know, so that an early exit does not pass.
_RUNNER = f"""
import os, sys
path, status, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
limits = dict(AS={_MEMORY_BYTES}, FSIZE={_FILE_BYTES}, CORE=0, CPU=seconds)
try:
    import resource
except ImportError:
    limits = {{}}
for name, value in limits.items():
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
    except (OSError, ValueError):  # the process has a lower one
        pass
source = open(path, encoding="utf-8").read()
sys.argv = [path]
exec(compile(source, path, "exec"), {{"__name__": "__main__"}})
os._exit(status)
"""


class CodeExecutionError(RBridgeError):
    """Code would have to be run, and the user has not allowed it."""


def check_allowed(task: str) -> None:
    """Refuse to run code where the user has not allowed it.

    Raises:
        CodeExecutionError: ``HF_ALLOW_CODE_EVAL`` is not 1.
    """
    if os.environ.get(ALLOW) != "1":
        raise CodeExecutionError(
            f"{task} runs code that the model writes, on this machine and as this user; allow that with {ALLOW}=1 in "
            "the environment and --confirm_run_unsafe_code, best in a container without network, or leave out the task"
        )


def passes(program: str, *, seconds: int = 3) -> bool:
    """Whether a Python program runs to its end without an error.

    It runs in a new process with an empty working directory and environment, no input, and limits on time, memory (4
    GiB) and the size of files, where the platform has them.

    Args:
        program: source code; its tests are assertions in it.
        seconds: of processor time after which it is stopped; by the clock after ten times that, or after so many
            seconds where the platform has no limits of processor time.

    >>> passes("assert 1 + 1 == 2"), passes("assert 1 + 1 == 3"), passes("raise SystemExit(0)"), passes("def")
    (True, False, False, False)
    """
    status = secrets.randbelow(100) + 100
    environment = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8", errors="replace")
        process = subprocess.Popen(  # noqa: S603  # running it is what was asked for
            [sys.executable, "-I", "-c", _RUNNER, str(path), str(status), str(seconds)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=seconds * (_CLOCK if _HAS_LIMITS else 1)) == status
        except subprocess.TimeoutExpired:
            return False
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
