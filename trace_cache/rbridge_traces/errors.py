"""The errors of reading, importing and storing traces, and what their messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rbridge_metrics.errors import RBridgeError


class TraceError(RBridgeError):
    """Traces that cannot be used as they are. The message is one line, whatever text of the user's it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class CacheNotFoundError(TraceError):
    """The cache holds no traces of the benchmark or source that was asked for."""


class CacheCorruptError(TraceError):
    """A file of the cache is missing, incomplete, changed since it was written, or of an unknown format."""


class TraceImportError(TraceError):
    """A file of a user's own cannot be read as traces; names the file, and the line or row."""


class CompletionError(TraceError):
    """An answer has no tokens, no log-probabilities, or tokens that do not spell its text."""


class NoTraceError(TraceError):
    """An item has no trace. Reports count such items by the message."""


class UnusableItemError(TraceImportError):
    """An item cannot be used. Reports count such items by ``reason``, the kind of fault."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the closest known name, as the tail of a sentence; empty where nothing is close.

    >>> did_you_mean("gsm8", ["math500", "gsm8k"])
    ' (did you mean gsm8k?)'
    >>> did_you_mean("squad", ["math500", "gsm8k"])
    ''
    """
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
