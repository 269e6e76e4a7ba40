"""rBridge tasks for EleutherAI's lm-evaluation-harness. Imported at every start of Python by the hook: keep it empty."""

__version__ = "0.1.0"
