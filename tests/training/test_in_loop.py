"""``rb.InLoop`` gives the scores of ``rb.score`` between two steps and does not change the training."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rbridge_tasks as rb
from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.collector import ScoringError

from ..error_bounds import model_bound
from .conftest import SAMPLE, weights_of
from .test_schedule import Clock

Step = Callable[[Any, int], Any]


def test_all_items_give_the_scores_of_rb_score(model: Any, tokenizer: Any) -> None:
    """Metrics and standard errors of two benchmarks are equal to the last bit."""
    scores = rb.InLoop(("gsm8k", "csqa"), tokenizer, **SAMPLE | {"batch_size": 1})(model, 3)
    assert scores is not None
    for benchmark in ("gsm8k", "csqa"):
        expected = rb.score(model, tokenizer, benchmark, **SAMPLE | {"batch_size": 1})
        assert (scores[benchmark].metrics, scores[benchmark].stderr) == (expected.metrics, expected.stderr)
        assert scores.to_logs()[f"rbridge/{benchmark}/rbridge_nll"] == expected.metrics["rbridge_nll"]
    frame = scores.to_frame(run="mix", params=6e4)
    assert set(frame["model"]) == {"step3"}
    assert set(frame["n"]) == {10}


@pytest.mark.parametrize(
    "options",
    [
        {"apply_chat_template": True, "num_fewshot": 2},
        {"apply_chat_template": True, "num_fewshot": 1, "fewshot_as_multiturn": False, "system_instruction": "Short"},
        {"system_instruction": "Be brief. ", "num_fewshot": 1, "fewshot": "traces"},
        {"prompt": "bare"},
    ],
)  # fmt: skip
def test_contexts_are_those_of_score(model: Any, tokenizer: Any, options: dict[str, Any]) -> None:
    """With chat templates, system instructions, examples and prompts, scores are equal to the last bit."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    options = SAMPLE | {"batch_size": 1} | options
    scores = rb.InLoop("gsm8k", tokenizer, **options)(model, 1)
    assert scores is not None
    assert scores["gsm8k"].metrics == rb.score(model, tokenizer, "gsm8k", **options).metrics


def test_a_missing_chat_template_is_an_error_of_the_constructor(tokenizer: Any) -> None:
    """The error does not come at the first scoring, hours later."""
    with pytest.raises(RBridgeError, match=r"tokenizer\.chat_template"):
        rb.InLoop("gsm8k", tokenizer, apply_chat_template=True, **SAMPLE)
    with pytest.raises(RBridgeError, match="tokenizer is None"):
        rb.InLoop("gsm8k", apply_chat_template=True, **SAMPLE)


def test_a_function_gives_the_scores_of_its_model(model: Any, tokenizer: Any) -> None:
    """The module passed as ``model`` is in evaluation mode during the scoring."""
    expected = rb.InLoop("gsm8k", tokenizer, **SAMPLE)(model, 1)
    scores = rb.InLoop("gsm8k", tokenizer, max_length=2048, **SAMPLE)(
        lambda ids: model(input_ids=ids).logits, 1, model=model
    )
    assert scores is not None
    assert expected is not None
    assert scores["gsm8k"].metrics == pytest.approx(dict(expected["gsm8k"].metrics), abs=model_bound() / np.log(2))
    assert model.training


def test_a_sample_is_part_of_all_items(model: Any, tokenizer: Any) -> None:
    """Its items have the same values as among all items; its standard errors include the sampling."""
    everything, sample = (rb.InLoop("gsm8k", tokenizer, items=items, **SAMPLE)(model, 1) for items in (None, 5))
    assert everything is not None
    assert sample is not None
    whole, part = everything["gsm8k"], sample["gsm8k"]
    values = dict(zip(whole.item_ids, whole.values["trace_nll"].numerator, strict=True))
    assert len(part.item_ids) == 5
    expected = [values[item] for item in part.item_ids]
    np.testing.assert_allclose(part.values["trace_nll"].numerator, expected, atol=model_bound())
    assert part.stderr["trace_nll"] > part.sampling_stderr["trace_nll"] > 0
    assert whole.sampling_stderr["trace_nll"] == 0


def trained(model: Any, between: Step, *, autocast: bool = False) -> tuple[dict[str, torch.Tensor], Any]:
    """Weights and random states after four steps with dropout and random data.

    ``between`` is called after the backward pass, before the optimiser's step, and inside autocast.
    """
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = iter(torch.utils.data.DataLoader(torch.arange(4, 68).reshape(8, 8), batch_size=2, shuffle=True))
    for step in range(4):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            ids = next(data)
            model(input_ids=ids, labels=ids).loss.backward()
            between(model, step)
            ids = ids.flip(1)
            model(input_ids=ids, labels=ids).loss.backward()
            between(model, step)
        optimizer.step()
        optimizer.zero_grad()
    states = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    return weights_of(model), states


@pytest.mark.parametrize("kind", ["model", "function", "autocast", "autocast inside"])
def test_training_ends_in_the_same_weights(model: Any, tokenizer: Any, kind: str) -> None:
    """Scoring between two backward passes changes no bit of weights and random states."""
    options = SAMPLE | {"items": 2, "max_length": 2048}
    if kind == "autocast inside":
        options["autocast_dtype"] = torch.bfloat16
    loop = rb.InLoop("gsm8k", tokenizer, **options)

    def score(current: Any, step: int) -> None:
        forward = (lambda ids: current(input_ids=ids).logits) if kind == "function" else current
        assert loop(forward, step, model=current).benchmarks

    autocast = kind.startswith("autocast")
    without, states = trained(copy.deepcopy(model), lambda *_: None, autocast=autocast)
    scored, states_after = trained(copy.deepcopy(model), score, autocast=autocast)
    torch.testing.assert_close(scored, without, rtol=0, atol=0)
    assert states_after == states


def test_scoring_adds_no_graphs_to_a_compiled_model(tokenizer: Any) -> None:
    """Training could later use a graph compiled for scoring, with other rounding."""
    graphs: list[int] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(1)
        return graph.forward

    model = torch.nn.Sequential(torch.nn.Embedding(len(tokenizer), 8), torch.nn.Linear(8, len(tokenizer)))
    inside, around = copy.deepcopy(model), torch.compile(model, backend=backend)
    inside.compile(backend=backend)
    ids = torch.arange(4, 12)[None]
    inside(ids), around(ids)
    compiled = len(graphs)
    assert compiled
    loop = rb.InLoop("gsm8k", tokenizer, items=2, max_length=4096, **SAMPLE)
    for step, forward in enumerate((inside, around, lambda ids: inside(ids), lambda ids: around(ids))):
        assert loop(forward, step).benchmarks
    inside(ids), around(ids)
    assert len(graphs) == compiled


def test_a_budget_is_kept_and_left_out_items_are_counted(tokenizer: Any) -> None:
    """A call of the function takes one second; the budget is ten seconds, and at most one more is used."""
    clock, table = Clock(), torch.randn(len(tokenizer), len(tokenizer))

    def forward(ids: torch.Tensor) -> torch.Tensor:
        clock.now += 1.0
        return table[ids]

    names = ("gsm8k", "csqa", "arc_challenge")
    loop = rb.InLoop(names, tokenizer, budget_seconds=10.0, clock=clock, max_length=4096, **SAMPLE | {"batch_size": 1})
    counts = []
    for step in range(3):
        started = clock.now
        scores = loop(forward, step)
        assert clock.now - started <= 11.0
        scored = sum(len(each.item_ids) for each in scores.benchmarks)
        assert scored + sum(scores.left_out.values()) == 30
        assert {len(each.item_ids) for each in scores.benchmarks} <= {scored // 3, scored // 3 + 1}
        assert any("left out" in note for note in scores.notes)
        counts.append(scored)
    assert min(counts) >= 3
    assert all(each.sampling_stderr["trace_nll"] > 0 for each in scores.benchmarks if len(each.item_ids) > 1)


def test_a_slower_machine_stops_the_scoring_after_a_batch(tokenizer: Any) -> None:
    """Also during a round."""
    clock, table, seconds = Clock(), torch.randn(len(tokenizer), len(tokenizer)), [0.1]

    def forward(ids: torch.Tensor) -> torch.Tensor:
        clock.now += seconds[0]
        return table[ids]

    loop = rb.InLoop("gsm8k", tokenizer, budget_seconds=5.0, clock=clock, max_length=4096, **SAMPLE)
    assert not loop(forward, 0).left_out
    seconds[0] = 3.0
    started = clock.now
    assert loop(forward, 1).left_out
    assert clock.now - started <= 5.0 + 3.0


def test_a_diverged_model_is_an_alarm_and_no_error(model: Any, tokenizer: Any) -> None:
    """Training continues and the log has a note about NaN. At the first scoring NaN is an error."""
    loop = rb.InLoop("gsm8k", tokenizer, items=2, **SAMPLE)
    assert not loop(model, 1).alarm
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    scores = loop(model, 2)
    assert scores.alarm
    assert scores.to_logs()["rbridge/alarm"] == 1
    assert any("NaN" in note for note in scores.notes)
    with pytest.raises(ScoringError, match="NaN"):
        rb.InLoop("gsm8k", tokenizer, items=2, **SAMPLE)(model, 2)
    resumed = rb.InLoop("gsm8k", tokenizer, items=2, **SAMPLE)
    resumed.load_state_dict(loop.state_dict())
    assert resumed(model, 2).alarm


def test_only_due_steps_are_scored(model: Any, tokenizer: Any) -> None:
    """And steps with ``force=True``."""
    loop = rb.InLoop("gsm8k", tokenizer, every_steps=3, items=1, **SAMPLE)
    assert [step for step in range(7) if loop(model, step, force=step == 1)] == [1, 3, 6]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"every_steps": 0}, "every_steps"),
        ({"every_minutes": -1}, "every_minutes"),
        ({"every_minutes": float("inf")}, "every_minutes"),
        ({"items": 0}, "items"),
        ({"budget_seconds": "10"}, "budget_seconds"),
        ({"budget_seconds": float("inf")}, "budget_seconds"),
        ({"tokenizer": None}, "tokenizer is None"),
        ({"tokenizer": "no/such-tokenizer"}, "no/such-tokenizer"),
        ({"tokenizer": object()}, "tokenizer is of the type object"),
        ({"alarm": "worst"}, "worst"),
        ({"stop_after_alarms": 2}, "alarm="),
        ({"max_regression": "5 apples"}, "apples"),
        ({"alpha": 0.0}, "alpha"),
        ({"metric": "surprise"}, "surprise"),
        ({"weights": "gold"}, "gold"),
        ({"num_fewshot": 99}, "99"),
        ({"benchmarks": ()}, "benchmarks"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_options_are_one_line_before_the_training(options: dict[str, Any], named: str, tokenizer: Any) -> None:
    """The error names the option or its value."""
    with pytest.raises(RBridgeError) as caught:
        rb.InLoop(**{"benchmarks": "gsm8k", "tokenizer": tokenizer} | SAMPLE | options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_name_is_refused(tokenizer: Any) -> None:
    """The error names what should be given."""
    with pytest.raises(RBridgeError, match="forward"):
        rb.InLoop("gsm8k", tokenizer, **SAMPLE)("gpt2", 1)
