"""Train tiny Llama checkpoints from text that ships with Python, for the demonstration and for tests.

The text is prose from ``pydoc_data`` and code from the standard library. A minute of training on two CPU cores makes
ordinary English more probable. The models stand in for real checkpoints where none are available.
"""

from __future__ import annotations

import math
import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|endoftext|>"
CANDIDATES = ("prose", "code", "shuffled")


def candidate_corpora(megabytes: float) -> dict[str, list[str]]:
    """Documents of the three corpora by name: prose, code, and the prose with the words of each document shuffled."""
    prose, order = _prose(), random.Random(0)
    shuffled = [" ".join(order.sample(words, len(words))) for words in map(str.split, prose)]
    return dict(zip(CANDIDATES, (prose, _code(megabytes), shuffled), strict=True))


def corpus(megabytes: float) -> list[str]:
    """Documents in random order, up to a total size: the language reference and source of the standard library."""
    texts = _prose()
    texts += _code(megabytes - sum(map(len, texts)) / 1e6)
    random.Random(0).shuffle(texts)
    return texts


def _prose() -> list[str]:
    from pydoc_data.topics import topics

    return list(topics.values())


def _code(megabytes: float) -> list[str]:
    texts: list[str] = []
    size = 0
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    sources += sorted(Path(sysconfig.get_path("stdlib")).glob("[a-su-z]*/*.py"))  # leaves out the test suite
    for source in sources:
        if size >= megabytes * 1e6:
            break
        text = source.read_text(encoding="utf-8", errors="ignore")
        if "site-packages" not in source.parts and text.strip():
            texts.append(text)
            size += len(text)
    return texts


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def random_llama(
    vocab_size: int, *, hidden_size: int, layers: int, heads: int, window: int, seed: int = 0
) -> LlamaForCausalLM:
    """A Llama of the given shape with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=3 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=window,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
        )
    )


@dataclass(frozen=True)
class Checkpoint:
    """A saved model and the number of tokens it was trained on."""

    path: Path
    tokens: int


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    folder: Path,
    *,
    steps: int,
    save_at: Sequence[int],
    batch: int = 4,
    window: int = 1024,
    learning_rate: float = 3e-3,
    on_step: Callable[[float], None] = lambda _loss: None,
) -> list[Checkpoint]:
    """Train with AdamW, warm-up and cosine decay; save at the given steps under ``folder/step<N>-tokens<T>``."""
    stream = _windows(tokenizer, texts, batch, window)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05)
    saved = []
    model.train()
    for step in range(steps + 1):
        if step in save_at:
            saved.append(_save(model, tokenizer, folder, step, step * batch * window))
        if step == steps:
            break
        rate = min(1.0, (step + 1) / 20) * 0.5 * (1.1 + 0.9 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        ids = next(stream)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        on_step(float(loss.detach()))
    return saved


def _save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, step: int, tokens: int
) -> Checkpoint:
    path = folder / f"step{step}-tokens{tokens // 1000}K"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Checkpoint(path, tokens)


def _windows(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], batch: int, window: int
) -> Iterator[torch.Tensor]:
    encoded = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    ids = torch.as_tensor(np.concatenate([[*document, tokenizer.eos_token_id] for document in encoded]))
    generator = torch.Generator().manual_seed(0)
    while True:
        starts = torch.randint(0, ids.numel() - window, (batch,), generator=generator)
        yield torch.stack([ids[start : start + window] for start in starts.tolist()])
