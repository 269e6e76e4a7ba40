"""Threads that each take whole work items, instead of all threads sharing every operation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_threads(work: Callable[[], object], threads: int) -> None:
    """Run ``work`` in inference mode in several threads, each of which uses no further threads of torch.

    Raises:
        Exception: the first exception of a thread.
    """
    torch_threads = torch.get_num_threads()

    def run() -> None:
        with torch.inference_mode():
            work()

    if threads == 1:
        run()
        return
    try:
        with ThreadPoolExecutor(threads, initializer=_use_one_thread) as workers:
            for future in [workers.submit(run) for _ in range(threads)]:
                future.result()
    finally:
        torch.set_num_threads(torch_threads)


def take(items: deque[T]) -> Iterator[T]:
    """Remove items from the left until none is left; several threads may share the deque."""
    while True:
        try:
            item = items.popleft()
        except IndexError:
            return
        yield item


def _use_one_thread() -> None:
    torch.get_num_threads()  # torch initialises a new thread on its first use; do that before the next line
    torch.set_num_threads(1)
