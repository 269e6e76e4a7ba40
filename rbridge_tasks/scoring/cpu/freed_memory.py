"""Have the C library keep freed memory for the next tensor.

The C library of Linux (glibc) returns a large freed block to the system at once, and the system clears every page of
the next one again. What counts as large is the size of the largest block that the process has freed, up to 32 MiB
(``man mallopt``, M_MMAP_THRESHOLD). So speed depends on what a program happened to free before.
"""

from __future__ import annotations

import torch

_LARGEST = 31 << 20  # a little less than 32 MiB, for what the library puts around a block


def keep_freed_memory() -> None:
    """Free one of the largest blocks that may be kept. It is never written to, so it takes no memory."""
    torch.empty(_LARGEST, dtype=torch.uint8)
