"""Print a benchmark's figures, beside the machine they were taken on, and write them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the first line of the script's documentation and the option ``--json``."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds of the processor of one call, all cores together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def report(figures: dict[str, Any], output: Path | None) -> None:
    """Print the figures; write them where ``--json`` says."""
    figures |= {
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in figures.items():
        print(f"{name:50} {value:.4g}" if isinstance(value, float) else f"{name:50} {value}")
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
