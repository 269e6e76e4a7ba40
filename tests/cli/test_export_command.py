"""``rbridge export``."""

from __future__ import annotations

import json
from pathlib import Path

from ..harness.lm_eval_files import rbridge, write_json
from .conftest import Refused, Run


def test_it_counts_the_exported_scores_and_reports_the_omitted_ones(run: Run, refused: Refused, tmp_path: Path) -> None:
    """Standard output counts files and scores, standard error reports omitted scores; --json lists the files."""
    out = write_json(tmp_path / "results.json", rbridge("org/model", 0.75)).parent
    options = ("export", out, "--to", "eval-results", "-o", tmp_path / "hub", "-m", "rbridge_nll")
    code, output, errors = run(*options, "--dataset", "gsm8k=openai/gsm8k:gsm8k")
    assert (code, errors) == (0, "")
    assert output == f"1 score in 1 file in {tmp_path / 'hub'}\n"
    _, output, _ = run(*options, "--dataset", "gsm8k=openai/gsm8k:gsm8k", "--json")
    assert json.loads(output)["files"] == [str(tmp_path / "hub/org/model/.eval_results/gsm8k.yaml")]
    assert "BENCHMARK=OWNER/NAME:TASK" in refused(*options, "--dataset", "gsm8k")
