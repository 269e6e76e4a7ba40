"""Fixtures of the build tests: a server with known answers, and its API key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..chat_server import ChatServer


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A running server that returns the known answers."""
    with ChatServer() as running:
        yield running


@pytest.fixture
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an API key for the test, and remove the developer's server address."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
