"""Every architecture on the GPU: our scores equal the model's own forward pass over each text alone."""

from __future__ import annotations

import importlib.util

import pytest
import torch

DTYPES = [torch.float32, torch.bfloat16]
#: Families with full attention; windows; windows and capped products; sinks.
ATTENTION_FAMILIES = ["llama", "gemma3_text", "gemma2", "gpt_oss"]

pytestmark = pytest.mark.filterwarnings("ignore")  # some models warn about their own settings


def agree(name: str, dtype: torch.dtype, device: torch.device, attention: str | None = None) -> None:
    """Compare every scored token of texts of unequal lengths, in batches of four."""
    from architectures import examine

    row = examine(name, dtype, 1.0, 4, device=str(device), attention=attention)
    if row.reader.startswith("not "):
        pytest.skip(f"{name}: {row.reader}")
    assert not row.wrong, f"{row.reader}: {row.difference_nats:.2g} nats apart, noise {row.noise_nats:.2g}; {row.log}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_are_the_models_own(family: str, dtype: torch.dtype, device: torch.device) -> None:
    """Every token's log-probability agrees, for every way of reading."""
    agree(family, dtype, device)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
@pytest.mark.parametrize("name", ATTENTION_FAMILIES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_do_not_depend_on_the_attention_implementation(
    name: str, attention: str, dtype: torch.dtype, device: torch.device
) -> None:
    """The model's own forward pass uses eager, SDPA or flash attention; ours agrees with each."""
    if attention == "flash_attention_2":
        if importlib.util.find_spec("flash_attn") is None:
            pytest.skip("flash_attn is not installed")
        if dtype == torch.float32:
            pytest.skip("flash attention has no float32")
    agree(name, dtype, device, attention)
