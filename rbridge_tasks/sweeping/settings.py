"""The settings that a sweep scores every checkpoint with, and lm-eval's arguments for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbridge_tasks.harness.task_options import task_options
from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError

#: Options of lm-eval that a sweep sets itself, and what to write instead.
_OWN = {
    "--model": "--model", "-M": "--model",
    "--model_args": "--model-args", "-a": "--model-args",
    "--tasks": "--tasks", "-t": "--tasks",
    "--num_fewshot": "--num-fewshot", "-f": "--num-fewshot",
    "--batch_size": "--batch-size", "-b": "--batch-size",
    "--limit": "--limit", "-L": "--limit",
    "--metadata": "--metadata",
    "--device": "--device",
    "--output_path": "--output", "-o": "--output",
    "--log_samples": "nothing: it is always on", "-s": "nothing: it is always on",
    "--use_cache": "nothing: it is always on", "-c": "nothing: it is always on",
}  # fmt: skip
#: Numbers of other settings do not compare. Batch size and device change the last digits only.
_DECISIVE = ("model", "model_args", "num_fewshot", "limit", "metadata", "extra")


@dataclass(frozen=True)
class EvaluationSettings:
    """Options of ``lm_eval`` of the same names, without the checkpoint.

    Attributes:
        tasks: names of tasks and groups, each once.
        model_args: without the checkpoint itself.
        limit: items a task, or below 1 a share of them; None for all.
        extra: any other options of ``lm_eval``, as they are typed.
        keep_samples: keep the samples files of trace tasks in place of their token scores, which take a tenth.
    """

    model: str = "hf"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("rbridge",)
    num_fewshot: int | None = None
    batch_size: str = "auto"
    limit: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    extra: tuple[str, ...] = ()
    keep_samples: bool = False

    def __post_init__(self) -> None:
        for word in self.extra:
            if (option := word.partition("=")[0]) in _OWN:
                raise SweepError(f"{option} after -- is set by the sweep itself; use {_OWN[option]}")
        for name in ("pretrained", "revision"):
            if name in self.model_args:
                raise SweepError(f"{name} in --model-args is set for each checkpoint; give checkpoints as arguments")
        task_options(self.metadata)
        check_json(self.model_args, "--model-args")
        if not self.tasks:
            raise SweepError("no task to score; name some with --tasks, such as rbridge")

    def decisive(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The settings that scores of a checkpoint depend on, as JSON holds them."""
        from rbridge_tasks.resume.identity import SCORER_VERSION

        settings = {name: getattr(self, name) for name in _DECISIVE} | {"scorer_version": SCORER_VERSION}
        settings["model_args"] = {**self.model_args, **checkpoint.model_args}
        decisive: dict[str, Any] = json.loads(json.dumps(settings))
        return decisive

    def arguments(self, checkpoint: Checkpoint) -> list[str]:
        """Arguments of ``lm_eval`` that score a checkpoint, but for where the results go."""
        words = ["--model", self.model, "--model_args", json.dumps(self.of_model(checkpoint))]
        words += ["--tasks", ",".join(self.tasks), "--batch_size", self.batch_size]
        words += [] if self.num_fewshot is None else ["--num_fewshot", str(self.num_fewshot)]
        words += [] if self.limit is None else ["--limit", f"{self.limit!r}".removesuffix(".0")]
        words += [] if not self.metadata else ["--metadata", json.dumps(self.metadata)]
        words += [] if self.device is None else ["--device", self.device]
        return [*words, *self.extra]

    def of_model(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Model arguments, those of the checkpoint included. A tokenizer among them stands before the one found."""
        given = {**self.model_args, **checkpoint.model_args}
        tokenizer = given.get("tokenizer") or checkpoint.tokenizer
        own = {"pretrained": checkpoint.pretrained, "revision": checkpoint.revision, "tokenizer": tokenizer}
        return given | {key: value for key, value in own.items() if value}


def check_json(arguments: Mapping[str, Any], option: str) -> None:
    """Check that JSON can hold arguments: a YAML file may give dates.

    Raises:
        SweepError: it cannot.
    """
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise SweepError(f"{option} has {name}: {value!r}, which JSON cannot hold; write it in quotes") from error


def arguments_of_text(text: str, option: str) -> dict[str, Any]:
    """``key=value,key=value`` or a JSON object, as lm-eval's options take them.

    Raises:
        SweepError: it is neither.

    >>> arguments_of_text("dtype=bfloat16,parallelize=True,max_length=2048", "--model-args")
    {'dtype': 'bfloat16', 'parallelize': True, 'max_length': 2048}
    """
    wrong = f"{option} {text!r} is neither key=value,key=value nor a JSON object; write for example dtype=bfloat16"
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise SweepError(f"{wrong} ({error})") from error
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(equals and key.strip() for key, equals, _ in pairs):
        raise SweepError(wrong)
    return {key.strip(): _value(value.strip()) for key, _, value in pairs}


def task_names(text: str | Sequence[str]) -> tuple[str, ...]:
    """Names of tasks, separated by commas, without repetitions.

    >>> task_names(" rbridge, gsm8k,rbridge")
    ('rbridge', 'gsm8k')
    """
    parts = text.split(",") if isinstance(text, str) else [name for part in text for name in str(part).split(",")]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _value(text: str) -> Any:
    """A value as lm-eval reads it in ``key=value``."""
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text
