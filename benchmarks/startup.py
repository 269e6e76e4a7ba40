"""What the lm-eval hook adds to the start of Python: the .pth line, executed many times in fresh namespaces.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

LINE = (Path(__file__).parent.parent / "rbridge_tasks_autoload.pth").read_text(encoding="utf-8")


def main() -> None:
    """Print the median cost of the line, and of a whole start of Python for comparison."""
    line_us = []
    for _ in range(500):
        before = list(sys.meta_path)
        began = time.perf_counter()
        exec(LINE, {})  # noqa: S102  # what site.py does with the line
        line_us.append((time.perf_counter() - began) * 1e6)
        sys.meta_path[:] = before
    start_ms = []
    for _ in range(20):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        start_ms.append((time.perf_counter() - began) * 1e3)
    print(f"the hook's line: {statistics.median(line_us):.0f} us (target: below 1000)")
    print(f"a whole start of Python, hook included: {statistics.median(start_ms):.1f} ms")


if __name__ == "__main__":
    main()
