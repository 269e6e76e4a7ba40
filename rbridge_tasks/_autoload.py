"""Lets ``lm_eval --tasks rbridge_gsm8k`` find our tasks after a plain ``pip install``.

A ``.pth`` file leaves a finder of one function in ``sys.meta_path`` at the start of Python: no import, a few dozen
microseconds, once however often the file is read (a virtual environment reads it twice). When ``lm_eval.tasks`` is
imported the finder is gone and this module takes over: it loads ``lm_eval.tasks`` as usual and then adds our task
folder. ``RBRIDGE_AUTOLOAD=0`` turns the finder off.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def spec_with_our_tasks(name: str) -> ModuleSpec | None:
    """The spec of ``lm_eval.tasks``, with a loader that registers our tasks after it; None if there is no such module.

    The finder must no longer be in ``sys.meta_path``.
    """
    spec = find_spec(name)
    if spec is not None and spec.loader is not None:
        spec.loader = _Loader(spec.loader)
    return spec


class _Loader(Loader):
    """Loads the module as its own loader does, then registers our tasks with it."""

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
            from rbridge_tasks.harness.task_folder import add_tasks_to

            add_tasks_to(module)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with us must not break somebody's lm-eval
            sys.stderr.write(
                f"rbridge-tasks could not add its tasks to lm-eval ({type(error).__name__}: {error}); "
                "`rbridge doctor` says more, RBRIDGE_AUTOLOAD=0 turns this off\n"
            )
