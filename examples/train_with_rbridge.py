"""Train a tiny Llama with ``transformers.Trainer`` and follow its rBridge scores while it trains.

    python examples/train_with_rbridge.py

needs no network and no GPU. The traces are the ten of GSM8K that ship with the package. The last lines print what
scoring cost and check that training without the callback ends in the same weights.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import Trainer, TrainingArguments, default_data_collator

import rbridge_tasks as rb
from tiny_llama import candidate_corpora, random_llama, train_tokenizer

VOCABULARY, WINDOW, CONTEXT = 512, 128, 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="training steps")
    parser.add_argument("--every", type=int, default=10, help="steps between two scorings")
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = candidate_corpora(megabytes=0.5)["prose"][:40]
    tokenizer = train_tokenizer(texts, VOCABULARY)
    ids = torch.tensor([i for row in tokenizer(texts, verbose=False)["input_ids"] for i in row])
    windows = ids[: ids.numel() // WINDOW * WINDOW].reshape(-1, WINDOW)
    callback = rb.RBridgeCallback(
        "gsm8k", every_steps=args.every, cache="sample", weights="spans", num_fewshot=0,
        alarm="best", stop_after_alarms=3,
    )  # fmt: skip
    scored, seconds = train(tokenizer, windows, args.steps, [callback])
    for row in scored.state.log_history:
        if "rbridge/gsm8k/rbridge_nll" in row:
            value, stderr = (row[f"rbridge/gsm8k/rbridge_nll{end}"] for end in ("", "_stderr"))
            print(f"step {row['step']:4d}  rBridge NLL {value:.3f} +- {stderr:.3f}  {row['rbridge/seconds']:.2f} s")
    if callback.last is not None:
        print(f"overhead: {callback.last.share_of_time:.0%} of the {seconds:.1f} s of training")
    without, _ = train(tokenizer, windows, scored.state.global_step, [])
    pairs = zip(scored.model.parameters(), without.model.parameters(), strict=True)
    same = all(torch.equal(first, second) for first, second in pairs)
    print(f"weights with and without the callback: {'equal, bit for bit' if same else 'DIFFERENT'}")
    if not same:
        raise SystemExit(1)


def train(tokenizer: Any, windows: torch.Tensor, steps: int, callbacks: list[Any]) -> tuple[Any, float]:
    """A Trainer after so many steps, and its seconds."""
    model = random_llama(len(tokenizer), hidden_size=48, layers=2, heads=4, window=CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder, max_steps=steps, per_device_train_batch_size=4, learning_rate=3e-3, logging_steps=5,
                lr_scheduler_type="constant", report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=[{"input_ids": window, "labels": window} for window in windows],
            data_collator=default_data_collator,
            processing_class=tokenizer,
            callbacks=callbacks,
        )  # fmt: skip
        started = time.perf_counter()
        trainer.train()
    return trainer, time.perf_counter() - started


if __name__ == "__main__":
    main()
