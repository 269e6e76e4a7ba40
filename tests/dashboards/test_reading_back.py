"""Each dashboard's own reader reads back what ``rbridge log`` wrote."""

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
    """Log a score table; return the command's output."""
    path = table(folder / "scores.parquet", rows)
    return invoke("log", path, "--to", dashboard.to, "--project", PROJECT, *options).output


def assert_holds(dashboard: Dashboard, rows: list[Any]) -> None:
    """Assert that the dashboard has each number of the table once, in its precision, and no others."""
    assert dashboard.points() == sorted(map(dashboard.kept, points_of(rows)))


@pytest.mark.slow
def test_a_dashboard_holds_the_table_and_its_changes(dashboard: Dashboard, tmp_path: Path) -> None:
    """The table is logged twice, then with more checkpoints and another metric, then with a changed number."""
    rows = scores(("web", "it's `books`"), (2, 3), METRICS)
    assert "28 new values in 2 runs" in log(dashboard, rows, tmp_path)
    assert_holds(dashboard, rows)
    assert "0 new values, 28 there already in 2 runs" in log(dashboard, rows, tmp_path)
    assert_holds(dashboard, rows)

    rows += scores(("web",), (1, 4), METRICS) + scores(("web", "it's `books`"), (2, 3), ("trace_nll",))
    assert "22 new values, 28 there already in 2 runs" in log(dashboard, rows, tmp_path)
    assert_holds(dashboard, rows)

    scored_again = [rows[0] | {"value": 0.123}, *rows[1:]]
    output = log(dashboard, scored_again, tmp_path)
    assert "1 logged value differs from the table and is left as it is (--replace logs the run anew)" in output
    assert f"gsm8k/rbridge_nll of web-97.9M at 2000000007 tokens: {rows[0]['value']:.6g} there, 0.123 here" in output
    assert_holds(dashboard, rows)
    if dashboard.replaces:
        assert "is written over" in log(dashboard, scored_again, tmp_path, "--replace", "--only", "rbridge_nll")
        assert_holds(dashboard, scored_again)
        assert "0 new values, 50 there already" in log(dashboard, scored_again, tmp_path)
    else:
        with pytest.raises(DashboardError, match="--project"):
            log(dashboard, scored_again, tmp_path, "--replace")
        assert_holds(dashboard, rows)


@pytest.mark.slow
def test_a_call_completes_an_earlier_killed_call(dashboard: Dashboard, tmp_path: Path) -> None:
    """The real command is killed after its first values; the next call adds the others, and none twice."""
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
    log(dashboard, rows[: len(METRICS)], tmp_path)  # of the first run; afterwards truncated files are readable
    assert len(dashboard.points()) < len(points_of(rows))
    log(dashboard, rows, tmp_path)
    assert_holds(dashboard, rows)


def test_an_empty_metric_file_of_mlflow_is_written_again(tmp_path: Path) -> None:
    """MLflow creates the file before it writes; after a kill in between, MLflow itself could not read the run."""
    dashboard, rows = Mlflow(tmp_path), scores(("web",), (1, 2))
    log(dashboard, rows, tmp_path)
    (begun,) = tmp_path.rglob("metrics/gsm8k/rbridge_nll_stderr")
    begun.write_bytes(b"")
    assert "2 new values, 2 there already" in log(dashboard, rows, tmp_path)
    assert_holds(dashboard, rows)


def _begun(folder: Path) -> bool:
    """Return whether a folder has values, and not only empty files."""
    values = ("*.rbridge", "metrics/gsm8k/rbridge_nll", "*.db-wal", "*.wandb")
    for file in itertools.chain.from_iterable(map(folder.rglob, values)):
        with contextlib.suppress(FileNotFoundError):  # renamed since it was listed
            if file.stat().st_size:
                return True
    return False
