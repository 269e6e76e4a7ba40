"""What our tasks change in the process of a command, and in no other process: error lines and log lines."""

from __future__ import annotations

import logging
import os
import sys
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
    previous = sys.excepthook
    if getattr(previous, "of_rbridge", False):
        return

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RBridgeError) and not os.environ.get("RBRIDGE_TRACEBACK"):
            print(f"rbridge: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    excepthook.of_rbridge = True  # type: ignore[attr-defined]
    sys.excepthook = excepthook
