"""What the scores of a run depend on beside the texts: model, tokenizer, settings, back end, versions of the code."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from rbridge_metrics import TokenScores
from rbridge_tasks import __version__
from rbridge_tasks.resume.weights import UnidentifiedModelError

#: To be raised whenever any back end comes to give other numbers for the same model and texts.
SCORER_VERSION = 6


def scope_of(lm: Any, backend: str) -> dict[str, Any]:
    """What scores are kept under, for JSON. Runs share scores where it is equal, and only there.

    Args:
        lm: a model as lm-eval holds it.
        backend: module of the back end that scores it. One that has a function ``identity(lm)`` is asked what tells
            the model from others; it may raise ``UnidentifiedModelError``.

    Raises:
        UnidentifiedModelError: nothing tells the model from others; the message says what is in the way.
    """
    return {
        **_told_apart(lm, _model(lm, backend)),
        "back_end": backend,
        "rbridge_tasks": __version__,
        "scorer_version": SCORER_VERSION,
        "columns": [field.name for field in fields(TokenScores)],
    }


def model_scope(lm: Any) -> dict[str, Any]:
    """What lm-eval's own answers of a model depend on beside the texts, for JSON; see ``scope_of``.

    Raises:
        UnidentifiedModelError: nothing tells the model from others.
    """
    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(lm).__mro__}
    backend = "rbridge_tasks.backends.hf" if "lm_eval.models.huggingface.HFLM" in classes else "rbridge_tasks.backends"
    return _told_apart(lm, _model(lm, backend))


def _told_apart(lm: Any, model: dict[str, Any]) -> dict[str, Any]:
    settings = ("max_length", "add_bos_token", "prefix_token_id", "backend", "mixed_precision_dtype", "softmax_dtype")
    return {
        "model": model,
        "tokenizer_sha256": tokenizer_sha256(lm.tokenizer),
        "settings": {name: _plain(getattr(lm, name, None)) for name in settings},
        "device": getattr(getattr(lm, "device", None), "type", None),
    }


def digest_of(scope: dict[str, Any]) -> str:
    """Name of the folder that holds a scope's scores: 32 hexadecimal digits."""
    text = json.dumps(scope, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def tokenizer_sha256(tokenizer: Any) -> str:
    """SHA-256 of all that a transformers tokenizer makes token ids from.

    A fast tokenizer is its ``tokenizer.json`` but for padding and truncation, which are not used. Of one written in
    Python the vocabulary, the special tokens, the settings and the files that it names are taken. Of either, the ids
    that it gives to a text of many kinds of letters.

    Raises:
        UnidentifiedModelError: it is no transformers tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: Any
    if backend is not None:
        written = backend.to_str()
        # Truncation and padding, which follow the last call, come before anything else but the version.
        what = written.partition('"added_tokens"')[2] or written
        state = [what, getattr(tokenizer, "split_special_tokens", None)]
    elif hasattr(tokenizer, "get_vocab") and hasattr(tokenizer, "init_kwargs"):
        state = {
            "class": f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}",
            "vocabulary": sorted(tokenizer.get_vocab().items(), key=str),
            "special": tokenizer.special_tokens_map,
            "settings": {name: _plain(value) for name, value in tokenizer.init_kwargs.items() if name not in _PATHS},
            "files": _file_sha256(getattr(tokenizer, "vocab_files_names", {}), tokenizer),
        }
    else:
        raise UnidentifiedModelError(f"its tokenizer, a {type(tokenizer).__name__}, cannot be told from others")
    text = json.dumps([type(tokenizer).__name__, state, tokenizer.encode(_PROBE)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


_PROBE = " The  sum of 12 and 3045.75 is:\n\n\t\\frac{1}{2} \u00e9\u0301 \ud55c\uad6d \U0001f600 <s> don't (x_1)\r\n"
_PATHS = ("name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file")


def _file_sha256(names: dict[str, str], tokenizer: Any) -> dict[str, str]:
    found = {}
    for name in names:
        path = getattr(tokenizer, name, None)
        if isinstance(path, str):
            try:
                found[name] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError:
                found[name] = "unreadable"
    return found


def _model(lm: Any, backend: str) -> dict[str, Any]:
    from rbridge_tasks.resume.model_files import served_by_vllm
    from rbridge_tasks.resume.weights import loaded_model

    own = getattr(importlib.import_module(backend), "identity", None)
    name = f"{type(lm).__module__}.{type(lm).__qualname__}"
    if own is not None:
        identity: dict[str, Any] = own(lm)
        return identity
    if backend == "rbridge_tasks.backends.hf" or name == "lm_eval.models.huggingface.HFLM":
        return loaded_model(lm.model)
    if name == "lm_eval.models.vllm_causallms.VLLM":
        return served_by_vllm(lm)
    raise UnidentifiedModelError(f"{type(lm).__name__} does not say which weights it scores with")


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
