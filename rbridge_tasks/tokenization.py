"""Tokenise (context, trace) pairs once, and say which letters of the trace each scored token covers.

The scored tokens are those that lm-eval's own ``loglikelihood`` scores for the same pair: white space at the end of the
context is tokenised with the trace, so the first token may straddle the start of the trace or lie just before it.
There is one difference. lm-eval splits a pair by counting the tokens of the context alone, which miscounts where the
trace follows without white space and its first letters merge with the context's last; here every token that holds a
letter of the trace is scored.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError

_ENCODE_AT_ONCE = 256


class TokenizationError(RBridgeError):
    """The tokenizer cannot say which letters its tokens stand for, or there is nothing to score."""


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """One pair as token ids.

    Attributes:
        ids: the whole input, context and trace, shape (tokens,).
        first: index of the first scored token, at least 1; the scored ones are ``ids[first:]``.
        token_start, token_end: letters of the trace that each scored token covers, shape (tokens - first,).
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
        prefix_token_id: put before the trace where the context is empty.
    """

    tokenizer: Any
    add_special_tokens: bool | None = None
    prefix_token_id: int | None = None

    def encode(
        self, pairs: Sequence[tuple[str, str]], *, on_progress: Callable[[int], None] = lambda _: None
    ) -> list[TokenizedPair]:
        """Tokenise each pair once.

        Args:
            pairs: (context, trace) texts.
            on_progress: called with the number of pairs done since the last call.

        Raises:
            TokenizationError: the tokenizer gives no offsets and does not decode back to the text, or a trace
                becomes no tokens.
        """
        prefix = None if self.prefix_token_id is None else self.tokenizer.decode([self.prefix_token_id])

        def special(pair: tuple[str, str]) -> bool | None:
            context = pair[0]
            starts_with_prefix = prefix is not None and context.startswith(prefix)
            return False if not context or starts_with_prefix else self.add_special_tokens

        done: list[TokenizedPair] = []
        for add_special_tokens, run in itertools.groupby(pairs, key=special):
            for batch in _batched(run, _ENCODE_AT_ONCE):
                texts = [context + trace for context, trace in batch]
                for (context, trace), encoded in zip(batch, self._encode_texts(texts, add_special_tokens), strict=True):
                    done.append(self._pair(context, trace, encoded))
                on_progress(len(batch))
        return done

    def _pair(self, context: str, trace: str, encoded: _Encoded) -> TokenizedPair:
        ids, starts, ends = encoded.ids, encoded.starts, encoded.ends
        # A tokenizer may leave letters out of every token (spaces between words): they belong to the token after them.
        reached = np.maximum.accumulate(ends) if ends.size else ends
        starts = np.minimum(starts, np.concatenate(([0], reached[:-1])))
        of_the_trace = (starts >= len(context.rstrip())) | (reached > len(context))
        scored = encoded.lead + np.flatnonzero(of_the_trace[encoded.lead :])
        if not scored.size:
            raise TokenizationError(f"the trace {trace[:40]!r} becomes no tokens; every trace needs text that does")
        first = int(scored[0])
        if first == 0 and self.prefix_token_id is not None and ids[0] != self.prefix_token_id:
            ids = np.concatenate(([self.prefix_token_id], ids))
            starts, ends = np.concatenate(([0], starts)), np.concatenate(([0], ends))
            first = 1
        first = max(first, 1)  # a first token without anything before it has no probability
        if first >= ids.size:
            raise TokenizationError(f"the trace {trace[:40]!r} becomes no token after the first; nothing can be scored")
        origin = len(context)
        return TokenizedPair(
            ids=ids,
            first=first,
            token_start=np.clip(starts[first:] - origin, 0, len(trace)).astype(np.int32),
            token_end=np.clip(ends[first:] - origin, 0, len(trace)).astype(np.int32),
        )

    def _encode_texts(self, texts: list[str], add_special_tokens: bool | None) -> Iterator[_Encoded]:
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        if not getattr(self.tokenizer, "is_fast", False):
            for text in texts:
                yield _encode_by_decoding(self.tokenizer, text, options)
            return
        with _untrimmed_offsets(self.tokenizer.backend_tokenizer):
            encoded = self.tokenizer(
                texts,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
                **options,
            )
        for ids, offsets, special in zip(
            encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            # A tokenizer that appends an end token would have it scored as text; lm-eval's split is off by one there.
            text_tokens = np.flatnonzero(np.asarray(special) == 0)
            lead, keep = (int(text_tokens[0]), int(text_tokens[-1]) + 1) if text_tokens.size else (len(ids), len(ids))
            spans = np.asarray(offsets[:keep], dtype=np.int64).reshape(-1, 2)
            yield _Encoded(np.asarray(ids[:keep], dtype=np.int64), lead, spans[:, 0], spans[:, 1])


_Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One text as token ids, of which the tokenizer put the first ``lead`` before it, and the letters of each."""

    ids: npt.NDArray[np.int64]
    lead: int
    starts: _Offsets
    ends: _Offsets


@contextlib.contextmanager
def _untrimmed_offsets(backend: Any) -> Iterator[None]:
    """Have a ``tokenizers.Tokenizer`` count the spaces around a word among the letters of its token.

    GPT-2's family leaves them out by default, and which of two tokens a space was cut from is then lost.
    """
    processor = backend.post_processor
    state = b"" if processor is None else processor.__getstate__()
    if b'"trim_offsets":true' not in state:
        yield
        return
    untrimmed = copy.deepcopy(processor)
    untrimmed.__setstate__(state.replace(b'"trim_offsets":true', b'"trim_offsets":false'))
    backend.post_processor = untrimmed
    try:
        yield
    finally:
        backend.post_processor = processor


def load_tokenizer(name: str) -> Any:
    """The transformers tokenizer of a local folder or of a model on the Hub.

    Raises:
        TokenizationError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise TokenizationError(
            f"cannot load the tokenizer {name!r} ({reason.rstrip('.')}); give a folder with tokenizer.json, or "
            "the name of a model on the Hub"
        ) from error


def token_byte_ends(tokenizer: Any, text: str, pair: TokenizedPair) -> npt.NDArray[np.int64]:
    """End of each scored token in UTF-8 bytes of the trace, shape (scored tokens,), non-decreasing, tiling the trace.

    Where two tokens share a letter, the second one's spelling says how many of its bytes it holds: a byte-level
    tokenizer spells its tokens with one character per byte, byte fallback spells a byte ``<0xE2>``.

    Args:
        tokenizer: the transformers tokenizer that made the pair.
        text: the trace.
        pair: its tokenization.
    """
    letter_end = np.concatenate(([0], np.cumsum([len(letter.encode()) for letter in text])))
    first_byte, ends = letter_end[pair.token_start], letter_end[pair.token_end].astype(np.int64)
    pieces = tokenizer.convert_ids_to_tokens(pair.ids[pair.first :].tolist())
    for i in np.flatnonzero(pair.token_start[1:] < pair.token_end[:-1])[::-1].tolist():
        held = 1 if str(pieces[i + 1]).startswith("<0x") else len(pieces[i + 1])
        ends[i] = np.clip(ends[i + 1] - held, first_byte[i], ends[i])
    return ends


def _encode_by_decoding(tokenizer: Any, text: str, options: dict[str, bool]) -> _Encoded:
    """Offsets from decoding ever longer prefixes: slow, but right wherever decoding gives the text back."""
    plain = tokenizer.encode(text, add_special_tokens=False)
    ids = tokenizer.encode(text, **options)
    lead = next((i for i in range(len(ids) - len(plain) + 1) if ids[i : i + len(plain)] == plain), 0)
    starts, ends = np.zeros((2, lead + len(plain)), dtype=np.int64)
    complete = 0
    for i in range(len(plain)):
        decoded = tokenizer.decode(plain[: i + 1], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        # Replacement characters stand for the bytes of a letter that later tokens complete, unless the text has them.
        whole = decoded if text.startswith(decoded) else decoded.rstrip("\ufffd")
        if not text.startswith(whole):
            raise TokenizationError(
                f"{type(tokenizer).__name__} gives no offsets and decodes {text[:30]!r}... to {whole[:30]!r}...; "
                "use a fast tokenizer (tokenizer.json) for this model"
            )
        starts[lead + i] = complete
        complete = max(complete, len(whole))
        ends[lead + i] = complete + (len(whole) < len(decoded) and complete < len(text))
    return _Encoded(np.asarray(ids[: lead + len(plain)], dtype=np.int64), lead, starts, ends)


def _batched(items: Iterator[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
