"""The public names of ``rbridge_traces``, and the cost of importing it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import rbridge_traces
from rbridge_metrics.errors import RBridgeError


def test_every_public_name_is_there() -> None:
    """Every listed name can be imported and has a docstring; another name is an AttributeError."""
    for name in dir(rbridge_traces):
        assert getattr(rbridge_traces, name).__doc__
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = rbridge_traces.NoSuchName


def test_importing_the_package_imports_nothing_heavy() -> None:
    """pyarrow, fsspec, platformdirs and numpy are imported on first use, to keep the command line fast."""
    heavy = ("numpy", "pyarrow", "fsspec", "platformdirs", "rbridge_metrics")
    code = f"import sys, rbridge_traces; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_traces_and_errors_are_made_without_pyarrow() -> None:
    """Creating traces and errors imports only numpy."""
    code = (
        "import sys; from rbridge_traces import Trace, TraceError, SampleCache; Trace('gsm8k', '1', 'q', 't');"
        "print([name for name in ('pyarrow', 'fsspec', 'platformdirs') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["TraceError", "CacheNotFoundError", "CacheCorruptError", "TraceImportError"])
def test_every_error_is_one_line_and_crosses_processes(name: str) -> None:
    """An error message is one line and can be pickled, as worker processes need."""
    error = getattr(rbridge_traces, name)("found\nexpected\r\ndo")
    assert isinstance(error, RBridgeError)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes made in this test
    assert (type(copy), str(copy)) == (type(error), "found expected do")
