"""Freed memory is kept for the next tensor."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

MAPPED = """
import ctypes, sys, torch
from rbridge_tasks.scoring.cpu import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
keep_freed_memory()
before = mallinfo2().hblks
tensor = torch.ones(16 << 20, dtype=torch.uint8)
print(mallinfo2().hblks - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc's mallinfo2"
)
def test_a_tensor_of_16_mib_is_no_mapping_of_its_own() -> None:
    """A mapping of its own would be returned to the system when the tensor is freed."""
    run = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True, check=True)
    assert int(run.stdout) == 0
