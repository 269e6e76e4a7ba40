"""Evaluate a checkpoint as one rank of several; ``test_distributed.py`` starts this program once per rank.

``accelerate launch`` gives lm-eval several ranks only where it sees several GPUs, so rank, world size and what lm-eval
asks of an accelerator are set on the model here.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed


class GlooAccelerator:
    """The three methods of ``accelerate.Accelerator`` that lm-eval's HF model calls."""

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Concatenate the tensors of all ranks."""
        parts = [torch.zeros_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor)
        return torch.cat([part.reshape(-1) for part in parts])

    def wait_for_everyone(self) -> None:
        """Wait for all ranks."""
        torch.distributed.barrier()

    def unwrap_model(self, model: Any) -> Any:
        """Return the model, which is not wrapped."""
        return model


def main(checkpoint: str, rank: int, world_size: int, limits: list[int], meeting_point: str, output: str) -> None:
    """Score the first items of the shipped sample with span weights; rank 0 writes results and samples by limit."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from rbridge_tasks.backends import hf
    from rbridge_tasks.harness.task_folder import TASKS_PATH

    requests: list[str] = []

    def counted(lm: Any, pairs: Any, labels: Any) -> Any:
        requests.extend(labels)
        return hf.score(lm, pairs, labels)

    hf.BACKEND = dataclasses.replace(hf.BACKEND, score=counted)

    if world_size > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=world_size
        )
    options = {"rbridge_weights": "spans", "rbridge_cache": "sample"}
    written = {}
    for limit in limits:
        requests.clear()
        lm = HFLM(pretrained=checkpoint, device="cpu", batch_size=2)
        if world_size > 1:
            lm._rank, lm._world_size, lm.accelerator = rank, world_size, GlooAccelerator()
        results = simple_evaluate(
            model=lm,
            tasks=["rbridge_gsm8k", "rbridge_proxies_gsm8k"],
            task_manager=TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata=options),
            limit=limit,
            metadata=options,
            log_samples=True,
        )
        if results is not None:
            written[limit] = {"results": results["results"], "samples": results["samples"], "requests": [*requests]}
    if written:
        Path(output).write_text(json.dumps(written, default=str))
    if world_size > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    checkpoint, rank, world_size, meeting_point, output, *limits = sys.argv[1:]
    main(checkpoint, int(rank), int(world_size), [int(limit) for limit in limits], meeting_point, output)
