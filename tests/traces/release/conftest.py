"""Fixtures of the release tests: a release on disk, which each test reads or damages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..releases import items, plain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A release in the plain layout."""
    plain(tmp_path / "traces" / "gsm8k", items())
    return tmp_path


@pytest.fixture
def folder(root: Path) -> Path:
    """The folder of the release's files."""
    return root / "traces" / "gsm8k"
