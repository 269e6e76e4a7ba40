"""The example runs as its docstring says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_the_example_trains_scores_and_prints_its_cost() -> None:
    """It prints three scorings, the overhead, and that the weights are equal."""
    program = Path(__file__).parents[2] / "examples" / "train_with_rbridge.py"
    process = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=600)
    assert process.returncode == 0, process.stderr[-3000:]
    steps = re.findall(r"step +(\d+) +rBridge NLL (\d+\.\d+)", process.stdout)
    assert [int(step) for step, _ in steps] == [10, 20, 30]
    assert float(steps[-1][1]) < float(steps[0][1])
    assert re.search(r"overhead: \d+% of", process.stdout)
    assert "equal, bit for bit" in process.stdout
