"""Trackio: a project in a local folder with one run for each training run. The step is the number of training tokens.

Values are written to trackio's store directly, as its importers do: without a server, and nothing leaves the machine.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rbridge_tasks.dashboards.histories import TOKENS, DashboardError, RunHistory
from rbridge_tasks.dashboards.log import Dashboard, Values, optional_library


class TrackioProject(Dashboard):
    """A project of trackio.

    Args:
        folder: where trackio keeps its projects; None for trackio's own choice, which ``$TRACKIO_DIR`` sets.
        project: its name; made if it is missing.

    Raises:
        DashboardError: trackio is not installed, or refuses the name.
    """

    def __init__(self, folder: str | Path | None, project: str) -> None:
        if folder is not None:
            os.environ["TRACKIO_DIR"] = str(Path(folder).absolute())  # read when trackio is imported
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing leaves this machine unasked
        optional_library("trackio", "trackio", "--to trackio")
        storage = optional_library("trackio.sqlite_storage", "trackio", "--to trackio")
        self._storage = storage.SQLiteStorage
        self._project = project
        path = Path(self._storage.get_project_db_path(project))
        self.place = f"trackio project {project} in {path.parent}"
        if folder is not None and path.parent != Path(folder).absolute():
            raise DashboardError(f"trackio uses {path.parent} in this process; log to {folder} in another one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check = getattr(self._storage, "validate_project_name", None)
            if check:
                check(project)
        except (ValueError, OSError) as error:
            text = str(error).rstrip(".")
            raise DashboardError(f"{self.place}: {text}; choose another --project or folder") from error

    def logged(self, history: RunHistory) -> Values:
        """All values of the run."""
        values: Values = {}
        with self._errors():
            for row in self._storage.get_logs(self._project, history.name, run_id=_run_id(history)):
                step = values.setdefault(int(row["step"]), {})
                step |= {name: value for name, value in row.items() if name not in ("step", "timestamp")}
        return values

    def add(self, history: RunHistory) -> None:
        """Append to the run, in one transaction; every row holds its tokens, the x axis of charts."""
        rows = [{TOKENS: step, **values} for step, values in history.values.items()]
        with self._errors():
            self._storage.bulk_log(
                self._project,
                history.name,
                rows,
                steps=list(history.values),
                config=dict(history.config),
                run_id=_run_id(history),
            )

    def replace(self, history: RunHistory) -> None:
        """Delete the run and log it anew."""
        with self._errors():
            self._storage.delete_run(self._project, history.name, run_id=_run_id(history))
        self.add(history)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DashboardError(f"{self.place}: {error}; check the folder") from error


def _run_id(history: RunHistory) -> str:
    """An id that differs from that of another program's run of the same name."""
    return f"rbridge-{history.name}"
