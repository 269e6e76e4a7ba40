"""Contexts, traces and helpers that the tests of tokenisation share."""

from __future__ import annotations

from typing import Any

from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair

Tokenizers = dict[str, Any]

#: Tokenizers for which no token of the pairs below spans the end of the context and the start of the trace.
WORD_BY_WORD = ["byte_level", "trimmed", "bos", "byte_fallback"]

CONTEXTS = ["Question: 2 + 2?\nAnswer: ", "Question: 2 + 2?\nAnswer:\n", "Question: 2?\nAnswer:  \n ", "Answer:", ""]
TRACES = [
    "42 is 6 * 7",
    "\n\n  return x",
    "\\frac{1}{2} \\times 4",
    "🦊 makes 한국어",
    "So (2)\nis\t4.  ",
    " indented",
    "x",
]


def encode(tokenizer: Any, context: str, trace: str, **options: Any) -> TokenizedPair:
    """Tokenise one pair, with lm-eval's choice of prefix token."""
    return PairEncoder(tokenizer, prefix_token_id=tokenizer.bos_token_id, **options).encode([(context, trace)])[0]


def characters(pair: TokenizedPair) -> list[tuple[int, int]]:
    """``[start, end)`` of each scored token, in characters of the trace."""
    return list(zip(pair.token_start.tolist(), pair.token_end.tolist(), strict=True))
