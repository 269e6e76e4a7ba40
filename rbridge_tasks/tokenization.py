"""The former place of ``rbridge_tasks.scoring.tokenization``, for scripts that import from it."""

from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair

__all__ = ["PairEncoder", "TokenizedPair"]
