"""Every shell command of README and docs works as written, on files that stand in for the reader's own."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow


def commands(document: str) -> list[str]:
    """The ``rbridge`` and ``lm_eval`` commands in the sh blocks of a document, in order."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith(("rbridge", "lm_eval"))]


@pytest.mark.parametrize("document", ["README.md", "docs/traces.md"])
def test_the_documented_commands_work_in_order(document: str, checkpoint: Path, tmp_path: Path) -> None:
    """Copied from the page into a shell, one after the other, each command succeeds."""
    rows = [{"id": i, "question": f"{i} + 1?", "response": f"Add one to {i}: {i + 1}."} for i in range(16, 19)]
    (tmp_path / "cot.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = commands(document)
    assert len(found) >= 4
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "user-cache"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("RBRIDGE_CACHE", None)
    for command in found:
        if command.endswith("--tasks rbridge"):
            continue  # needs traces of all six benchmarks; the tests of the lm_eval command run it
        words = [re.sub(r"CKPT\w*", str(checkpoint), word) for word in shlex.split(command)]
        words = ["cot.jsonl.gz" if word == "FILE" else word for word in words]
        result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}\n{result.stderr}"


def test_the_readme_names_both_make_targets() -> None:
    """The two commands that do all the set-up are in the README and in the Makefile."""
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}\n" in (PROJECT / "README.md").read_text()
        assert f"\n{target}:" in makefile
