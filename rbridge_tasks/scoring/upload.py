"""Copy arrays to a model's device without waiting for the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch


def upload(array: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Copy an array to a device.

    A copy to a GPU from memory that is not pinned waits until the GPU has finished all work queued before it.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
