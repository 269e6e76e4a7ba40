"""Train tiny checkpoints from text that Python ships, for the tutorial: two data sets, a small and a larger model each.

    python examples/train_tiny.py ckpts

writes ``ckpts/prose-0.2M/step12-tokens24K`` and so on: a run and size for each folder, checkpoints along its training
below it. And ``ckpts/frontier``, trained on both data sets, which stands in for a frontier model.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
import transformers

from tiny_llama import candidate_corpora, random_llama, train, train_tokenizer

BATCH, WINDOW, VOCABULARY = 2, 1024, 2048
SMALL, LARGE, FRONTIER = (48, 2), (96, 3), (128, 3)  # width and layers
DATA_SETS = ("prose", "shuffled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder for the checkpoints")
    parser.add_argument("--steps", type=int, default=72, help="training steps of each run")
    parser.add_argument("--keep", type=int, default=6, help="checkpoints to keep of each run")
    args = parser.parse_args()
    torch.set_num_threads(1)  # models as small as these are slower with more, and very much so on a busy machine
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    corpora = {name: texts for name, texts in candidate_corpora(megabytes=2).items() if name in DATA_SETS}
    everything = [text for texts in corpora.values() for text in texts]
    tokenizer = train_tokenizer(everything, VOCABULARY)
    runs = [(name, shape, texts) for shape in (SMALL, LARGE) for name, texts in corpora.items()]
    for name, (width, layers), texts in [*runs, ("frontier", FRONTIER, everything)]:
        model = random_llama(len(tokenizer), hidden_size=width, layers=layers, heads=4, window=2 * WINDOW)
        folder, kept = args.folder / f"{name}-{model.num_parameters() / 1e6:.1f}M", checkpoints(args.steps, args.keep)
        if name == "frontier":
            folder, kept = args.folder / name, [args.steps]
        print(f"{folder}: {args.steps} steps, {args.steps * BATCH * WINDOW / 1e6:.2f}M tokens", flush=True)
        train(model, tokenizer, texts, folder, steps=args.steps, save_at=kept, batch=BATCH, window=WINDOW)


def checkpoints(steps: int, keep: int) -> list[int]:
    """Steps at which a checkpoint is kept."""
    return [steps * part // keep for part in range(1, keep + 1)]


if __name__ == "__main__":
    main()
