"""Empty dashboards for each test, and settings that send nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .readers import DASHBOARDS, QUIET


@pytest.fixture(scope="session")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of trackio for all tests, because trackio reads ``$TRACKIO_DIR`` once in a process."""
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, trackio_folder: Path) -> None:
    """This process and the processes that it starts send nothing."""
    for name, value in (QUIET | {"TRACKIO_DIR": str(trackio_folder)}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clean_trackio(trackio_folder: Path) -> Iterator[None]:
    """Trackio's folder is empty before and after the test."""
    yield
    for left in trackio_folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.fixture(params=DASHBOARDS, ids=lambda kind: kind.__name__)
def dashboard(request: pytest.FixtureRequest, tmp_path: Path, quiet: None, clean_trackio: None) -> Any:
    """An empty dashboard."""
    return request.param(tmp_path)
