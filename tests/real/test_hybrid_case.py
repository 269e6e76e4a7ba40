"""A user's script runs unchanged, and our sums equal the model's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_hybrid_with_strong_convolutions_is_right(data: Path) -> None:
    """The script compares sums of 8 texts with a separate pass over each, and imports from the former modules."""
    script = data.parent / "cases" / "hybrid_leak.py"
    if not script.is_file():
        pytest.skip(f"there is no {script}")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("ours") == 8
