"""Helpers of the release tests: read GSM8K from a release, change its files, and catch the error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rbridge_traces import TraceImportError
from rbridge_traces.release.read import release_readers
from rbridge_traces.release.report import ReleaseReport

from ..releases import as_json, as_lines, items
from ..support import complaint

ITEMS = items()


def pull(root: Path, **options: Any) -> ReleaseReport:
    """Read GSM8K from a release."""
    return release_readers(root, options.pop("overrides", {}), options.pop("questions", None), **options)["gsm8k"]()


def fault(root: Path, **options: Any) -> str:
    """Return the one-line error that reading GSM8K raises."""
    return complaint(pull, root, error=TraceImportError, **options)


def rewrite(path: Path, change: Callable[[list[Any]], object]) -> None:
    """Apply a change to the rows of a JSON or JSON Lines file."""
    text = path.read_text()
    rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    change(rows)
    (as_json if path.suffix == ".json" else as_lines)(path, rows)
