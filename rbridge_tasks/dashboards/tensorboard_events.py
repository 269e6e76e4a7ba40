"""TensorBoard: one folder for each run with event files of ours only, each written in one piece.

The step is the exact number of training tokens. TensorBoard keeps values in single precision.
"""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from rbridge_tasks.dashboards.histories import TOKENS, DashboardError, RunHistory
from rbridge_tasks.dashboards.log import Dashboard, Values, optional_library
from rbridge_traces.files import write_file

_EVENT_FILE = "tfevents"
_OURS = re.compile(r"events\.out\.tfevents\.(\d{10})\.(\d{6})\.rbridge")
_VERSION = "brain.Event:2"


class TensorBoardFolder(Dashboard):
    """A folder for ``tensorboard --logdir``.

    Args:
        folder: where it is, or is to be made.

    Raises:
        DashboardError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        need = "--to tensorboard"
        self._record_writer = optional_library("tensorboard.summary.writer.record_writer", "tensorboard", need)
        self._event = optional_library("tensorboard.compat.proto.event_pb2", "tensorboard", need)
        self._summary = optional_library("tensorboard.compat.proto.summary_pb2", "tensorboard", need)
        self._reader = optional_library(
            "tensorboard.backend.event_processing.event_file_loader", "tensorboard", need
        ).LegacyEventFileLoader
        self._folder = Path(folder)
        self.place = f"TensorBoard folder {folder}"

    def stored(self, name: str, value: float) -> float | None:
        """The value as float32; None for the token count, which TensorBoard already has as the step."""
        with np.errstate(over="ignore"):  # infinite, as TensorBoard shows it
            return None if name == TOKENS else float(np.float32(value))

    def logged(self, history: RunHistory) -> Values:
        """Values in our event files of this run.

        Raises:
            DashboardError: another program keeps event files there; TensorBoard would no longer follow them.
        """
        values: Values = {}
        for path in self._files(history.name):
            for event in self._reader(str(path)).Load():
                if event.HasField("session_log"):
                    values.clear()
                for value in event.summary.value:
                    values.setdefault(event.step, {})[value.tag] = value.simple_value
        return values

    def add(self, history: RunHistory) -> None:
        """Write another event file, which a running TensorBoard picks up.

        A step before the last one of a metric would look like a restart to TensorBoard: then the run is written again.
        """
        held = self.logged(history)
        last = {name: step for step in sorted(held) for name in held[step]}
        if all(step > last.get(name, -1) for step, values in history.values.items() for name in values):
            self._write(history, restart=False)
        else:
            self.replace(history.over(held))

    def replace(self, history: RunHistory) -> None:
        """Write an event file that begins with a restart, where TensorBoard drops earlier values; empty older files.

        The empty files stay, because a running TensorBoard fails where a file that it follows is deleted.
        """
        old = self._files(history.name)
        self._write(history, restart=True)
        for path in old:
            path.write_bytes(b"")

    def _run_folder(self, name: str) -> Path:
        folder = self._folder / name
        if ".." in folder.parts or folder.is_absolute() != self._folder.is_absolute() or Path(name).is_absolute():
            raise self._no_folder(name)
        return folder

    def _no_folder(self, name: str) -> DashboardError:
        return DashboardError(f"a run named {name!r} cannot have a folder in {self._folder}; rename it")

    def _files(self, name: str) -> list[Path]:
        """Our event files of a run, in the order of their writing."""
        folder = self._run_folder(name)
        try:
            files = sorted(path for path in folder.glob("*") if _EVENT_FILE in path.name and path.is_file())
        except (OSError, ValueError) as error:  # a name that the file system refuses
            raise self._no_folder(name) from error
        foreign = [path for path in files if not _OURS.fullmatch(path.name)]
        if foreign:
            raise DashboardError(
                f"{foreign[0]} was written by another program, and TensorBoard follows one event file a folder; give a "
                "folder of its own: --to tensorboard=DIR"
            )
        return files

    def _write(self, history: RunHistory, *, restart: bool) -> None:
        files = self._files(history.name)
        last = _OURS.fullmatch(files[-1].name) if files else None
        now = int(time.time())
        second, number = (int(last[1]), int(last[2]) + 1) if last and int(last[1]) >= now else (now, 0)
        buffer = io.BytesIO()
        writer = self._record_writer.RecordWriter(buffer)
        wall_time = time.time()
        events: list[Any] = [self._event.Event(wall_time=wall_time, file_version=_VERSION)]
        if restart:
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            events += [self._event.Event(wall_time=wall_time, step=0, session_log=start)] * 2  # the first is no restart
        events += [
            self._event.Event(wall_time=wall_time, step=step, summary=self._summary_of(values))
            for step, values in history.values.items()
        ]
        for event in events:
            writer.write(event.SerializeToString())
        staged = self._run_folder(history.name) / "next.rbridge"  # TensorBoard reads half a file if it is named as one
        write_file(staged, buffer.getvalue())
        staged.replace(staged.with_name(f"events.out.tfevents.{second:010d}.{number:06d}.rbridge"))

    def _summary_of(self, values: dict[str, float]) -> Any:
        numbers = {name: self.stored(name, value) for name, value in values.items()}
        entries = [
            self._summary.Summary.Value(tag=name, simple_value=value)
            for name, value in numbers.items()
            if value is not None
        ]
        return self._summary.Summary(value=entries)
