"""Lets ``lm_eval --tasks rbridge_gsm8k`` find our tasks after a plain ``pip install``.

Imported by a ``.pth`` file at every start of Python, so it does next to nothing and imports nothing: it leaves a finder
that wakes when ``lm_eval.tasks`` is imported, adds our task folder, and is gone. ``RBRIDGE_AUTOLOAD=0`` turns it off.
"""

import os
import sys

_TARGET = "lm_eval.tasks"


class _Finder:
    """Waits for ``lm_eval.tasks`` and no other module."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]  # typing costs start-up time
        if name != _TARGET:
            return None
        sys.meta_path.remove(_Finder)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads the module as its own loader does, then registers our tasks with it."""

    def __init__(self, inner):  # type: ignore[no-untyped-def]
        self.inner = inner

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return self.inner.create_module(spec)

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        module.__spec__.loader = module.__loader__ = self.inner
        self.inner.exec_module(module)
        try:
            from rbridge_tasks.harness import add_tasks_to

            add_tasks_to(module)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with us must not break somebody's lm-eval
            sys.stderr.write(
                f"rbridge-tasks could not add its tasks to lm-eval ({type(error).__name__}: {error}); "
                "`rbridge doctor` says more, RBRIDGE_AUTOLOAD=0 turns this off\n"
            )


def is_active() -> bool:
    """Whether the hook waits for lm-eval, or has done its work."""
    tasks = sys.modules.get(_TARGET)
    return _Finder in sys.meta_path or hasattr(getattr(tasks, "TaskManager", None), "rbridge_tasks_path")


if os.environ.get("RBRIDGE_AUTOLOAD") != "0" and _TARGET not in sys.modules:
    sys.meta_path.insert(0, _Finder)
