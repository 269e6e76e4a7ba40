"""Train tiny checkpoints for the tutorial from text that ships with Python: a small and a larger model per data set.

    python examples/train_tiny.py ckpts

writes folders such as ``ckpts/prose-0.2M/step12-tokens24K``: one folder per data set and size, with one checkpoint
folder per saved step. It also writes ``ckpts/frontier``, a model trained on both data sets that stands in for a
frontier model.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
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

    def announce(run: str) -> Callable[[float], None]:
        print(f"{args.folder / run}: {args.steps} steps, {args.steps * BATCH * WINDOW / 1e6:.2f}M tokens", flush=True)
        return lambda _loss: None

    train_runs(args.folder, DATA_SETS, steps=args.steps, keep=args.keep, begin=announce)


def train_runs(
    folder: Path, data_sets: Sequence[str], *, steps: int, keep: int, begin: Callable[[str], Callable[[float], None]]
) -> list[int]:
    """Train a small and a larger model on each data set, and the stand-in for a frontier model on all of them.

    Args:
        folder: folder for the runs.
        data_sets: names of corpora, see ``candidate_corpora``.
        steps: training steps of each run.
        keep: number of checkpoints to keep of each run; of the stand-in only the last is kept.
        begin: called with the name of each run; returns a function that is called with the loss of each step.

    Returns:
        Numbers of parameters of the small and the larger model.
    """
    torch.set_num_threads(1)  # more threads slow down such small models, above all on a busy machine
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    corpora = {name: texts for name, texts in candidate_corpora(megabytes=2).items() if name in data_sets}
    everything = [text for texts in corpora.values() for text in texts]
    tokenizer = train_tokenizer(everything, VOCABULARY)
    params = []
    for width, layers in (SMALL, LARGE, FRONTIER):
        frontier = (width, layers) == FRONTIER
        for name, texts in {"frontier": everything}.items() if frontier else corpora.items():
            model = random_llama(len(tokenizer), hidden_size=width, layers=layers, heads=4, window=2 * WINDOW)
            run = name if frontier else folder_name(name, model.num_parameters())
            train(
                model, tokenizer, texts, folder / run, steps=steps, batch=BATCH, window=WINDOW, on_step=begin(run),
                save_at=[steps] if frontier else checkpoints(steps, keep),
            )  # fmt: skip
        params.append(model.num_parameters())
    return params[:2]


def folder_name(data_set: str, params: int) -> str:
    """Name of a run's folder: data set and size, in the form that ``rbridge collect`` parses."""
    return f"{data_set}-{params / 1e6:.1f}M"


def checkpoints(steps: int, keep: int) -> list[int]:
    """Steps whose checkpoints are kept."""
    return [steps * part // keep for part in range(1, keep + 1)]


if __name__ == "__main__":
    main()
