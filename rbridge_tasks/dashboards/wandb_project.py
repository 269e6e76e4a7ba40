"""Weights & Biases: a project with one run for each training run, online or offline, charts over the metric ``tokens``.

W&B's own step counts rows, because it must not decrease: a checkpoint scored later may have fewer tokens.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbridge_tasks.dashboards.histories import TOKENS, DashboardError, RunHistory
from rbridge_tasks.dashboards.log import Dashboard, Values, optional_library
from rbridge_tasks.dashboards.wandb_log import log_files, records


class WandbProject(Dashboard):
    """A project of Weights & Biases, in the mode that ``$WANDB_MODE`` or ``wandb offline`` set.

    Args:
        folder: where W&B makes its folder ``wandb``; None for ``$WANDB_DIR``, else the current one.
        project: its name; made if it is missing.

    Raises:
        DashboardError: wandb is not installed or is disabled.
    """

    def __init__(self, folder: str | Path | None, project: str) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        self._wandb = optional_library("wandb", "wandb", "--to wandb")
        self._protocol = optional_library("wandb.proto.wandb_internal_pb2", "wandb", "--to wandb")
        self._folder = Path(folder or os.environ.get("WANDB_DIR") or ".")
        self._project = project
        mode = self._wandb.setup().settings.mode
        if mode == "disabled":
            raise DashboardError("W&B is disabled here and would log nothing; set WANDB_MODE=online or offline")
        self._offline = mode in ("offline", "dryrun")
        where = f"offline in {self._folder / 'wandb'}: wandb sync sends it" if self._offline else "online"
        self.place = f"W&B project {project} ({where})"

    def logged(self, history: RunHistory) -> Values:
        """Values of the run: offline those in its files in the folder, online those on the server."""
        return self._rows(history)[0]

    def add(self, history: RunHistory) -> None:
        """Append to the run, a row for each number of tokens."""
        next_step = self._rows(history)[1] + 1
        with self._errors():
            settings = self._wandb.Settings(
                console="off", silent=True, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
                disable_git=True, save_code=False,
            )  # fmt: skip
            self._folder.mkdir(parents=True, exist_ok=True)
            run = self._wandb.init(
                project=self._project, id=self._run_id(history), name=history.name, config=history.config,
                dir=str(self._folder), resume=None if self._offline else "allow", settings=settings,
            )  # fmt: skip
            try:
                run.define_metric(TOKENS)
                run.define_metric("*", step_metric=TOKENS)
                for step, (tokens, values) in enumerate(sorted(history.values.items()), start=next_step):
                    run.log({TOKENS: tokens, **values}, step=step)
            finally:
                run.finish()

    def replace(self, history: RunHistory) -> None:
        """Refuse: values in W&B cannot be changed.

        Raises:
            DashboardError: always.
        """
        raise DashboardError(
            f"values in W&B cannot be changed, so run {history.name} cannot be replaced; log to another --project"
        )

    def _run_id(self, history: RunHistory) -> str:
        """The same on every machine for the same run of a project."""
        return "rbridge-" + hashlib.sha256(json.dumps([self._project, history.name]).encode()).hexdigest()[:16]

    def _rows(self, history: RunHistory) -> tuple[Values, int]:
        """The run's values by tokens, and the last of W&B's own steps (-1 for none)."""
        values: Values = {}
        last = -1
        for row in self._rows_here(history) if self._offline else self._rows_online(history):
            last = max(last, int(row.get("_step", -1)))
            if isinstance(row.get(TOKENS), (int, float)):
                numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
                there = values.setdefault(int(row[TOKENS]), {})
                there |= {name: float(value) for name, value in numbers.items() if not name.startswith("_")}
        return values, last

    def _rows_here(self, history: RunHistory) -> Iterator[dict[str, Any]]:
        for path in log_files(self._folder, self._run_id(history)):
            for data in records(path):
                record = self._protocol.Record.FromString(data)
                if record.HasField("history"):
                    items = record.history.item
                    yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}

    def _rows_online(self, history: RunHistory) -> Iterator[dict[str, Any]]:
        """Rows on the server, through W&B's public interface.

        Raises:
            DashboardError: files of an offline call are not synced yet, or the server does not give all rows: values
                would be logged twice.
        """
        run_id = self._run_id(history)
        for path in log_files(self._folder, run_id):
            if path.parent.name.startswith("offline-") and not path.with_suffix(".wandb.synced").exists():
                raise DashboardError(f"{path.parent} was logged offline and not sent; run: wandb sync {path.parent}")
        with self._errors():
            api = self._wandb.Api()
            try:
                run = api.run(f"{self._project}/{run_id}")
            except (ValueError, self._wandb.errors.CommError) as error:
                if "not find" in str(error) or "404" in str(error):
                    return
                raise
            # W&B's cache on this machine may be outdated
            fresh = "use_cache" in inspect.signature(run.scan_history).parameters
            last = -1
            for row in run.scan_history(**({"use_cache": False} if fresh else {})):
                last = max(last, int(row.get("_step", -1)))
                yield row
            if last < run.lastHistoryStep:
                raise DashboardError(
                    f"{self.place} gives the rows of run {history.name} to {last} of {run.lastHistoryStep} only; "
                    "call again later, or the missing rows would be logged twice"
                )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DashboardError:
            raise
        except (self._wandb.errors.Error, OSError, ValueError) as error:
            text = " ".join(str(error).split())[:300].rstrip(".")
            remedy = "check the folder" if self._offline else "wandb login, or set WANDB_MODE=offline"
            raise DashboardError(f"{self.place}: {text}; {remedy}") from error
