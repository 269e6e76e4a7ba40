"""Size and training tokens of a local checkpoint, from its files. No weights are loaded."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

_BUFFER = re.compile(r"inv_freq$|masked_bias$|\.(attn|attention)\.bias$")  # tables that old checkpoints store too


def params_of_checkpoint(folder: Path) -> float | None:
    """Count the parameters of a checkpoint: from the headers of its safetensors files, else from its ``config.json``.

    Returns:
        The count; None where no file gives it, or the weights are packed (quantised).
    """
    config = _json(folder / "config.json")
    if not config or config.get("quantization_config"):
        return None
    index = _json(folder / "model.safetensors.index.json")
    names = set(index["weight_map"].values()) if isinstance(index.get("weight_map"), dict) else {"model.safetensors"}
    counts = [_params_of_file(folder / str(name)) for name in sorted(names)]
    return float(sum(counts)) if all(counts) else _params_of_config(folder)


def tokens_of_checkpoint(folder: Path) -> float | None:
    """Training tokens in the ``trainer_state.json`` of transformers; None where it has none."""
    seen = _json(folder / "trainer_state.json").get("num_input_tokens_seen")
    return float(seen) if isinstance(seen, int) and 0 < seen < 1e30 else None


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _params_of_file(path: Path) -> int:
    """Parameters in a safetensors file; 0 where it cannot be read."""
    try:
        return sum(math.prod(shape) for name, shape in tensor_shapes(path).items() if not _BUFFER.search(name))
    except (OSError, SafetensorError):
        return 0


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, from its header.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: it is no safetensors file, or its length is not the one in its header.
    """
    with safe_open(path, framework="numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping


@lru_cache(maxsize=4096)
def _params_of_config(folder: Path) -> float | None:
    """Parameters of the model that ``config.json`` describes, built without memory for its weights."""
    import torch
    from huggingface_hub import errors
    from transformers import AutoConfig, AutoModelForCausalLM

    invalid = getattr(errors, "StrictDataclassError", ValueError)  # what later versions raise for a wrong field
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, invalid):
        return None
    return float(model.num_parameters())
