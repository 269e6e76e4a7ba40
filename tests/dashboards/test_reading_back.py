"""What ``rbridge log`` put into each dashboard, read back by the dashboard's own reader."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rbridge_tasks.dashboards.histories import DashboardError

from ..tables.made_scores import invoke, table
from .readers import BIN, PROJECT, Mlflow, points_of, scores

METRICS = ("rbridge_nll", "acc", "exact_match,strict-match", "pass@1")

Dashboard = Any


def log(dashboard: Dashboard, rows: list[Any], folder: Path, *options: str) -> str:
    """Log a score table; gives all that the command prints."""
    path = table(folder / "scores.parquet", rows)
    return invoke("log", path, "--to", dashboard.to, "--project", PROJECT, *options).output


def holds(dashboard: Dashboard, rows: list[Any]) -> None:
    """The dashboard has each number of the table once, as it keeps it, and no others."""
    assert dashboard.points() == sorted(map(dashboard.kept, points_of(rows)))


@pytest.mark.slow
def test_a_dashboard_holds_the_table_and_follows_it(dashboard: Dashboard, tmp_path: Path) -> None:
    """First some, then the same again, then later and earlier checkpoints and another metric; then a changed number."""
    rows = scores(("web", "it's `books`"), (2, 3), METRICS)
    assert "28 new values in 2 runs" in log(dashboard, rows, tmp_path)
    holds(dashboard, rows)
    assert "0 new values, 28 there already in 2 runs" in log(dashboard, rows, tmp_path)
    holds(dashboard, rows)

    rows += scores(("web",), (1, 4), METRICS) + scores(("web", "it's `books`"), (2, 3), ("trace_nll",))
    assert "22 new values, 28 there already in 2 runs" in log(dashboard, rows, tmp_path)
    holds(dashboard, rows)

    scored_again = [rows[0] | {"value": 0.123}, *rows[1:]]
    said = log(dashboard, scored_again, tmp_path)
    assert "1 logged value differs from the table and is left as it is (--replace logs the run anew)" in said
    assert f"gsm8k/rbridge_nll of web-97.9M at 2000000007 tokens: {rows[0]['value']:.6g} there, 0.123 here" in said
    holds(dashboard, rows)
    if dashboard.replaces:
        assert "is written over" in log(dashboard, scored_again, tmp_path, "--replace", "--only", "rbridge_nll")
        holds(dashboard, scored_again)
        assert "0 new values, 50 there already" in log(dashboard, scored_again, tmp_path)
    else:
        with pytest.raises(DashboardError, match="--project"):
            log(dashboard, scored_again, tmp_path, "--replace")
        holds(dashboard, rows)


@pytest.mark.slow
def test_a_call_that_was_killed_is_made_up_for(dashboard: Dashboard, tmp_path: Path) -> None:
    """The real command, killed as soon as something stands in the dashboard; the next adds the rest, nothing twice."""
    rows = scores([f"run{at:02}" for at in range(dashboard.runs)], range(1, 16), METRICS)
    path = table(tmp_path / "scores.parquet", rows)
    places = [tmp_path, Path(os.environ["TRACKIO_DIR"])]
    command = [str(BIN / "rbridge"), "log", str(path), "--to", dashboard.to, "--project", PROJECT]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # of this process
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        while process.poll() is None and not any(map(_begun, places)):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    log(dashboard, rows[: len(METRICS)], tmp_path)  # of the first run; whatever was cut short can be read from here on
    assert len(dashboard.points()) < len(points_of(rows))
    log(dashboard, rows, tmp_path)
    holds(dashboard, rows)


def test_a_metric_that_mlflow_had_only_begun_is_written_again(tmp_path: Path) -> None:
    """Its file store makes the file first: killed there, MLflow itself would read the run no more."""
    dashboard, rows = Mlflow(tmp_path), scores(("web",), (1, 2))
    log(dashboard, rows, tmp_path)
    (begun,) = tmp_path.rglob("metrics/gsm8k/rbridge_nll_stderr")
    begun.write_bytes(b"")
    assert "2 new values, 2 there already" in log(dashboard, rows, tmp_path)
    holds(dashboard, rows)


def _begun(folder: Path) -> bool:
    """Whether values, not only empty files, are there."""
    values = ("*.rbridge", "metrics/gsm8k/rbridge_nll", "*.db-wal", "*.wandb")
    for file in itertools.chain.from_iterable(map(folder.rglob, values)):
        with contextlib.suppress(FileNotFoundError):  # renamed since it was listed
            if file.stat().st_size:
                return True
    return False
