"""rBridge tasks for lm-evaluation-harness. The hook imports this at every start of Python: keep it empty."""

__version__ = "0.1.0"
