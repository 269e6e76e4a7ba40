"""Options that ``InLoop`` and ``RBridgeCallback`` share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.decisions.gate import as_share
from rbridge_tasks.scoring.prompts import PROMPTS
from rbridge_tasks.scoring.weightings import WEIGHTINGS
from rbridge_tasks.tables.directions import metric_called

if TYPE_CHECKING:
    import torch

Baseline = Literal["best", "previous", "forecast"]
BASELINES = ("best", "previous", "forecast")


class InLoopError(RBridgeError, ValueError):
    """An option of ``InLoop`` or ``RBridgeCallback`` that cannot be used."""


@dataclass(eq=False, kw_only=True)
class LoopSettings:
    """What to score, when, for how long, and when to raise an alarm.

    Attributes:
        benchmarks: a name such as ``gsm8k``, or several.
        tokenizer: a transformers tokenizer or the name of one. The callback takes the Trainer's if None.
        every_steps: score at multiples of this step.
        every_minutes: score when so many minutes have passed since the last scoring.
        items: traces of each benchmark to score: a fixed sample, stratified by the length of the traces; None for all.
        seed: of the sample.
        budget_seconds: longest time of one scoring, all benchmarks together. The sample shrinks to what earlier
            scorings showed to fit; a scoring that is slower stops after the batch in which its time ends. None sets no
            limit.
        num_fewshot: worked examples before each question; None for the default of each benchmark, 5 for the six.
        apply_chat_template, fewshot_as_multiturn, system_instruction, fewshot, prompt: as of ``rb.score``. A chat
            template needs the tokenizer when the object is made.
        weights: "confidence", "confidence_test_set", "spans" or "none", as of ``rb.score``.
        cache: folder or URL of a trace cache, or "sample"; None for ``$RBRIDGE_CACHE``, else the user's cache.
        source: which source of traces, where the cache holds several.
        only_correct: leave out traces whose final answer is wrong.
        batch_size: texts read at once; "auto" keeps the device busy.
        max_length: longest input in tokens; None takes it from the model's configuration or the tokenizer.
        add_bos_token: whether to put special tokens before each text; None leaves it to the tokenizer.
        autocast_dtype: score under ``torch.autocast`` with this dtype. The callback takes the Trainer's precision.
        device: where inputs go; None for the device of the model's first parameter.
        group: process group over whose ranks the items are split; None for the default group of torch.distributed.
        alarm: raise an alarm if the score is significantly worse than the "best" or the "previous" one, item by item,
            or than the "forecast" of the earlier ones; None for no alarms. See ``rb.gate``.
        metric: that alarms test.
        max_regression: how much worse is tolerated, as a share of the score: 0.005 or "0.5%".
        alpha: probability of a false alarm of one scoring, over all benchmarks.
        stop_after_alarms: ask to stop the training after so many alarms in a row.
        stop_without_gain: ask to stop the training if no benchmark is significantly better than so many scorings ago.
    """

    benchmarks: str | Sequence[str] = field(default="gsm8k", kw_only=False)
    tokenizer: Any = field(default=None, kw_only=False)
    every_steps: int | None = None
    every_minutes: float | None = None
    items: int | None = None
    seed: int = 0
    budget_seconds: float | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True
    system_instruction: str | None = None
    fewshot: str | None = None
    prompt: Literal["default", "bare"] = "default"
    weights: str = "confidence"
    cache: str | None = None
    source: str | None = None
    only_correct: bool = False
    batch_size: int | Literal["auto"] = "auto"
    max_length: int | None = None
    add_bos_token: bool | None = None
    autocast_dtype: torch.dtype | None = None
    device: str | None = None
    group: Any = None
    alarm: Baseline | None = None
    metric: str = "rbridge_nll"
    max_regression: float | str = 0.0
    alpha: float = 0.05
    stop_after_alarms: int | None = None
    stop_without_gain: int | None = None

    def __post_init__(self) -> None:
        counts = ("every_steps", "items", "stop_after_alarms", "stop_without_gain", "max_length")
        for name in counts:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InLoopError(f"{name} is {value!r}; give a whole number of at least 1, or None")
        for name in ("every_minutes", "budget_seconds"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise InLoopError(f"{name} is {value!r}; give a number above 0, or None")
        if self.num_fewshot is not None and (not isinstance(self.num_fewshot, int) or self.num_fewshot < 0):
            raise InLoopError(f"num_fewshot is {self.num_fewshot!r}; give a whole number from 0")
        if self.batch_size != "auto" and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise InLoopError(f'batch_size is {self.batch_size!r}; give a whole number of at least 1, or "auto"')
        for name, choices in (("weights", WEIGHTINGS), ("prompt", PROMPTS), ("alarm", (*BASELINES, None))):
            if getattr(self, name) not in choices:
                raise InLoopError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(str, choices))}")
        if self.stop_after_alarms is not None and self.alarm is None:
            raise InLoopError('stop_after_alarms needs alarms; give alarm="best", "previous" or "forecast"')
        if not self.names or len(set(self.names)) < len(self.names):
            raise InLoopError(f"benchmarks is {self.benchmarks!r}; give one name or several different ones")
        if not 0 < self.alpha < 1:
            raise InLoopError(f"alpha is {self.alpha!r}; give a probability above 0 and below 1")
        as_share(self.max_regression)
        metric_called(self.metric)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the benchmarks."""
        return (self.benchmarks,) if isinstance(self.benchmarks, str) else tuple(self.benchmarks)
