"""``rb.RBridgeCallback`` scores in a real ``transformers.Trainer`` and does not change the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

import rbridge_tasks as rb
from rbridge_metrics import RBridgeError

from ..support import tiny_model
from .conftest import SAMPLE, weights_of

OPTIONS = SAMPLE | {"items": 2}
TIMES = ("rbridge/seconds", "rbridge/share_of_time")


class Logged(TrainerCallback):
    """Records the logs that integrations receive."""

    def __init__(self) -> None:
        self.logs: list[tuple[int, dict[str, float]]] = []

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        self.logs.append((state.global_step, dict(logs)))


def train(tokenizer: Any, folder: Path, *callbacks: Any, resume_from: Path | None = None, **options: Any) -> Trainer:
    """A Trainer after six steps with dropout, each with gradients of two batches."""
    model = tiny_model("llama", len(tokenizer), attention_dropout=0.1)
    torch.manual_seed(0)
    data = [{"input_ids": row, "labels": row} for row in torch.randint(4, len(tokenizer), (24, 16))]
    settings = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "logging_steps": 2, "report_to": [], "use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "seed": 3,
        "learning_rate": 1e-2, "dataloader_pin_memory": False,
    }  # fmt: skip
    trainer = Trainer(
        model, TrainingArguments(**settings | options), train_dataset=data, processing_class=tokenizer,
        callbacks=list(callbacks), data_collator=default_data_collator,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    return trainer


@pytest.mark.parametrize("precision", [{}, {"bf16": True}], ids=["float32", "bf16"])
def test_training_is_the_same_bit_for_bit(tokenizer: Any, tmp_path: Path, precision: dict[str, Any]) -> None:
    """Weights, optimiser states and losses are equal with and without scoring."""
    callback, logged = rb.RBridgeCallback("gsm8k", every_steps=2, **OPTIONS), Logged()
    without = train(tokenizer, tmp_path, **precision)
    scored = train(tokenizer, tmp_path, callback, logged, **precision)
    torch.testing.assert_close(weights_of(scored.model), weights_of(without.model), rtol=0, atol=0)
    states = [trainer.optimizer.state_dict()["state"] for trainer in (scored, without)]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)

    def losses(trainer: Trainer) -> list[tuple[int, float]]:
        return [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]

    assert losses(scored) == losses(without)
    assert len(losses(without)) == 3
    history = [row for row in scored.state.log_history if "rbridge/gsm8k/rbridge_nll" in row]
    assert [row["step"] for row in history] == [2, 4, 6]
    assert all(math.isfinite(value) for row in history for value in row.values())
    received = [(step, logs["rbridge/gsm8k/rbridge_nll"]) for step, logs in logged.logs if "rbridge/seconds" in logs]
    assert received == [(row["step"], row["rbridge/gsm8k/rbridge_nll"]) for row in history]
    assert callback.last is not None
    if not precision:
        model = scored.model
        again = rb.InLoop("gsm8k", tokenizer, **OPTIONS)(model, 6)
        assert again["gsm8k"].metrics == callback.last["gsm8k"].metrics


def test_tensorboard_receives_the_scores(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer's integration logs them; the last step is scored although it is no multiple of ``every_steps``."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    train(tokenizer, tmp_path, rb.RBridgeCallback(every_steps=4, **OPTIONS), report_to=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/rbridge/gsm8k/rbridge_nll")] == [4, 6]


def test_a_run_without_gain_is_stopped(tokenizer: Any, tmp_path: Path) -> None:
    """A run with a learning rate of 0 has no gain."""
    callback = rb.RBridgeCallback(every_steps=1, stop_without_gain=2, **SAMPLE | {"items": 5})
    trainer = train(tokenizer, tmp_path, callback, learning_rate=0.0)
    assert trainer.state.global_step == 3
    assert callback.last is not None
    assert callback.last.stop


@pytest.mark.parametrize("restore", [False, True])
def test_alarms_continue_in_a_resumed_training(tokenizer: Any, tmp_path: Path, restore: bool) -> None:
    """Verdicts and scores equal those of an uninterrupted run, with and without restored callback states."""
    options = SAMPLE | {"every_steps": 1, "items": 6, "alarm": "best", "stop_after_alarms": 100, "batch_size": 1}
    settings = {"save_strategy": "steps", "save_steps": 3, "restore_callback_states_from_checkpoint": restore}
    whole = rb.RBridgeCallback("gsm8k", **options)
    uninterrupted = train(tokenizer, tmp_path, whole, **settings)
    resumed = rb.RBridgeCallback("gsm8k", **options)
    again = train(tokenizer, tmp_path / "2", resumed, resume_from=tmp_path / "checkpoint-3", **settings)
    assert again.state.global_step == 6
    assert whole.last is not None
    assert resumed.last is not None
    assert whole.last.gate is not None
    assert resumed.last.gate == whole.last.gate

    def scores(trainer: Trainer) -> list[dict[str, float]]:
        rows = [row for row in trainer.state.log_history if "rbridge/seconds" in row]
        return [{name: row[name] for name in row if name not in TIMES} for row in rows]

    assert scores(again) == scores(uninterrupted)
    state = again.state.stateful_callbacks
    assert [each["step"] for each in state["rbridge"]["past"]] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_without_scores_can_be_resumed(tokenizer: Any, tmp_path: Path) -> None:
    """The callback may be added to a training; later checkpoints contain its state."""
    settings = {"save_strategy": "steps", "save_steps": 3}
    train(tokenizer, tmp_path, **settings)
    callback = rb.RBridgeCallback("gsm8k", every_steps=1, alarm="best", **OPTIONS)
    trainer = train(tokenizer, tmp_path / "2", callback, resume_from=tmp_path / "checkpoint-3", **settings)
    assert (tmp_path / "2" / "checkpoint-6").exists()
    assert [each["step"] for each in trainer.state.stateful_callbacks["rbridge"]["past"]] == [4, 5, 6]


def test_another_training_starts_without_past_scores(tokenizer: Any, tmp_path: Path) -> None:
    """A callback used in two trainings does not compare the second with the first."""
    callback = rb.RBridgeCallback("gsm8k", every_steps=3, alarm="best", **OPTIONS)
    for _ in range(2):
        trainer = train(tokenizer, tmp_path, callback)
        assert [each["step"] for each in trainer.state.stateful_callbacks["rbridge"]["past"]] == [3, 6]


def test_minutes_count_anew_in_another_training(tokenizer: Any, tmp_path: Path) -> None:
    """Steps of the second training, which are lower than the last of the first, are scored when minutes have passed."""
    callback = rb.RBridgeCallback("gsm8k", every_minutes=1e-9, **OPTIONS)
    for _ in range(2):
        trainer = train(tokenizer, tmp_path, callback)
        assert len([row for row in trainer.state.log_history if "rbridge/seconds" in row]) > 1


def test_an_interval_is_required(tokenizer: Any) -> None:
    """The constructor raises the error."""
    with pytest.raises(RBridgeError, match="every_steps"):
        rb.RBridgeCallback("gsm8k", tokenizer)
