"""The options of our tasks: every ``rbridge_*`` key of ``lm_eval --metadata``, described and checked in one place.

lm-eval passes ``--metadata`` on unchecked. The check needs neither lm-eval nor a model, so that it can run first.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.scoring.prompts import PROMPTS
from rbridge_tasks.scoring.weightings import WEIGHTINGS
from rbridge_tasks.visible_text import shortened

_PREFIX = "rbridge_"
#: Keys that the tasks write into a results file themselves.
_WRITTEN_BY_TASKS = ("rbridge_traces", "rbridge_token_counts")
#: Similarity, from 0 to 1, above which a key without our prefix counts as a misspelt key of ours.
_MISSPELT = 0.85
#: Length to which a value is cut in a message.
_SHOWN = 60
#: What JSON calls the types of Python.
_TYPE_NAMES = {
    list: "a list", tuple: "a list", dict: "an object", bool: "a boolean", int: "a number", float: "a number",
    str: "text",
}  # fmt: skip


class TaskOptionError(RBridgeError):
    """A value in --metadata or --num_fewshot that our tasks do not know."""


@dataclass(frozen=True)
class Option:
    """One key of ``--metadata``.

    Attributes:
        name: the key.
        kind: text, the path of a local file or folder, true or false, one of ``choices``, or a list of names.
        help: one line for users.
        default: the value where the key is absent or null.
        choices: the allowed values of the kind "choice".
        example: a value for error messages.
    """

    name: str
    kind: Literal["text", "file", "folder", "switch", "choice", "names"]
    help: str
    default: str | bool | None = None
    choices: tuple[str, ...] = ()
    example: str = ""


OPTIONS = (
    Option("rbridge_cache", "text", "folder or URL of a trace cache, or sample", example="sample"),
    Option("rbridge_source", "text", "which source, where the cache holds several", example="gpt-4o"),
    Option("rbridge_only_correct", "switch", "only traces whose final answer is right", default=False),
    Option("rbridge_weights", "choice", "what weights a token", default="confidence", choices=tuple(WEIGHTINGS)),
    Option(
        "rbridge_fewshot", "file", "file of worked examples, or traces to take them from the traces",
        example="examples.jsonl",
    ),
    Option(
        "rbridge_prompt", "choice", "how a question is written: bare is the question alone, 0-shot", default="default",
        choices=PROMPTS,
    ),
    Option("rbridge_group", "names", "benchmarks in the groups rbridge and rbridge_proxies, in place of the six"),
    Option("rbridge_compile", "switch", "with layers compiled by torch.compile, under --model hf", default=False),
    Option("rbridge_slow", "switch", "through lm-eval's own loglikelihood, for any model class", default=False),
    Option("rbridge_token_scores", "folder", "folder for files of token scores", example="out"),
    Option(
        "rbridge_frequencies", "file", "file of rbridge frequencies, for the tasks rbridge_proxies_*",
        example="counts.parquet",
    ),
    Option(
        "rbridge_humaneval_tests", "file", "a local copy of HumanEval, for rbridge_humaneval_gen",
        example="HumanEval.jsonl",
    ),
)  # fmt: skip


def task_options(metadata: object) -> dict[str, Any]:
    """Check the ``rbridge_*`` keys of ``--metadata``.

    Args:
        metadata: a mapping, or None for no options. Keys of other tasks and of models are left alone.

    Returns:
        The value of every option by its name; its default where the key is absent or null.

    Raises:
        TaskOptionError: metadata is no mapping, or a key or value is none that our tasks know.

    >>> task_options({"rbridge_cache": "sample", "dtype": "float32"})["rbridge_weights"]
    'confidence'
    """
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise TaskOptionError(
            f"metadata is {_shown(metadata)}, {_type_name(metadata)}; give an object: keys and values"
        )
    for key in metadata:
        _check_key(str(key))
    options = {option.name: _checked(option, metadata.get(option.name)) for option in OPTIONS}
    if options["rbridge_slow"] and options["rbridge_compile"]:
        raise TaskOptionError("rbridge_slow and rbridge_compile exclude each other; leave one out")
    return options


def _check_key(key: str) -> None:
    names = [option.name for option in OPTIONS]
    if key in names:
        return
    if key in _WRITTEN_BY_TASKS:
        raise TaskOptionError(f"{key} in --metadata is written by the tasks themselves; leave it out")
    if key.startswith(_PREFIX):
        endings = [name.removeprefix(_PREFIX) for name in names]
        nearest = [_PREFIX + ending for ending in difflib.get_close_matches(key.removeprefix(_PREFIX), endings, n=1)]
    elif not (nearest := difflib.get_close_matches(key.lower(), names, n=1, cutoff=_MISSPELT)):
        return  # an option of another task or of the model
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    raise TaskOptionError(f"unknown option {_shown(key)} in --metadata; {meant}known are {', '.join(names)}")


def _checked(option: Option, value: object) -> str | bool | list[str] | None:
    if value is None:
        return option.default
    if option.kind == "names":
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
            raise TaskOptionError(f"{option.name} is {_shown(value)}; give a list of names of benchmarks")
        return [*map(str, value)]
    if option.kind == "switch":
        if not isinstance(value, bool):
            raise TaskOptionError(f"{option.name} is {_shown(value)}; write true or false")
        return value
    if option.kind == "choice":
        if value not in option.choices:
            nearest = difflib.get_close_matches(value, option.choices, n=1) if isinstance(value, str) else []
            meant = f"did you mean {nearest[0]}? " if nearest else ""
            raise TaskOptionError(f"{option.name} is {_shown(value)}; {meant}choose one of {', '.join(option.choices)}")
        return str(value)
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text.strip():
        found = "empty" if text is not None else f"{_shown(value)}, {_type_name(value)}"
        raise TaskOptionError(
            f"{option.name} is {found}; give text ({option.help}): "
            f"""--metadata '{{"{option.name}": "{option.example}"}}'"""
        )
    return text


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), f"of the type {type(value).__name__}")


def _shown(value: object) -> str:
    return shortened(repr(value), _SHOWN)
