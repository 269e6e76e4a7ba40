"""Float32 arithmetic on CPUs: matrix products by oneDNN, and logits that threads reduce block by block.

Importing it changes nothing in the process.
"""

from rbridge_tasks.scoring.cpu.blocks import Blocks, MakeBlock, reduce_blocks
from rbridge_tasks.scoring.cpu.products import Factor, LinearByOneDNN, has_onednn, linear

__all__ = ["Blocks", "Factor", "LinearByOneDNN", "MakeBlock", "has_onednn", "linear", "reduce_blocks"]
