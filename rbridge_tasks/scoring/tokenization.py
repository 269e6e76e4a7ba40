"""Tokenise (context, trace) pairs once, with the characters of the trace that each scored token covers.

The scored tokens are those that lm-eval's own ``loglikelihood`` scores for the same pair: white space at the end of the
context is tokenised with the trace, so the first token may straddle the start of the trace or lie just before it.
There is one difference. lm-eval splits a pair by counting the tokens of the context alone, which miscounts where the
trace follows without white space and its first characters merge with the context's last; here every token that holds a
character of the trace is scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_tasks.scoring.character_offsets import EncodedText, TokenizationError, encode_texts
from rbridge_tasks.scoring.load import load_errors

__all__ = ["PairEncoder", "TokenizationError", "TokenizedPair", "load_tokenizer", "token_byte_ends"]

_ENCODE_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """One pair as token ids.

    Attributes:
        ids: the whole input, context and trace, shape (tokens,).
        first: index of the first scored token, at least 1; the scored ones are ``ids[first:]``.
        token_start, token_end: characters of the trace that each scored token covers, shape (tokens - first,).
    """

    ids: npt.NDArray[np.int64]
    first: int
    token_start: npt.NDArray[np.int32]
    token_end: npt.NDArray[np.int32]


@dataclass(frozen=True)
class PairEncoder:
    """Encodes pairs as lm-eval's HF model does.

    Attributes:
        tokenizer: a transformers tokenizer. One without offsets is read through its decoder, which is slower.
        add_special_tokens: None leaves it to the tokenizer.
        prefix_token_id: added before the trace where the context is empty.
    """

    tokenizer: Any
    add_special_tokens: bool | None = None
    prefix_token_id: int | None = None

    def encode(
        self,
        pairs: Sequence[tuple[str, str]],
        labels: Sequence[str] | None = None,
        *,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> list[TokenizedPair]:
        """Tokenise each pair once.

        Args:
            pairs: (context, trace) texts.
            labels: names of the traces, for errors; without them a trace is named by its first characters.
            on_progress: called with the number of pairs done since the last call.

        Raises:
            TokenizationError: the tokenizer gives no offsets and does not decode back to the text, or a trace
                becomes no tokens.
        """
        names = (
            [f"the trace {trace[:40]!r}" for _, trace in pairs] if labels is None else [f"trace {x}" for x in labels]
        )
        prefix = None if self.prefix_token_id is None else self.tokenizer.decode([self.prefix_token_id])

        def special(item: tuple[tuple[str, str], str]) -> bool | None:
            context = item[0][0]
            starts_with_prefix = prefix is not None and context.startswith(prefix)
            return False if not context or starts_with_prefix else self.add_special_tokens

        done: list[TokenizedPair] = []
        for add_special_tokens, run in itertools.groupby(zip(pairs, names, strict=True), key=special):
            while batch := [*itertools.islice(run, _ENCODE_AT_ONCE)]:
                texts = [context + trace for (context, trace), _ in batch]
                of_batch = [name for _, name in batch]
                encoded = encode_texts(self.tokenizer, texts, of_batch, add_special_tokens=add_special_tokens)
                for ((context, trace), name), text in zip(batch, encoded, strict=True):
                    done.append(self._pair(context, trace, name, text))
                on_progress(len(batch))
        return done

    def _pair(self, context: str, trace: str, name: str, encoded: EncodedText) -> TokenizedPair:
        ids, starts, ends = encoded.ids, encoded.starts, encoded.ends
        reached = np.maximum.accumulate(ends) if ends.size else ends
        of_the_trace = (starts >= len(context.rstrip())) | (reached > len(context))
        scored = encoded.lead + np.flatnonzero(of_the_trace[encoded.lead :])
        if not scored.size:
            raise TokenizationError(f"{name} becomes no tokens; every trace needs text that does")
        first = int(scored[0])
        if first == 0 and self.prefix_token_id is not None and ids[0] != self.prefix_token_id:
            ids = np.concatenate(([self.prefix_token_id], ids))
            starts, ends = np.concatenate(([0], starts)), np.concatenate(([0], ends))
            first = 1
        first = max(first, 1)  # a first token without anything before it has no probability
        if first >= ids.size:
            raise TokenizationError(f"{name} becomes no token after the first; nothing can be scored")
        origin = len(context)
        return TokenizedPair(
            ids=ids,
            first=first,
            token_start=np.clip(starts[first:] - origin, 0, len(trace)).astype(np.int32),
            token_end=np.clip(ends[first:] - origin, 0, len(trace)).astype(np.int32),
        )


def load_tokenizer(name: str) -> Any:
    """The transformers tokenizer of a local folder or of a model on the Hub.

    Raises:
        TokenizationError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    def refusal(reason: str) -> TokenizationError:
        return TokenizationError(
            f"cannot load the tokenizer {name!r} ({reason.rstrip('.')}); give a folder with tokenizer.json, or "
            "the name of a model on the Hub"
        )

    with load_errors(refusal):
        return AutoTokenizer.from_pretrained(name)


def token_byte_ends(tokenizer: Any, text: str, pair: TokenizedPair) -> npt.NDArray[np.int64]:
    """End of each scored token in UTF-8 bytes of the trace, shape (scored tokens,), non-decreasing, tiling the trace.

    Where two tokens share a character, the spelling of the second one gives the number of its bytes: a byte-level
    tokenizer spells its tokens with one character per byte, byte fallback spells a byte ``<0xE2>``.

    Args:
        tokenizer: the transformers tokenizer that made the pair.
        text: the trace.
        pair: its tokenization.
    """
    character_end = np.concatenate(([0], np.cumsum([len(character.encode()) for character in text])))
    first_byte, ends = character_end[pair.token_start], character_end[pair.token_end].astype(np.int64)
    pieces = tokenizer.convert_ids_to_tokens(pair.ids[pair.first :].tolist())
    for i in np.flatnonzero(pair.token_start[1:] < pair.token_end[:-1])[::-1].tolist():
        held = 1 if str(pieces[i + 1]).startswith("<0x") else len(pieces[i + 1])
        ends[i] = np.clip(ends[i + 1] - held, first_byte[i], ends[i])
    return ends
