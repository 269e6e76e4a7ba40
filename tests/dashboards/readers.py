"""The contents of each dashboard by its own reader, and score tables to log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..tables.made_scores import row

BIN = Path(sys.executable).parent

PROJECT = "proxies"

#: Environment of this process and of the programs that a test starts: nothing is sent.
QUIET = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class Point(NamedTuple):
    """A number in a dashboard. A number that was logged twice is two points."""

    run: str
    tokens: int
    name: str
    value: float


def scores(runs: Sequence[str], checkpoints: Iterable[int], metrics: Sequence[str] = ("rbridge_nll",)) -> list[Any]:
    """Return rows of a score table; no two values are equal, none is a round number."""
    return [
        row(run, (0.1 + at + len(metric)) / checkpoint, size=(97.9e6, checkpoint * 1e9 + 7), metric=metric,
            stderr=None if metric == "pass@1" else 0.01 / checkpoint)
        for at, run in enumerate(runs) for checkpoint in checkpoints for metric in metrics
    ]  # fmt: skip


def points_of(rows: Iterable[dict[str, Any]]) -> list[Point]:
    """Return the points that a dashboard should hold for a score table, without those of tokens."""
    points = []
    for score in rows:
        run, tokens = f"{score['run']}-97.9M", int(score["tokens"])
        metric, comma, filter_name = score["metric"].partition(",")
        name, error_name = (f"{score['benchmark']}/{metric}{suffix}{comma}{filter_name}" for suffix in ("", "_stderr"))
        points.append(Point(run, tokens, name, score["value"]))
        if score["stderr"] is not None:
            points.append(Point(run, tokens, error_name, score["stderr"]))
    return sorted(points)


class TensorBoard:
    """TensorBoard, read by the accumulator behind its pages."""

    replaces = True
    runs = 120  # enough that a call takes a while

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.to = f"tensorboard={self.folder}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point._replace(value=float(np.float32(point.value)))

    def points(self) -> list[Point]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        points = []
        for folder in sorted(self.folder.glob("*")):
            accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            for tag in accumulator.Tags()["scalars"]:
                points += [Point(folder.name, event.step, tag, event.value) for event in accumulator.Scalars(tag)]
        return sorted(points)


class Mlflow:
    """MLflow, read by its client."""

    replaces = True
    runs = 10  # enough that a call takes a while

    def __init__(self, folder: Path) -> None:
        self.uri = (folder / "mlruns").as_uri()
        self.to = f"mlflow={self.uri}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point._replace(name=point.name.replace(",", "_").replace("@", "_"))

    def points(self) -> list[Point]:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=self.uri)
        experiment = client.get_experiment_by_name(PROJECT)
        points = []
        for run in client.search_runs([experiment.experiment_id] if experiment else []):
            for key in run.data.metrics:
                history = client.get_metric_history(run.info.run_id, key)
                points += [Point(run.info.run_name, entry.step, key, entry.value) for entry in history]
        return _over_tokens(points)


class Trackio:
    """Trackio, read by its API and store. All tests of a process share the folder in ``$TRACKIO_DIR``."""

    replaces = True
    runs = 60  # enough that a call takes a while

    def __init__(self, folder: Path) -> None:  # noqa: ARG002  # the dashboards share a signature
        self.to = f"trackio={os.environ['TRACKIO_DIR']}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point

    def points(self) -> list[Point]:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        points = []
        for run in trackio.Api().runs(PROJECT) if PROJECT in SQLiteStorage.get_projects() else []:
            for entry in SQLiteStorage.get_logs(PROJECT, run.name, run_id=run.id):
                step = entry.pop("step")
                del entry["timestamp"]
                points += [Point(run.name, step, name, value) for name, value in entry.items()]
        return _over_tokens(points, once=False)


class Wandb:
    """W&B, read by its reader of offline runs."""

    replaces = False
    runs = 10  # enough that a call takes a while

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "here"
        self.to = f"wandb={self.folder}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point

    def points(self) -> list[Point]:
        points: list[Point] = []
        steps: dict[str, list[int]] = {}
        for folder in sorted((self.folder / "wandb").glob("offline-run-*")):
            records = wandb_records(folder)
            name = next((record["run"]["display_name"] for record in records if record["type"] == "run"), "")
            axes = {record["metric"].get("step_metric") for record in records if record["type"] == "metric"}
            # without this axis charts count rows
            assert "tokens" in axes or not any(record["type"] == "history" for record in records)
            for item in (record["history"]["item"] for record in records if record["type"] == "history"):
                steps.setdefault(name, []).append(item["_step"])
                numbers = {key: value for key, value in item.items() if not key.startswith("_")}
                points += [Point(name, int(item["tokens"]), key, value) for key, value in numbers.items()]
        assert all(taken == sorted(set(taken)) for taken in steps.values())  # otherwise W&B drops rows
        return _over_tokens(points, once=False)


def wandb_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of an offline run, read by the program behind ``wandb leet inspect``."""
    from wandb.util import get_core_path

    if not (files := [*folder.glob("*.wandb")]):  # a call killed before it wrote anything
        return []
    (file,) = files
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


DASHBOARDS = (TensorBoard, Mlflow, Trackio, Wandb)


def _over_tokens(points: list[Point], *, once: bool = True) -> list[Point]:
    """Return points without those of tokens; each step must have one, and its value must be the step."""
    tokens = [point for point in points if point.name == "tokens"]
    rest = sorted(point for point in points if point.name != "tokens")
    assert all(point.value == point.tokens for point in tokens)
    assert {(point.run, point.tokens) for point in tokens} >= {(point.run, point.tokens) for point in rest}
    assert not once or len(set(tokens)) == len(tokens)
    return rest
