"""Errors of this package that end a program are printed as one line, without a traceback."""

from __future__ import annotations

import functools
import os
import sys
from types import TracebackType

from rbridge_metrics import RBridgeError


@functools.cache
def show_errors_in_one_line() -> None:
    """Print our own errors without a traceback when they end a program; RBRIDGE_TRACEBACK=1 shows it."""
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RBridgeError) and not os.environ.get("RBRIDGE_TRACEBACK"):
            print(f"rbridge: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = excepthook
