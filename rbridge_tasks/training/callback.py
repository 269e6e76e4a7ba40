"""``RBridgeCallback``: score the model of a ``transformers.Trainer`` while it trains."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from rbridge_tasks.training.in_loop import InLoop
from rbridge_tasks.training.loop_scores import LoopScores
from rbridge_tasks.training.settings import InLoopError, LoopSettings

logger = logging.getLogger(__name__)

#: Place in ``TrainerState.stateful_callbacks``, which the Trainer writes to its checkpoints. Under the name of a class
#: the Trainer would make a new callback of what it finds, of which tokenizer and process group cannot be part.
_STATE = "rbridge"


@dataclass(eq=False, kw_only=True)
class RBridgeCallback(LoopSettings, TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Scores the model every so many steps or minutes and logs the scores with the Trainer's own integrations.

    The scores are in ``state.log_history`` and reach W&B, TensorBoard, MLflow, ... as ``rbridge/<benchmark>/<metric>``;
    several of these put ``train/`` before every name. The last step is always scored. Works with one process and
    several, DDP, FSDP and DeepSpeed; the model is scored in the Trainer's mixed precision. Training ends in the same
    weights with and without the callback. See ``InLoop`` for what is kept. Alarms and early stopping go on where a
    training is resumed from one of the Trainer's checkpoints.

    The attributes are those of ``LoopSettings``; ``every_steps`` or ``every_minutes`` must be given.

    Attributes:
        loop: scores the model; None before the Trainer is made.
        last: the last scores; None before the first.

    Raises:
        InLoopError: an option that cannot be used.

    >>> callback = RBridgeCallback("gsm8k", every_steps=500, items=200, alarm="best")  # doctest: +SKIP
    >>> Trainer(model, args, train_dataset=dataset, processing_class=tokenizer, callbacks=[callback])  # doctest: +SKIP
    """

    loop: InLoop | None = field(default=None, init=False, repr=False)
    last: LoopScores | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every_steps is None and self.every_minutes is None:
            raise InLoopError("neither every_steps nor every_minutes is given; say how often to score")

    def on_init_end(self, args: TrainingArguments, *_: Any, **kwargs: Any) -> None:
        """Read the traces, so that what is missing is known before the training."""
        self._prepare(args, kwargs.get("processing_class"))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """Start the clock. Alarms go on with the scores of the checkpoint that is resumed; else they start anew."""
        loop = self._prepare(args, kwargs.get("processing_class"))
        loop.start(state.global_step)
        loop.load_state_dict(state.stateful_callbacks.get(_STATE, {}))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Score where the step is due or the last, and log."""
        loop = self._prepare(args, kwargs.get("processing_class"))
        tokens = float(state.num_input_tokens_seen or "nan")
        last = state.global_step >= state.max_steps
        scores = loop(kwargs["model"], state.global_step, tokens=tokens, force=last)
        if scores is None:
            return control
        self.last = scores
        state.stateful_callbacks[_STATE] = loop.state_dict()
        _log(scores.to_logs(), args, state, control)
        if scores.stop:
            logger.warning("step %d: training stops: %s", state.global_step, scores.stop)
            control.should_training_stop = True
        return control

    def _prepare(self, args: TrainingArguments, tokenizer: Any) -> InLoop:
        if self.loop is None:
            settings = {each.name: getattr(self, each.name) for each in fields(LoopSettings)}
            if self.tokenizer is None:
                settings["tokenizer"] = tokenizer
            if self.autocast_dtype is None:
                settings["autocast_dtype"] = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            self.loop = InLoop(**settings)
        return self.loop


def _log(logs: dict[str, float], args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
    """Do as ``Trainer.log`` does, without what subclasses of the Trainer add to and reset at each log of their own."""
    if state.epoch is not None:
        logs["epoch"] = state.epoch
    state.log_history.append({**logs, "step": state.global_step})
    handler = _calling_handler()
    if handler is None:
        logger.warning("the Trainer that calls this callback was not found; its integrations get no scores")
        return
    should_log = control.should_log  # a log resets it, and the Trainer's own at this step would be lost
    handler.on_log(args, state, control, logs)
    control.should_log = should_log


def _calling_handler() -> CallbackHandler | None:
    """The Trainer's list of callbacks. No event passes it on, but it is what calls us."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if issubclass(type(caller), CallbackHandler):
            return caller
        frame = frame.f_back
    return None
