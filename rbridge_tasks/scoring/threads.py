"""Threads that each work by themselves, instead of together on every step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_threads(work: Callable[[], object], used: int) -> None:
    """Have so many threads do the same work in inference mode, each without help of others, and wait for the last.

    Raises:
        Exception: what one of them raised.
    """
    threads = torch.get_num_threads()

    def alone() -> None:
        with torch.inference_mode():
            work()

    if used == 1:
        alone()
        return
    try:
        with ThreadPoolExecutor(used, initializer=_work_alone) as workers:
            for future in [workers.submit(alone) for _ in range(used)]:
                future.result()
    finally:
        torch.set_num_threads(threads)


def take(waiting: deque[T]) -> Iterator[T]:
    """What waits, until nothing does; several threads may take from it, each what is next."""
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        yield item


def _work_alone() -> None:
    """Have the thread that calls this use no other."""
    torch.get_num_threads()  # makes what torch sets for a new thread on its first use be set now
    torch.set_num_threads(1)
