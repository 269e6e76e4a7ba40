"""Results brought from a GPU to the host while it works on the next ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

Table = npt.NDArray[np.float64]


def one_ahead(batches: Iterator[tuple[list[int], torch.Tensor]]) -> Iterator[tuple[list[int], Table]]:
    """Results on the host: on a GPU each after the next batch is under way, so that neither waits for the other."""
    under_way: tuple[list[int], Callable[[], Table]] | None = None
    for batch, columns in batches:
        if columns.device.type != "cuda":
            yield batch, columns.cpu().numpy()
            continue
        arriving = _copy_later(columns)
        if under_way is not None:
            yield under_way[0], under_way[1]()
        under_way = batch, arriving
    if under_way is not None:
        yield under_way[0], under_way[1]()


def _copy_later(columns: torch.Tensor) -> Callable[[], Table]:
    """Start a copy from a GPU, and return what waits for it."""
    host = torch.empty(columns.shape, dtype=columns.dtype, pin_memory=True)
    host.copy_(columns, non_blocking=True)
    stream = torch.cuda.current_stream(columns.device)
    copied = stream.record_event()

    def arrived() -> Table:
        copied.synchronize()
        return host.numpy()

    return arrived
