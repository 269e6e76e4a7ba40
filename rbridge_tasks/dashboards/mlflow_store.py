"""MLflow: an experiment with one MLflow run for each training run, in any store of MLflow. The step is the tokens."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbridge_tasks.dashboards.histories import DashboardError, RunHistory
from rbridge_tasks.dashboards.log import Dashboard, Values, optional_library

_KEY_TAG = "rbridge.key"  # hash of the run's name; runs of other programs have no such tag
_REFUSED = re.compile(r"[^/\w.\- ]")  # characters that MLflow refuses in names
_DATABASE = re.compile(r"(sqlite|mysql|postgresql|mssql)[+\w]*:")
_BATCH = 1000  # largest number of metrics in one request to MLflow


class MlflowExperiment(Dashboard):
    """An experiment of a tracking server or store.

    Args:
        uri: where MLflow tracks to: ``file:mlruns``, ``sqlite:///mlflow.db``, ``http://...``; None for MLflow's own
            choice, which ``$MLFLOW_TRACKING_URI`` sets.
        experiment: its name; made if it is missing.

    Raises:
        DashboardError: MLflow is not installed, or cannot open the store.
    """

    def __init__(self, uri: str | None, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine unasked
        if uri is not None and _is_file_store(uri):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # late versions of MLflow ask for this
        self._mlflow = optional_library("mlflow", "mlflow", "--to mlflow")
        self._entities = optional_library("mlflow.entities", "mlflow", "--to mlflow")
        self._uri = uri or self._mlflow.get_tracking_uri()
        if _DATABASE.match(self._uri):
            optional_library("sqlalchemy", "mlflow", f"--to mlflow={self._uri}")  # mlflow-skinny has none
        self.place = f"MLflow experiment {experiment} in {self._uri}"
        with self._errors():
            self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
            known = self._client.get_experiment_by_name(experiment)
            if known is not None and known.lifecycle_stage != "active":
                raise DashboardError(f"the {self.place} is deleted; restore it in MLflow or choose another --project")
            self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
            if _is_file_store(self._uri):
                files = optional_library("mlflow.utils.file_utils", "mlflow", "--to mlflow")
                _remove_empty_metrics(Path(files.local_file_uri_to_path(self._uri)) / self._experiment)

    def logged(self, history: RunHistory) -> Values:
        """Values of the run's metrics of this history's names."""
        values: Values = {}
        with self._errors():
            run = self._run(history.name)
            if run is None:
                return values
            for name, key in _keys(history).items():
                if key in run.data.metrics:
                    for metric in self._client.get_metric_history(run.info.run_id, key):
                        values.setdefault(metric.step, {})[name] = metric.value
        return values

    def add(self, history: RunHistory) -> None:
        """Append to the run of this name; make it if there is none."""
        with self._errors():
            run = self._run(history.name)
            self._log(run.info.run_id if run else self._new_run(history), history)

    def replace(self, history: RunHistory) -> None:
        """Delete the run, which ``mlflow`` can restore, and log a new one: MLflow cannot delete a metric."""
        with self._errors():
            old = self._run(history.name)
            others: list[Any] = []
            if old is not None:
                for key in sorted(set(old.data.metrics) - set(_keys(history).values())):
                    others += self._client.get_metric_history(old.info.run_id, key)
                self._client.delete_run(old.info.run_id)
            self._log(self._new_run(history), history, others)

    def _run(self, name: str) -> Any:
        runs = self._client.search_runs([self._experiment], filter_string=f"tags.`{_KEY_TAG}` = '{_key_of(name)}'")
        if len(runs) > 1:
            raise DashboardError(
                f"the {self.place} has {len(runs)} runs {name!r} of ours; delete all but one in MLflow"
            )
        return runs[0] if runs else None

    def _new_run(self, history: RunHistory) -> str:
        tags = {_KEY_TAG: _key_of(history.name)} | {name: str(value) for name, value in history.config.items()}
        run_id: str = self._client.create_run(self._experiment, tags=tags, run_name=history.name).info.run_id
        return run_id

    def _log(self, run_id: str, history: RunHistory, others: Sequence[Any] = ()) -> None:
        keys = _keys(history)
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(keys[name], value, now, step)
            for step, values in history.values.items()
            for name, value in values.items()
        ]
        metrics += [self._entities.Metric(old.key, old.value, old.timestamp, old.step) for old in others]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        self._client.set_terminated(run_id)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of MLflow and its stores into one line."""
        try:
            yield
        except DashboardError:
            raise
        except (self._mlflow.exceptions.MlflowException, ImportError, OSError, ValueError) as error:
            raise DashboardError(f"{self.place}: {' '.join(str(error).split())[:300]}") from error


def _is_file_store(uri: str) -> bool:
    return uri.startswith("file:") or "://" not in uri


def _remove_empty_metrics(experiment: Path) -> None:
    """Remove empty metric files that a killed call left in our runs: MLflow cannot read a run with one."""
    for tag in experiment.glob(f"*/tags/{_KEY_TAG}"):
        for file in (tag.parents[1] / "metrics").rglob("*"):
            if file.is_file() and file.stat().st_size == 0:
                file.unlink()


def _key_of(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _keys(history: RunHistory) -> dict[str, str]:
    """MLflow's name of each metric. Characters that it refuses, as in ``pass@1``, become underscores.

    Raises:
        DashboardError: two metrics get the same name.
    """
    keys: dict[str, str] = {}
    for name in dict.fromkeys(name for values in history.values.values() for name in values):
        keys[name] = _REFUSED.sub("_", name)
    names: dict[str, str] = {}
    for name, key in keys.items():
        if names.setdefault(key, name) != name:
            raise DashboardError(f"MLflow cannot tell {names[key]} and {name} apart; choose one with --only")
    return keys
