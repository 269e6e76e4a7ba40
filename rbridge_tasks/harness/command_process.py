"""Changes to the process of a command, and to no other process: error lines and log lines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rbridge_metrics.errors import RBridgeError


def prepare_lm_eval_command() -> None:
    """Prepare this process if it is the ``lm_eval`` command: started by that name or by ``python -m lm_eval``."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = spec.name.partition(".")[0] if spec is not None else Path(sys.argv[0]).stem
    if name.replace("-", "_") == "lm_eval":
        prepare_command()


def prepare_command() -> None:
    """Print our errors as one line, and our log as lm-eval prints its own. RBRIDGE_TRACEBACK=1 shows tracebacks."""
    logging.getLogger("rbridge_tasks").parent = logging.getLogger("lm_eval")  # its level, format and handlers
    if not isinstance(sys.excepthook, _OneLineErrors):
        sys.excepthook = _OneLineErrors(sys.excepthook)


@dataclass(frozen=True)
class _OneLineErrors:
    """An exception hook that prints our errors as one line, and leaves others to the hook before it."""

    previous: Callable[[type[BaseException], BaseException, TracebackType | None], object]

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RBridgeError) and not os.environ.get("RBRIDGE_TRACEBACK"):
            print(f"rbridge: error: {error}", file=sys.stderr)
        else:
            self.previous(kind, error, trace)
