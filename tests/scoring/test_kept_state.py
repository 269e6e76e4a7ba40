"""The state after a prompt: reading on equals reading the whole text; models that ignore the state are detected."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring import kept_state
from rbridge_tasks.scoring.forward import Forward
from rbridge_tasks.scoring.selective_scan import scan_from

from ..metrics.strategies import cases
from .small_models import STATES, model_of, pairs_of, scored

IDS = np.random.default_rng(0).integers(5, 300, 60)


def forward_of(name: str) -> Forward:
    """The forward pass of a model with recurrent states."""
    config_class, options = STATES[name]
    return Forward(model_of(config_class, **options), torch.device("cpu"))


def scan_token_by_token(
    inputs: torch.Tensor,
    steps: torch.Tensor,
    rates: torch.Tensor,
    inward: torch.Tensor,
    outward: torch.Tensor,
    *,
    state: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The selective scan by definition, in the dtype of its arguments."""
    steps = torch.nn.functional.softplus(steps + delta_bias[:, None])
    state = torch.zeros(*inputs.shape[:2], rates.shape[1], dtype=inputs.dtype) if state is None else state
    outs = []
    for i in range(inputs.shape[-1]):
        step = steps[..., i, None]
        state = (rates * step).exp() * state + step * inputs[..., i, None] * inward[:, None, :, i]
        outs.append((state * outward[:, None, :, i]).sum(-1))
    out = torch.stack(outs, -1)
    return out if z is None else out * torch.nn.functional.silu(z), state


@cases(20)
@given(st.integers(1, 150), st.integers(1, 3), st.sampled_from([6, 6000]), st.integers(0, 5))
def test_a_scan_from_a_state_is_the_rest_of_a_scan(tokens: int, batch: int, channels: int, seed: int) -> None:
    """The scan from zero plus the decayed contribution of the state equals the scan that begins at the state.

    With 6,000 channels it goes in parts of 14 to 43 tokens.
    """
    random = torch.Generator().manual_seed(seed)
    normal = functools.partial(torch.randn, generator=random)
    given_arguments = (
        normal(batch, channels, tokens),
        normal(batch, channels, tokens),
        -normal(channels, 4).exp(),
        normal(batch, 4, tokens),
    )
    arguments, state = (*given_arguments, normal(batch, 4, tokens)), normal(batch, channels, 4)
    named = {"z": normal(batch, channels, tokens), "delta_bias": normal(channels), "delta_softplus": True}
    results = scan_from(state, scan_token_by_token, *arguments, return_last_state=True, **named)
    expected = scan_token_by_token(*arguments, state=state, **named)
    for result, reference in zip(results, expected, strict=True):
        # every token rounds a few times, and errors of earlier tokens decay
        bound = 16 * torch.finfo(torch.float32).eps * tokens**0.5 * max(1.0, float(reference.abs().max()))
        assert float((result - reference).abs().max()) <= bound


@torch.inference_mode()
@pytest.mark.parametrize("name", STATES)
def test_reading_on_from_a_state_does_not_change_it(name: str) -> None:
    """Models change states in place, so each text after the prompt reads on from a copy."""
    forward = forward_of(name)
    state = kept_state.keep(forward, IDS[:40])
    assert state is not None
    before = [tensor.clone() for tensor in state.states()]
    assert before
    inputs = torch.from_numpy(np.stack([IDS[40:50], IDS[50:]]))
    with state.continued(forward, inputs) as options:
        forward.call(inputs, **options)
    kept_state.keep(forward, IDS, state)
    assert all(map(torch.equal, before, state.states()))
    assert kept_state.goes_on(forward, IDS)


@torch.inference_mode()
def test_models_that_ignore_the_state_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mamba's own scan of several tokens ignores the given state; then the prompt is read with each text."""
    monkeypatch.setattr("rbridge_tasks.scoring.selective_scan._scans", lambda _: False)
    forward = forward_of("mamba")
    assert not kept_state.goes_on(forward, IDS)
    scorer, difference = scored(forward.model, pairs_of(lengths=(9, 20)))
    assert scorer.way_of_reading == "padded, prompt read again"
    assert difference <= 1e-4


@torch.inference_mode()
def test_the_models_own_scan_is_restored_after_a_pass() -> None:
    """The module of transformers is restored after a pass, also after one that fails."""
    import transformers.models.mamba.modeling_mamba as mamba

    forward, original = forward_of("mamba"), mamba.mamba_selective_scan
    state = kept_state.keep(forward, IDS[:40])
    assert state is not None
    with state.continued(forward, torch.from_numpy(IDS[None, 40:])) as options:
        assert mamba.mamba_selective_scan is not original
        with pytest.raises(IndexError):  # an id beyond the vocabulary
            forward.call(torch.tensor([[5, 300]]), **options)
    assert mamba.mamba_selective_scan is original
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in forward.model.modules())


def test_states_of_unknown_kinds_are_not_kept() -> None:
    """A cache of an unknown class is refused, since a copy of it may be incomplete."""

    class Output:
        past_key_values = object()

    assert kept_state.KeptState.of(Output(), 3) is None
