"""Training that a sweep watches: a small model learns bytes of text, and saves a checkpoint every ten steps.

Arguments are the run's folder and the number of checkpoints. Every second one is written as on a slow network
disk: in parts, piece by piece, the index after the weights. A line gives the time when each is finished.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = ("One and one is two. Two and two is four, and four and four is eight. " * 40).encode()
#: Files that trainers write last, after the weights.
_LAST = ("model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json")
_PIECES, _PAUSE_SECONDS = 4, 0.25


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=alphabet[0])


def save_slowly(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save into a temporary folder, and write its files piece by piece into ``folder``."""
    with tempfile.TemporaryDirectory() as elsewhere:
        model.save_pretrained(elsewhere, max_shard_size="40KB")
        tokenizer.save_pretrained(elsewhere)
        files = sorted(Path(elsewhere).iterdir(), key=lambda path: (path.name in _LAST, path.name))
        assert sum(path.suffix == ".safetensors" for path in files) > 1
        folder.mkdir(parents=True)
        for path in files:
            if path.suffix != ".safetensors":
                time.sleep(_PAUSE_SECONDS)
                shutil.copy(path, folder)
                continue
            data = path.read_bytes()
            with (folder / path.name).open("wb", buffering=0) as file:
                for piece in range(_PIECES):
                    file.write(data[len(data) * piece // _PIECES : len(data) * (piece + 1) // _PIECES])
                    time.sleep(_PAUSE_SECONDS / _PIECES)


def train(run: Path, checkpoints: int) -> None:
    """Train, and save every ten steps."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8192, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = torch.tensor(tokenizer(TEXT.decode())["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, 10 * checkpoints + 1):
        starts = torch.randint(0, len(ids) - 65, (8,)).tolist()
        batch = torch.stack([ids[start : start + 64] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            folder = run / f"checkpoint-{step}"
            if step % 20 == 0:
                save_slowly(model, tokenizer, folder)
            else:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            print(f"{step} {time.time()}", flush=True)
            time.sleep(1.0)


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
