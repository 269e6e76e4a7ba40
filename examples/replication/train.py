"""Train a Llama-shaped model on a corpus: AdamW, warm-up and cosine decay, on CPU or CUDA, resumable to the bit.

A run folder holds ``state.pt`` (model, optimiser, random state and step of an unfinished run), ``loss.csv``, and one
checkpoint in transformers' format for each number of tokens in ``save_at``: ``step<N>-tokens<T>``.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import world
from transformers import LlamaConfig, LlamaForCausalLM

WINDOW = 256  # tokens of a row; documents in it do not see one another
BATCH = 2  # rows of a step
TOKENS_PER_STEP = BATCH * WINDOW
INIT = 0.8  # standard deviation of initial weights times the root of the width
CONTEXT = 512  # tokens that a model can read and write


@dataclass(frozen=True)
class Size:
    """Shape and learning rate of a model."""

    width: int
    layers: int
    heads: int
    learning_rate: float

    def model(self, seed: int) -> LlamaForCausalLM:
        """A model with random weights."""
        torch.manual_seed(seed)
        vocabulary = world.tokenizer()
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(vocabulary),
                hidden_size=self.width,
                intermediate_size=8 * self.width // 3 // 8 * 8,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                max_position_embeddings=CONTEXT,
                tie_word_embeddings=True,
                initializer_range=INIT * self.width**-0.5,
                bos_token_id=None,
                eos_token_id=vocabulary.eos_token_id,
                pad_token_id=vocabulary.pad_token_id,
            )
        )


SIZES = {
    "0.05M": Size(32, 3, 2, 3e-3),
    "0.15M": Size(64, 3, 2, 2e-3),
    "0.4M": Size(96, 3, 3, 1.5e-3),
    "1M": Size(128, 5, 4, 1e-3),
    "2.3M": Size(192, 5, 6, 7e-4),
}


@dataclass(frozen=True)
class Run:
    """What is trained.

    Attributes:
        folder: run folder.
        corpus: file of token ids; the first ``tokens`` of them are read once.
        size: key of ``SIZES``.
        seed: of the initial weights and the order of the rows.
        tokens: training tokens, a multiple of the tokens of a step.
        save_at: token counts at which a checkpoint is saved, multiples of the tokens of a step; the last is ``tokens``.
    """

    folder: Path
    corpus: Path
    size: str
    seed: int
    tokens: int
    save_at: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.tokens // TOKENS_PER_STEP

    def checkpoint(self, tokens: int) -> Path:
        """Folder of the checkpoint at a token count."""
        return self.folder / f"step{tokens // TOKENS_PER_STEP}-tokens{tokens}"

    @property
    def is_finished(self) -> bool:
        """Whether the last checkpoint is there."""
        return self.checkpoint(self.tokens).exists()


def learning_rate_factor(step: int, steps: int) -> float:
    """Warm-up over the first 5 % of the steps, then cosine decay to a tenth."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def train(
    run: Run,
    *,
    device: str = "cpu",
    compiled: bool = False,
    state_seconds: float = 120.0,
    stop_at: int | None = None,
) -> None:
    """Train a run to its end, from its saved state if there is one.

    Args:
        run: what is trained.
        device: ``cpu`` or ``cuda``.
        compiled: compile the model, which needs a C++ compiler: faster by a third, and other rounding.
        state_seconds: time between saved states.
        stop_at: step at which to stop early, with a saved state.
    """
    if run.is_finished:
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    shape = SIZES[run.size]
    model = shape.model(run.seed).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=shape.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    forward = torch.compile(model) if compiled else model
    step, losses = _restore(run, model, optimizer, device)
    rows, saved_at = _rows(run), time.monotonic()
    while step < run.steps:
        ids = torch.from_numpy(rows[step * BATCH : (step + 1) * BATCH].astype(np.int64)).to(device)
        rate = shape.learning_rate * learning_rate_factor(step, run.steps)
        losses.append(_update(forward, optimizer, ids, rate))
        step += 1
        if (tokens := step * TOKENS_PER_STEP) in run.save_at:
            _save_checkpoint(model, run.checkpoint(tokens))
        if step == stop_at or time.monotonic() - saved_at > state_seconds:
            _save_state(run, step, losses, model, optimizer)
            saved_at = time.monotonic()
        if step == stop_at:
            return
    lines = (f"{number},{loss:.4f}\n" for number, loss in enumerate(losses, 1) if number % 10 == 0)
    (run.folder / "loss.csv").write_text("step,loss\n" + "".join(lines), encoding="utf-8")
    _state_file(run).unlink(missing_ok=True)


def _update(model: torch.nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = model(input_ids=ids, position_ids=positions(ids), labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def positions(ids: torch.Tensor) -> torch.Tensor:
    """Position of each token in its document, shape of ``ids``.

    transformers takes positions that begin again as packed documents, which do not attend to one another.
    """
    index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    begins = torch.zeros_like(ids)
    begins[:, 1:] = torch.where(ids[:, :-1] == world.tokenizer().eos_token_id, index[:, 1:], 0)
    return index - begins.cummax(dim=1).values


def _rows(run: Run) -> np.ndarray:
    """The run's tokens as rows in the seed's order, shape (rows, WINDOW)."""
    rows = np.load(run.corpus, mmap_mode="r")[: run.tokens].reshape(-1, WINDOW)
    return rows[np.random.default_rng(run.seed).permutation(len(rows))]


def _state_file(run: Run) -> Path:
    return run.folder / "state.pt"


def _save_state(
    run: Run, step: int, losses: list[float], model: LlamaForCausalLM, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state to a file beside the old one, then replace that: a kill leaves one of them complete."""
    state = {
        "step": step,
        "losses": losses,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    unfinished = _state_file(run).with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(_state_file(run))


def _restore(
    run: Run, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, device: str
) -> tuple[int, list[float]]:
    """Load the saved state and return its step and losses; step 0 where there is none."""
    if not _state_file(run).exists():
        return 0, []
    state = torch.load(_state_file(run), map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"].cpu())
    return state["step"], state["losses"]


def _save_checkpoint(model: LlamaForCausalLM, folder: Path) -> None:
    """Write a checkpoint with its tokenizer under a temporary name, then rename it."""
    unfinished = folder.with_name(f".{folder.name}.tmp")
    model.save_pretrained(unfinished)
    world.tokenizer().save_pretrained(unfinished)
    if folder.exists():  # of a run that was killed between this checkpoint and its next saved state
        shutil.rmtree(folder)
    unfinished.rename(folder)
