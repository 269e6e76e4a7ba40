"""Lets ``lm_eval --tasks rbridge_gsm8k`` find our tasks after a plain ``pip install``.

A ``.pth`` file leaves a finder of one function in ``sys.meta_path`` at the start of Python: no import, a few dozen
microseconds, once however often the file is read (a virtual environment reads it twice). It waits for two modules:
``lm_eval.tasks``, to which our task folder is added, and ``lm_eval.evaluator``, whose ``simple_evaluate`` is made to
check our options before it loads a model; see ``harness.patches``. When both have been imported, the finder is gone.
``RBRIDGE_AUTOLOAD=0`` turns the finder off.
"""

from __future__ import annotations

import functools
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def spec_with_our_tasks(name: str) -> ModuleSpec | None:
    """The spec of a module of lm-eval, with a loader that changes the module after loading it; None if there is none.

    The finder must no longer answer for this module.
    """
    spec = find_spec(name)
    if spec is not None and spec.loader is not None:
        spec.loader = _Loader(spec.loader)
    return spec


class _Loader(Loader):
    """Loads the module as its own loader does, then makes our change to it."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        module.__loader__ = self.inner
        self.inner.exec_module(module)
        try:
            from rbridge_tasks.harness import patches

            patches.apply("task index" if module.__name__ == "lm_eval.tasks" else "evaluator")
        except Exception as error:  # noqa: BLE001  # whatever is wrong with us must not break somebody's lm-eval
            _warn_once(f"{type(error).__name__}: {error}")


@functools.cache
def _warn_once(reason: str) -> None:
    sys.stderr.write(
        f"rbridge-tasks could not add its tasks to lm-eval ({reason}); `rbridge doctor` says more, "
        "RBRIDGE_AUTOLOAD=0 turns this off\n"
    )
