"""Predict what a large language model will score from small ones: rBridge for lm-evaluation-harness.

``import rbridge_tasks as rb`` gives ``rb.score``, ``rb.collect`` and one function for each decision. The names are in
``__init__.pyi``; each is imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
