"""Identity of a run's scores beside the texts: model, tokenizer, settings, back end, versions of the code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_metrics import TokenScores
from rbridge_tasks import __version__
from rbridge_tasks.resume.weights import UnidentifiedModelError

if TYPE_CHECKING:
    from rbridge_tasks.backends.base import Backend

#: Raise this number whenever a back end gives other numbers for the same model and texts.
SCORER_VERSION = 9


def scope_of(lm: Any, backend: Backend) -> dict[str, Any]:
    """What the scores of a model depend on beside the texts, for JSON. Runs share scores only where it is equal.

    Args:
        lm: a model as lm-eval holds it.
        backend: scores it.

    Raises:
        UnidentifiedModelError: nothing distinguishes the model from others; the message says why.
    """
    return {
        **model_scope(lm, backend),
        "back_end": backend.name,
        "rbridge_tasks": __version__,
        "scorer_version": SCORER_VERSION,
        "columns": [field.name for field in fields(TokenScores)],
    }


def model_scope(lm: Any, backend: Backend) -> dict[str, Any]:
    """The part of ``scope_of`` on which lm-eval's own answers depend, too: model, tokenizer, settings, device.

    Raises:
        UnidentifiedModelError: nothing distinguishes the model from others.
    """
    settings = ("max_length", "add_bos_token", "prefix_token_id", "backend", "mixed_precision_dtype", "softmax_dtype")
    return {
        "model": backend.identity(lm),
        "tokenizer_sha256": tokenizer_sha256(lm.tokenizer),
        "settings": {name: _plain(getattr(lm, name, None)) for name in settings},
        "device": getattr(getattr(lm, "device", None), "type", None),
    }


def digest_of(scope: dict[str, Any]) -> str:
    """Name of the folder that holds a scope's scores: 32 hexadecimal digits."""
    text = json.dumps(scope, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def tokenizer_sha256(tokenizer: Any) -> str:
    """SHA-256 of everything that determines the token ids of a transformers tokenizer.

    Of a fast tokenizer its ``tokenizer.json`` without padding and truncation, which are not used. Of one written in
    Python its vocabulary, special tokens, settings and files. Of both, the ids of a text with many kinds of characters.

    Raises:
        UnidentifiedModelError: it is not a transformers tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: Any
    if backend is not None:
        document = backend.to_str()
        # Truncation and padding, which depend on the last call, precede the added tokens.
        content = document.partition('"added_tokens"')[2] or document
        state = [content, getattr(tokenizer, "split_special_tokens", None)]
    elif hasattr(tokenizer, "get_vocab") and hasattr(tokenizer, "init_kwargs"):
        state = {
            "class": f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}",
            "vocabulary": sorted(tokenizer.get_vocab().items(), key=str),
            "special": tokenizer.special_tokens_map,
            "settings": {name: _plain(value) for name, value in tokenizer.init_kwargs.items() if name not in _PATHS},
            "files": _file_sha256(getattr(tokenizer, "vocab_files_names", {}), tokenizer),
        }
    else:
        raise UnidentifiedModelError(
            f"its tokenizer, a {type(tokenizer).__name__}, cannot be distinguished from others"
        )
    text = json.dumps([type(tokenizer).__name__, state, tokenizer.encode(_PROBE)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


_PROBE = " The  sum of 12 and 3045.75 is:\n\n\t\\frac{1}{2} \u00e9\u0301 \ud55c\uad6d \U0001f600 <s> don't (x_1)\r\n"
_PATHS = ("name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file")


def _file_sha256(names: dict[str, str], tokenizer: Any) -> dict[str, str]:
    digests = {}
    for name in names:
        path = getattr(tokenizer, name, None)
        if isinstance(path, str):
            try:
                digests[name] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError:
                digests[name] = "unreadable"
    return digests


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
