"""Load a causal LM and its tokenizer with transformers, and read from them how long a text may be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rbridge_metrics.errors import RBridgeError

#: Context length of a model that states none, as in lm-eval.
DEFAULT_MAX_LENGTH = 2048
#: ``model_max_length`` of a tokenizer that states none.
_UNLIMITED = 10**29


class ModelLoadError(RBridgeError):
    """The model cannot be loaded as a causal LM."""


def load_model(
    name: str, *, revision: str | None = None, device: str | None = None, dtype: str = "auto"
) -> tuple[Any, Any]:
    """Load a causal LM in evaluation mode, and its tokenizer.

    Args:
        name: local folder or Hub name.
        revision: on the Hub.
        device: where to put the model; None takes a GPU if there is one.
        dtype: of the weights, e.g. "float32"; "auto" as saved.

    Returns:
        The model and the tokenizer.

    Raises:
        ModelLoadError: no such model, no such device or dtype, or not a causal LM.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype != "auto" and not getattr(getattr(torch, dtype, None), "is_floating_point", False):
        raise ModelLoadError(
            f"dtype {dtype!r} is not a floating-point dtype of torch; use float32, bfloat16 or float16"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def refusal(reason: str) -> ModelLoadError:
        return ModelLoadError(
            f"cannot load {name} as a causal LM on {device} ({reason}); give a folder with config.json, weights and "
            "tokenizer, or a Hub name, and a device that exists"
        )

    with load_errors(refusal):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype).to(device).eval()
    return model, tokenizer


@contextlib.contextmanager
def load_errors(refusal: Callable[[str], RBridgeError]) -> Iterator[None]:
    """Raise ``refusal(reason)``, with a reason of one line, for whatever a missing or damaged file causes in a block.

    transformers, torch, safetensors and pickle raise errors of many classes for it; tokenizers raises ``Exception``.
    """
    try:
        yield
    except Exception as error:
        raise refusal((str(error).strip() or type(error).__name__).splitlines()[0][:200]) from error


def context_length(config: Any, tokenizer: Any) -> int:
    """Longest input in tokens, from a model's configuration and its tokenizer, as lm-eval finds it.

    Args:
        config: of a transformers model; None for a model without one.
        tokenizer: of the model.
    """
    config = getattr(config, "text_config", None) or config
    stated = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    length = next((length for length in stated if length is not None), None)
    if length is None:
        length = getattr(tokenizer, "model_max_length", None)
    return DEFAULT_MAX_LENGTH if length is None or length > _UNLIMITED else int(length)


def prefix_token_id(tokenizer: Any) -> int | None:
    """The token read before a text whose context is empty, as in lm-eval."""
    token: int | None = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return token
