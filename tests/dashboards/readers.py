"""Each dashboard as its own reader finds it, and score tables to log."""

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

#: Set for every program that a test starts, and in this process: nothing is sent anywhere.
QUIET = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class Point(NamedTuple):
    """One number in a dashboard. A number that was logged twice is two points."""

    run: str
    tokens: int
    name: str
    value: float


def scores(runs: Sequence[str], checkpoints: Iterable[int], metrics: Sequence[str] = ("rbridge_nll",)) -> list[Any]:
    """Rows of a score table; no two values are equal, none is a round number."""
    return [
        row(run, (0.1 + at + len(metric)) / checkpoint, size=(97.9e6, checkpoint * 1e9 + 7), metric=metric,
            stderr=None if metric == "pass@1" else 0.01 / checkpoint)
        for at, run in enumerate(runs) for checkpoint in checkpoints for metric in metrics
    ]  # fmt: skip


def points_of(rows: Iterable[dict[str, Any]]) -> list[Point]:
    """What a dashboard should hold of a score table, tokens apart."""
    points = []
    for one in rows:
        run, tokens = f"{one['run']}-97.9M", int(one["tokens"])
        metric, comma, filter_name = one["metric"].partition(",")
        points.append(Point(run, tokens, f"{one['benchmark']}/{metric}{comma}{filter_name}", one["value"]))
        if one["stderr"] is not None:
            points.append(Point(run, tokens, f"{one['benchmark']}/{metric}_stderr{comma}{filter_name}", one["stderr"]))
    return sorted(points)


class TensorBoard:
    """Read by the accumulator behind TensorBoard's own pages."""

    replaces = True
    runs = 120  # as many as take a while

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.to = f"tensorboard={self.folder}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point._replace(value=float(np.float32(point.value)))

    def points(self) -> list[Point]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = []
        for folder in sorted(self.folder.glob("*")):
            accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            for tag in accumulator.Tags()["scalars"]:
                found += [Point(folder.name, one.step, tag, one.value) for one in accumulator.Scalars(tag)]
        return sorted(found)


class Mlflow:
    """Read by MLflow's client."""

    replaces = True
    runs = 10  # as many as take a while

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
        found = []
        for run in client.search_runs([experiment.experiment_id] if experiment else []):
            for key in run.data.metrics:
                history = client.get_metric_history(run.info.run_id, key)
                found += [Point(run.info.run_name, one.step, key, one.value) for one in history]
        return _over_tokens(found)


class Trackio:
    """Read by trackio's own interface and store. Its folder is the same in one process, which ``$TRACKIO_DIR`` sets."""

    replaces = True
    runs = 60  # as many as take a while

    def __init__(self, folder: Path) -> None:  # noqa: ARG002  # as the others
        self.to = f"trackio={os.environ['TRACKIO_DIR']}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point

    def points(self) -> list[Point]:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        found = []
        for run in trackio.Api().runs(PROJECT) if PROJECT in SQLiteStorage.get_projects() else []:
            for one in SQLiteStorage.get_logs(PROJECT, run.name, run_id=run.id):
                step = one.pop("step")
                del one["timestamp"]
                found += [Point(run.name, step, name, value) for name, value in one.items()]
        return _over_tokens(found, once=False)


class Wandb:
    """Read by W&B's own reader of offline runs."""

    replaces = False
    runs = 10  # as many as take a while

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "here"
        self.to = f"wandb={self.folder}"

    @staticmethod
    def kept(point: Point) -> Point:
        return point

    def points(self) -> list[Point]:
        found: list[Point] = []
        steps: dict[str, list[int]] = {}
        for folder in sorted((self.folder / "wandb").glob("offline-run-*")):
            records = wandb_records(folder)
            name = next((one["run"]["display_name"] for one in records if one["type"] == "run"), "")
            axes = {one["metric"].get("step_metric") for one in records if one["type"] == "metric"}
            assert "tokens" in axes or not any(one["type"] == "history" for one in records)  # or charts count rows
            for one in (record["history"]["item"] for record in records if record["type"] == "history"):
                steps.setdefault(name, []).append(one["_step"])
                numbers = {key: value for key, value in one.items() if not key.startswith("_")}
                found += [Point(name, int(one["tokens"]), key, value) for key, value in numbers.items()]
        assert all(taken == sorted(set(taken)) for taken in steps.values())  # or W&B drops rows
        return _over_tokens(found, once=False)


def wandb_records(folder: Path) -> list[dict[str, Any]]:
    """Records of an offline run, by the program behind ``wandb leet inspect``."""
    from wandb.util import get_core_path

    if not (files := [*folder.glob("*.wandb")]):  # a call killed before it wrote anything
        return []
    (file,) = files
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


DASHBOARDS = (TensorBoard, Mlflow, Trackio, Wandb)


def _over_tokens(points: list[Point], *, once: bool = True) -> list[Point]:
    """Points without those of the tokens, which have to be there for each step, and to be the step."""
    tokens = [point for point in points if point.name == "tokens"]
    rest = sorted(point for point in points if point.name != "tokens")
    assert all(point.value == point.tokens for point in tokens)
    assert {(point.run, point.tokens) for point in tokens} >= {(point.run, point.tokens) for point in rest}
    assert not once or len(set(tokens)) == len(tokens)
    return rest
