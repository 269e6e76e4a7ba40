"""Dashboards of a test's own, and ``rbridge log`` on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .readers import DASHBOARDS, QUIET


@pytest.fixture(scope="session")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackio reads ``$TRACKIO_DIR`` once in a process."""
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, trackio_folder: Path) -> None:
    """Nothing is sent anywhere, by this process and those that it starts."""
    for name, value in (QUIET | {"TRACKIO_DIR": str(trackio_folder)}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clean_trackio(trackio_folder: Path) -> Iterator[None]:
    """Trackio holds nothing, before and after."""
    yield
    for left in trackio_folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.fixture(params=DASHBOARDS, ids=lambda kind: kind.__name__)
def dashboard(request: pytest.FixtureRequest, tmp_path: Path, quiet: None, clean_trackio: None) -> Any:
    """A dashboard that holds nothing yet."""
    return request.param(tmp_path)
