"""Run the numeric tests with every set of kernels that this processor has: ``make test-kernels``.

torch, NumPy and the libraries below them choose kernels by the processor's instructions, and kernels round differently.
torch does not check whether the processor has the instructions that ``ATEN_CPU_CAPABILITY`` names, so this program
does. Arguments are passed on to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Tests that compute with torch, without those that start other programs.
WITH_TORCH = (
    "tests/test_error_bounds.py",
    "tests/scoring", "tests/resume/test_resume.py", "tests/resume/test_resume_identity.py",
    "tests/resume/test_resume_store.py", "tests/backends", "tests/harness/test_proxy_tasks.py",
)  # fmt: skip
#: Tests that compute with NumPy and SciPy alone; torch's kernels do not concern them.
WITH_NUMPY = ("tests/metrics", "tests/traces/test_confidence.py")

IN_PARALLEL = ("--numprocesses", "auto", "--maxprocesses", "8", "--dist", "loadfile")

#: Capabilities that torch has kernels for on x86, each of which includes those before it.
CAPABILITIES = ("default", "avx2", "avx512")


@dataclass(frozen=True)
class Run:
    """Tests, environment variables to run them with, and the capability that the processor needs for it."""

    needs: str
    variables: dict[str, str]
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(f'{name}="{value}"' for name, value in self.variables.items())


RUNS = [
    *(
        Run(capability, {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": threads}, WITH_TORCH)
        for capability in CAPABILITIES
        for threads in ("1", "2")
    ),
    # oneDNN, MKL, OpenBLAS and NumPy choose for themselves: here they use older instructions than torch.
    Run(
        "avx512",
        {
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "OPENBLAS_CORETYPE": "HASWELL",
            "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
            "OMP_NUM_THREADS": "1",
        },
        (*WITH_TORCH, *WITH_NUMPY),
    ),
    Run(
        "avx2",
        {
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "NEHALEM",
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
            "OMP_NUM_THREADS": "2",
        },
        (*WITH_TORCH, *WITH_NUMPY),
    ),
]


def highest_capability() -> str:
    """What torch finds this processor capable of, in lower case."""
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    code = "import torch; print(torch.backends.cpu.get_cpu_capability().lower())"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def runs_here(highest: str) -> tuple[list[Run], list[Run]]:
    """The runs that a processor of this capability can do, and those that it cannot."""
    known = CAPABILITIES[: CAPABILITIES.index(highest) + 1] if highest in CAPABILITIES else ("default",)
    return [run for run in RUNS if run.needs in known], [run for run in RUNS if run.needs not in known]


def main(arguments: list[str]) -> int:
    """Run all, and report which passed, failed and were skipped; 1 if one failed."""
    highest = highest_capability()
    todo, skipped = runs_here(highest)
    failed = []
    for number, run in enumerate(todo, start=1):
        print(f"== {number} of {len(todo)}: {run}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", *IN_PARALLEL, *(arguments or ("-m", "not slow")), *run.tests]
        if subprocess.run(command, cwd=ROOT, env=os.environ | run.variables, check=False).returncode:
            failed.append(run)
    print(f"\nThis processor's highest capability is {highest}.")
    for run in todo:
        print(f"{'FAILED ' if run in failed else 'passed '} {run}")
    for run in skipped:
        print(f"skipped {run}: needs {run.needs}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
