"""Tokenise texts with the characters that each token holds, from any tokenizer of transformers.

The tokens tile the text: every character belongs to a token. Characters that the tokenizer reports in no token are
given to the token before them where they modify its last character (a combining accent), and otherwise to the token
after them (white space between words); at the end of the text they belong to the last token.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.canonical_text import Form, extends_character, source_spans

Offsets = npt.NDArray[np.int64]

#: Texts that show whether a normaliser composes characters: then it maps each text and its normal form to the same.
_COMPOSES: dict[Form, str] = {"NFC": "e\u0301", "NFKC": "\uff76\uff9e"}


class TokenizationError(RBridgeError):
    """The tokenizer gives no characters for its tokens, or there is nothing to score."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A tokenised text.

    Attributes:
        ids: token ids, without those that the tokenizer appends.
        lead: how many of the first ids are special tokens added by the tokenizer.
        starts, ends: ``[start, end)`` of each token in characters of the text.
    """

    ids: npt.NDArray[np.int64]
    lead: int
    starts: Offsets
    ends: Offsets


def encode_texts(
    tokenizer: Any, texts: Sequence[str], names: Sequence[str], *, add_special_tokens: bool | None
) -> Iterator[EncodedText]:
    """Tokenise texts.

    Args:
        tokenizer: of transformers. One without offsets is read through its decoder, which is slower.
        texts: to tokenise.
        names: of the texts, for errors.
        add_special_tokens: None leaves it to the tokenizer.

    Raises:
        TokenizationError: the tokenizer gives no offsets, and its decoding is not the text.
    """
    options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
    if getattr(tokenizer, "is_fast", False):
        encoded = _encode_with_offsets(tokenizer, texts, options)
    else:
        mark = _find_mark(tokenizer)
        encoded = (
            _encode_by_decoding(tokenizer, text, name, options, mark) for text, name in zip(texts, names, strict=True)
        )
    for text, encoding in zip(texts, encoded, strict=True):
        yield _tile(text, encoding)


def _tile(text: str, encoded: EncodedText) -> EncodedText:
    """Assign the characters that are in no token to a token."""
    lead, ends = encoded.lead, encoded.ends.copy()
    if lead == len(ends):
        return encoded
    reached = np.maximum.accumulate(ends)
    for at in (lead + np.flatnonzero(encoded.starts[lead + 1 :] > reached[lead:-1])).tolist():
        place, stop = int(reached[at]), int(encoded.starts[at + 1])
        while place < stop and extends_character(text, place):
            place += 1
        if place > reached[at]:
            ends[at] = place
    ends[-1] = len(text)
    reached = np.maximum.accumulate(ends)
    starts = np.minimum(encoded.starts, np.concatenate(([0], reached[:-1])))
    return EncodedText(encoded.ids, lead, starts, ends)


# ---------------------------------------------------------------- tokenizers with offsets


def _encode_with_offsets(tokenizer: Any, texts: Sequence[str], options: dict[str, bool]) -> Iterator[EncodedText]:
    forms = _forms(tokenizer.backend_tokenizer.normalizer)
    for text, encoded in zip(texts, _encode_fast(tokenizer, texts, options), strict=True):
        yield encoded if not forms or text.isascii() else _by_normal_form(tokenizer, text, encoded, forms, options)


def _encode_fast(tokenizer: Any, texts: Sequence[str], options: dict[str, bool]) -> Iterator[EncodedText]:
    with _untrimmed_offsets(tokenizer.backend_tokenizer):
        batch = tokenizer(
            list(texts),
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **options,
        )
    for ids, offsets, special in zip(
        batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"], strict=True
    ):
        # An end token that the tokenizer appends must not be scored; lm-eval's split is off by one in this case.
        of_text = np.flatnonzero(np.asarray(special) == 0)
        lead, keep = (int(of_text[0]), int(of_text[-1]) + 1) if of_text.size else (len(ids), len(ids))
        spans = np.asarray(offsets[:keep], dtype=np.int64).reshape(-1, 2)
        yield EncodedText(np.asarray(ids[:keep], dtype=np.int64), lead, spans[:, 0], spans[:, 1])


def _forms(normaliser: Any) -> list[Form]:
    """The composing normal forms that a tokenizer's normaliser may produce."""
    if normaliser is None:
        return []
    shape = normaliser.normalize_str
    return [form for form, sample in _COMPOSES.items() if shape(sample) == shape(normalize(form, sample))]


def _by_normal_form(
    tokenizer: Any, text: str, encoded: EncodedText, forms: Sequence[Form], options: dict[str, bool]
) -> EncodedText:
    """The same tokens with the offsets of the text's normal form, if that has the same tokens."""
    for form in forms:
        shaped = normalize(form, text)
        if shaped == text:
            continue
        (of_shaped,) = _encode_fast(tokenizer, [shaped], options)
        spans = source_spans(text, form)
        if spans is not None and np.array_equal(of_shaped.ids, encoded.ids):
            return _in_text(of_shaped, spans, len(text))
    return encoded


def _in_text(of_shaped: EncodedText, spans: npt.NDArray[np.int64], characters: int) -> EncodedText:
    """Offsets in a text from offsets in its normal form."""
    starts = np.append(spans[:, 0], characters)[of_shaped.starts]
    ends = np.where(of_shaped.ends > of_shaped.starts, np.append(0, spans[:, 1])[of_shaped.ends], starts)
    return EncodedText(of_shaped.ids, of_shaped.lead, starts, ends)


@contextlib.contextmanager
def _untrimmed_offsets(backend: Any) -> Iterator[None]:
    """Have a ``tokenizers.Tokenizer`` include the spaces around a word in the characters of its token.

    GPT-2's family excludes them by default, which hides to which of two tokens a space belongs.
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


# ---------------------------------------------------------------- tokenizers without offsets


@dataclass(frozen=True, slots=True)
class _Mark:
    """A token and its text. Put around other tokens, it keeps the decoder from stripping their white space."""

    token: int
    text: str


def _find_mark(tokenizer: Any) -> _Mark | None:
    """A token that decodes to the same characters everywhere; None if the tokenizer has none."""
    for character in "xq0|":
        token = tokenizer.encode(f";{character}", add_special_tokens=False)[-1]
        text = _decode(tokenizer, [token])
        if text and text == text.strip() and _decode(tokenizer, [token, token]) == 2 * text:
            return _Mark(token, text)
    return None


def _decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _decode_between(tokenizer: Any, ids: list[int], mark: _Mark | None) -> str:
    """The text of some tokens, including white space at both ends."""
    if mark is None:
        return _decode(tokenizer, ids)
    text = _decode(tokenizer, [mark.token, *ids, mark.token])
    return text.removeprefix(mark.text).removesuffix(mark.text)


def _encode_by_decoding(
    tokenizer: Any, text: str, name: str, options: dict[str, bool], mark: _Mark | None
) -> EncodedText:
    """Offsets from decoding longer and longer prefixes: slow, and right wherever decoding returns the text."""
    plain = tokenizer.encode(text, add_special_tokens=False)
    ids = tokenizer.encode(text, **options)
    lead = next((i for i in range(len(ids) - len(plain) + 1) if ids[i : i + len(plain)] == plain), 0)
    whole = _decode_between(tokenizer, plain, mark)
    shaped, form = _decoded_form(text, whole)
    if shaped is None:
        raise _decoding_error(tokenizer, name, text, whole)
    added = len(whole) - len(shaped)  # a space that the tokenizer adds before the text
    starts, ends = np.zeros((2, lead + len(plain)), dtype=np.int64)
    complete = 0
    for i in range(len(plain)):
        decoded = _decode_between(tokenizer, plain[: i + 1], mark)[added:]
        # A replacement character that is not in the text stands for bytes of a character that later tokens complete.
        prefix = decoded if shaped.startswith(decoded) else decoded.rstrip("\ufffd")
        if not shaped.startswith(prefix):
            raise _decoding_error(tokenizer, name, shaped, prefix)
        starts[lead + i] = complete
        complete = max(complete, len(prefix))
        ends[lead + i] = complete + (len(prefix) < len(decoded) and complete < len(shaped))
    encoded = EncodedText(np.asarray(ids[: lead + len(plain)], dtype=np.int64), lead, starts, ends)
    spans = None if form is None else source_spans(text, form)
    return encoded if spans is None else _in_text(encoded, spans, len(text))


def _decoded_form(text: str, decoded: str) -> tuple[str, Form | None] | tuple[None, None]:
    """The form of the text that a tokenizer decodes to, perhaps after a space, and the name of a normal form."""
    forms: tuple[Form | None, ...] = (None, "NFC", "NFKC")
    for form in forms:
        shaped = text if form is None else normalize(form, text)
        if decoded in (shaped, f" {shaped}") and (form is None or source_spans(text, form) is not None):
            return shaped, form
    return None, None


def _decoding_error(tokenizer: Any, name: str, text: str, decoded: str) -> TokenizationError:
    """The error for a text that decoding changes; it shows the first change."""
    if decoded.startswith(" ") and not text.startswith(" "):
        decoded = decoded[1:]
    pairs = enumerate(zip(text, decoded, strict=False))
    at = next((place for place, (before, after) in pairs if before != after), min(len(text), len(decoded)))
    around = slice(max(0, at - 15), at + 15)
    return TokenizationError(
        f"{name}: {type(tokenizer).__name__} gives no offsets, and its decoding parts from the text at character {at}: "
        f"{text[around]!r} becomes {decoded[around]!r}; use a fast tokenizer (tokenizer.json) for this model"
    )
