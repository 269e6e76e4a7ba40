"""The tokenizers of lm-eval's models, adapted to ``PairEncoder``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbridge_tasks.scoring.tokenization import TokenizationError


@dataclass(frozen=True)
class TiktokenTokenizer:
    """A ``tiktoken.Encoding`` with the methods of a transformers tokenizer that ``PairEncoder`` calls."""

    encoding: Any

    def __len__(self) -> int:
        return int(self.encoding.n_vocab)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:  # noqa: ARG002  # there are none
        """Token ids; special tokens in the text are encoded as text."""
        ids: list[int] = self.encoding.encode(text, disallowed_special=())
        return ids

    def decode(self, ids: list[int], **_options: Any) -> str:
        """The text; bytes of incomplete characters become replacement characters."""
        text: str = self.encoding.decode(ids)
        return text


def readable_tokenizer(tokenizer: Any, remedy: str) -> Any:
    """A tokenizer that ``PairEncoder`` can read.

    Args:
        tokenizer: of transformers or tiktoken.
        remedy: how to give the model a tokenizer, for the error.

    Raises:
        TokenizationError: it is another kind of tokenizer, or None.
    """
    from transformers import PreTrainedTokenizerBase

    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    if hasattr(tokenizer, "encode_ordinary"):
        return TiktokenTokenizer(tokenizer)
    what = "no tokenizer" if tokenizer is None else f"a tokenizer of type {type(tokenizer).__name__}"
    raise TokenizationError(f"the model has {what}; traces need a tokenizer of transformers: {remedy}")
