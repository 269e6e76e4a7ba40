"""The model that lm-eval evaluated: its name and precision, from a results file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbridge_tasks.tables.json_numbers import number_of

_NAME_ARGUMENTS = ("peft", "delta", "pretrained", "model", "path", "engine")  # in lm-eval's order
_QUANTISED = re.compile(r"4bit|8bit|quant|gptq|awq|gguf|bnb|fp8|int8|int4|kv_cache_dtype", re.I)
_SCORING_ARGUMENTS = ("add_bos_token", "prefix_token_id", "enable_thinking", "chat_template_args")
_OFF = frozenset(("", "0", "auto", "false", "none", "null"))
_SAME_DTYPE = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}


@dataclass(frozen=True)
class Model:
    """A model that lm-eval evaluated.

    Attributes:
        label: with its revision, as tables name it: ``EleutherAI/pythia-160m@step1000``.
        name: the part that names the run: the model, or the adapter on it.
        revision: None for the default one.
        params: parameters, as lm-eval counted them.
        named_by_folder: the name comes from the folder of the file, which names no model.
        precision: ``dtype`` and ``quantisation``, where the file states them.
        arguments: other model arguments that change scores; None where the file states no arguments.
    """

    label: str
    name: str
    revision: str | None
    params: float | None
    named_by_folder: bool
    precision: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] | None = None


def model_of(config: Mapping[str, Any], model_name: object, path: Path) -> Model:
    """Read the model from the ``config`` of a results file.

    Args:
        config: lm-eval's section of that name.
        model_name: the name of the model outside that section.
        path: of the file; its folder gives the name where nothing else does.
    """
    arguments = _arguments(config.get("model_args"))
    name = next((str(arguments[key]) for key in _NAME_ARGUMENTS if arguments.get(key)), "") or _text(model_name)
    named_by_folder = not name
    name = name or path.absolute().parent.name.replace("__", "/") or "unnamed"
    base = arguments.get("pretrained")
    label = name if base in (None, "", name) else f"{base}+{name}"
    revision = str(arguments.get("revision") or "") or _text(config.get("model_revision"))
    revision = "" if revision in ("main", "master", "None") else revision
    if arguments.get("subfolder"):
        name, label = (f"{text}/{arguments['subfolder']}" for text in (name, label))
    params = number_of(config.get("model_num_parameters"))
    return Model(
        label=f"{label}@{revision}" if revision else label,
        name=name,
        revision=revision or None,
        params=params if params > 0 else None,
        named_by_folder=named_by_folder,
        precision=_precision(config, arguments),
        arguments={key: _argument(arguments[key]) for key in _SCORING_ARGUMENTS if key in arguments}
        if arguments
        else None,
    )


def _precision(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The dtype that lm-eval detected or was given, and the model arguments that quantise, where known."""
    dtype = _text(config.get("model_dtype")) or _argument(arguments.get("dtype", arguments.get("torch_dtype", "")))
    dtype = dtype.removeprefix("torch.").lower()
    known = {"dtype": _SAME_DTYPE.get(dtype, dtype)} if dtype not in _OFF else {}
    if arguments:
        given = {key: _argument(value) for key, value in sorted(arguments.items()) if _QUANTISED.search(key)}
        used = [f"{key}={value}" for key, value in given.items() if value.lower() not in _OFF]
        known["quantisation"] = ", ".join(used) or "none"
    return known


def _argument(value: object) -> str:
    return " ".join(str(value).split())


def _arguments(given: object) -> dict[str, Any]:
    """Model arguments, which older versions write as ``key=value,key=value``."""
    if isinstance(given, dict):
        return given
    pairs = re.split(r",(?=\s*\w+=)", given) if isinstance(given, str) else []
    return {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs)}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
