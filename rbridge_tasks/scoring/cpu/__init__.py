"""Arithmetic on CPUs: float32 products by oneDNN, logits that threads reduce block by block, and memory for tensors.

Importing it changes nothing in the process.
"""

from rbridge_tasks.scoring.cpu.blocks import Blocks, MakeBlock, reduce_blocks
from rbridge_tasks.scoring.cpu.freed_memory import keep_freed_memory
from rbridge_tasks.scoring.cpu.products import Factor, LinearByOneDNN, has_onednn, linear

__all__ = [
    "Blocks",
    "Factor",
    "LinearByOneDNN",
    "MakeBlock",
    "has_onednn",
    "keep_freed_memory",
    "linear",
    "reduce_blocks",
]
