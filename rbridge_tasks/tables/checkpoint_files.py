"""What the files of a local checkpoint say about its size and its training. No weights are loaded."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

_BUFFER = re.compile(r"inv_freq$|masked_bias$|\.(attn|attention)\.bias$")  # tables that old checkpoints store too
_LARGEST_HEADER = 100_000_000  # bytes; the limit that safetensors itself sets


@lru_cache(maxsize=4096)
def params_of_checkpoint(folder: Path) -> float | None:
    """Count the parameters of a checkpoint: from the headers of its safetensors files, else from its ``config.json``.

    Returns:
        The count; None where the folder does not tell, or its weights are packed (quantised).
    """
    config = _json(folder / "config.json")
    if not config or config.get("quantization_config"):
        return None
    index = _json(folder / "model.safetensors.index.json")
    names = set(index["weight_map"].values()) if isinstance(index.get("weight_map"), dict) else {"model.safetensors"}
    counts = [_params_of_file(folder / str(name)) for name in sorted(names)]
    return float(sum(counts)) if all(counts) else _params_of_config(folder)


@lru_cache(maxsize=4096)
def tokens_of_checkpoint(folder: Path) -> float | None:
    """Training tokens that the trainer of transformers noted in ``trainer_state.json``; None where it did not."""
    seen = _json(folder / "trainer_state.json").get("num_input_tokens_seen")
    return float(seen) if isinstance(seen, int) and 0 < seen < 1e30 else None


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _params_of_file(path: Path) -> int:
    """Parameters in a safetensors file: it begins with the length of a JSON header that holds all shapes. 0 if not."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < _LARGEST_HEADER else {}
        header.pop("__metadata__", None)
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if not _BUFFER.search(name))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return 0


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
