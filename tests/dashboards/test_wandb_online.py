"""W&B with a server: offline runs are sent once, and online calls continue them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..tables.made_scores import invoke, table
from .readers import BIN, PROJECT, Point, points_of, scores
from .wandb_server import WandbServer


def points_on(server: WandbServer) -> list[Point]:
    """Return the server's numbers without W&B's own columns and tokens."""
    return sorted(
        Point(run, int(row["tokens"]), name, value)
        for run, rows in server.rows.items()
        for row in rows
        for name, value in row.items()
        if "/" in name
    )


@pytest.mark.slow
def test_offline_calls_are_synced_once_and_online_calls_continue(tmp_path: Path) -> None:
    """Two offline calls are synced together; online calls are refused before, and add only new values after."""
    rows: list[dict[str, Any]] = []
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment |= {"WANDB_API_KEY": "a" * 40, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def online(*command: str) -> str:
        table(tmp_path / "scores.csv", rows)
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    log = ("log", str(tmp_path / "scores.csv"), "--to", f"wandb={tmp_path}", "--project", PROJECT)
    for checkpoint in (1, 2):
        rows += scores(("web",), (checkpoint,))
        table(tmp_path / "scores.csv", rows)
        assert "2 new values" in invoke(*log).output
    with WandbServer() as server:
        environment |= {"WANDB_BASE_URL": server.url, "WANDB_MODE": "online"}
        assert "was logged offline and not sent; run: wandb sync" in online("rbridge", *log)
        folders = sorted(str(folder) for folder in (tmp_path / "wandb").glob("offline-run-*"))
        output = online("wandb", "sync", *folders)
        assert points_on(server) == points_of(rows), output
        rows += scores(("web",), (3,)) + scores(("books",), (1,))
        output = online("rbridge", *log)
        assert "4 new values, 4 there already in 2 runs" in output, output
        assert points_on(server) == points_of(rows)
        assert "0 new values, 8 there already in 2 runs" in online("rbridge", *log)
        assert points_on(server) == points_of(rows)
