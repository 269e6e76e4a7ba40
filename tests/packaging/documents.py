"""The shell blocks of README and docs, and the few lines in them that these tests cannot run."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((PROJECT / "docs").glob("*.md"))))

#: Patterns of lines that are not run, and the reasons. All other lines run.
LEFT_OUT = {
    r"vllm serve \S+": "serves until it is stopped; a server of the test answers at its address",
    r"lm_eval --model vllm .*": "needs vLLM; `make test-vllm` runs this on a real one",
    r"lm_eval .* --(wandb|trackio)_args .*": "sends to a dashboard; tests/dashboards runs both, offline",
    r"python benchmarks/\w+\.py .*": "measures for minutes; its script has to exist",
    r"python examples/replication/\w+\.py .*": "computes for minutes; tests/replication runs it on two corpora",
    r"RBRIDGE_TEST_COMMAND_KILLS=30 .*": "half an hour of kills; the same test runs with fewer",
}


def blocks(document: str) -> list[str]:
    """Return the sh blocks of a document."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def runnable(block: str) -> str:
    """Return a block without the lines of ``LEFT_OUT``."""
    return "".join(line for line in block.splitlines(keepends=True) if reason_to_leave_out(line) is None)


def reason_to_leave_out(line: str) -> str | None:
    """Return the reason why a line is not run, or None."""
    plain = line.split(" #")[0].strip()
    return next((reason for pattern, reason in LEFT_OUT.items() if re.fullmatch(pattern, plain)), None)
