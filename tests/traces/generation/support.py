"""Builds against a local server, shared by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import Choice, TraceCache, TraceError, TraceSet
from rbridge_traces.generation.answers import Outcome
from rbridge_traces.generation.build import Build, Written
from rbridge_traces.generation.client import Connection
from rbridge_traces.questions import Question

from ..chat_server import MODEL, ChatServer

QUICK = {"max_retries": 2, "timeout": 5.0}


def some_questions(count: int, benchmark: str = "gsm8k") -> list[Question]:
    """Return questions of a benchmark; question n contains ``number n.``."""
    choices = (Choice("0", "none"), Choice("1", "one"), Choice("2", "two")) if benchmark == "csqa" else None
    return [Question(benchmark, str(n), f"What is number {n}.", choices, str(n % 3)) for n in range(count)]


def start(folder: Path, server: ChatServer, count: int = 5, **options: Any) -> Build:
    """Create a build of some questions into a cache below the folder."""
    settings = {name: options.pop(name) for name in ("max_tokens", "timeout", "max_retries") if name in options}
    connection = Connection(
        options.pop("model", MODEL), server.url, options.pop("logprobs", True), **{**QUICK, **settings}
    )
    asked = options.pop("questions", None) or some_questions(count)
    return Build(TraceCache(str(folder / "cache")), asked, connection, origin="a test", **options)


def ask(build: Build, concurrency: int = 4) -> list[Outcome]:
    """Ask the open questions; return the outcomes in the order in which they arrived."""
    outcomes: list[Outcome] = []
    build.ask(concurrency=concurrency, report=outcomes.append)
    return outcomes


def finish(folder: Path, server: ChatServer, count: int = 5, **options: Any) -> Written:
    """Run a build from start to end."""
    build = start(folder, server, count, **options)
    if build.jobs:
        ask(build)
    return build.write()


def cached(folder: Path, benchmark: str = "gsm8k", source: str = "gpt-4o") -> TraceSet:
    """Load the traces that the cache holds."""
    return TraceCache(str(folder / "cache")).load(benchmark, source)


def journal(folder: Path, benchmark: str = "gsm8k", source: str = "gpt-4o") -> Path:
    """Return the path of the journal."""
    return folder / "cache" / ".builds" / benchmark / f"{source}.jsonl"


def stopped(build: Build, kind: type[TraceError], concurrency: int = 4) -> str:
    """Return the message of the error that stops the build, and check that it is one line."""
    with pytest.raises(kind) as caught:
        ask(build, concurrency)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert len(message.splitlines()) == 1
    return message
