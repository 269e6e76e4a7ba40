"""One of two gloo ranks that train and score a tiny model under DDP, FSDP and FSDP2; ``test_ranks.py`` starts it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[2]))

import rbridge_tasks as rb
from tests.support import TOKENIZERS, tiny_model

SAMPLE: dict[str, Any] = {"cache": "sample", "weights": "spans", "num_fewshot": 0, "batch_size": 2, "max_length": 2048}


def wrapped(kind: str, vocabulary: int) -> torch.nn.Module:
    """Wrap a model with dropout, with the same initial weights in each call."""
    model = tiny_model("llama", vocabulary, attention_dropout=0.1).train()
    if kind == "fsdp":
        from torch.distributed.fsdp import FullyShardedDataParallel
        from torch.distributed.fsdp.wrap import ModuleWrapPolicy

        return FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), use_orig_params=True,
            auto_wrap_policy=ModuleWrapPolicy({type(model.model.layers[0])}),
        )  # fmt: skip
    if kind == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (2,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        return fully_shard(model, mesh=mesh)
    return torch.nn.parallel.DistributedDataParallel(model)


def full_weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """Parameters or shards of this rank, without communication: shards are compared rank by rank."""
    parameters = [getattr(parameter, "to_local", lambda p=parameter: p)() for parameter in model.parameters()]
    return [parameter.detach().clone() for parameter in parameters]


def run(kind: str, tokenizer: Any, rank: int, *, scored: bool) -> dict[str, Any]:
    """Train three steps on this rank's data; score before training, and between backward passes and optimiser steps."""
    model = wrapped(kind, len(tokenizer))
    torch.manual_seed(rank)
    passes = [0]
    inner = getattr(model, "module", model)
    inner.model.register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    loop = rb.InLoop(("gsm8k", "csqa"), tokenizer, **SAMPLE)
    short = rb.InLoop("gsm8k", tokenizer, items=1, **SAMPLE)  # one rank has nothing to score
    first = loop(model, 0) if scored else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(1, 4):
        ids = torch.randint(4, len(tokenizer), (2, 16))
        model(input_ids=ids, labels=ids).loss.backward()
        if scored:
            short(model, step)
        optimizer.step()
        optimizer.zero_grad()
    result: dict[str, Any] = {"weights": full_weights(model), "passes": passes[0], "random": torch.get_rng_state()}
    if first is not None:
        result["scores"] = {each.benchmark: (dict(each.metrics), dict(each.stderr)) for each in first.benchmarks}
    return result


def main(rank: int, meeting_point: str, output: str) -> None:
    """Run all wrappers with and without scoring, and save the results."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    tokenizer = TOKENIZERS["bos"]()
    results = {
        (kind, scored): run(kind, tokenizer, rank, scored=scored)
        for kind in ("ddp", "fsdp", "fsdp2")
        for scored in (False, True)
    }
    torch.save(results, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
