"""A checkpoint to score: where it is, what its name says, and its place in the order of training."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.run_names import Named, read_name


class SweepError(RBridgeError):
    """A sweep that cannot be made as it was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """One model to score, as lm-eval is given it.

    Attributes:
        pretrained: absolute path of a folder, or a model's name on the Hub.
        revision: of a model on the Hub; None for a folder.
        commit: that the revision points to; None for a folder.
        tokenizer: folder of the tokenizer where the checkpoint's own folder has none.
        model_args: arguments of lm-eval's model for this checkpoint alone.
        weight_bytes: size of its weights, 0 where unknown: checkpoints of one size take about the same time.
    """

    pretrained: str
    revision: str | None = None
    commit: str | None = None
    tokenizer: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weight_bytes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it is a folder rather than a model of the Hub."""
        return self.commit is None

    @functools.cached_property
    def named(self) -> Named:
        """Run, step and tokens in its name."""
        return read_name(self.pretrained, self.revision)

    @property
    def label(self) -> str:
        """Short name for people: the last two parts of a path, or the model and its revision."""
        short = "/".join(Path(self.pretrained).parts[-2:])
        return f"{short}@{self.revision}" if self.revision else short


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that compares digits as numbers.

    >>> sorted(["step10", "step9", "final", "step100"], key=natural)
    ['final', 'step9', 'step10', 'step100']
    """
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def in_order(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Sort checkpoints by run, size, step, tokens and name. Those without a step, such as ``final``, end their run."""

    def key(checkpoint: Checkpoint) -> tuple[Any, ...]:
        named = checkpoint.named
        step = named.step if named.step is not None else named.tokens
        numbers = (named.params or 0.0, step is None, step or 0.0, named.tokens or 0.0)
        return (natural(named.run), *numbers, natural(checkpoint.pretrained), natural(checkpoint.revision or ""))

    return sorted(checkpoints, key=key)
