"""Which keys the tokens of each layer see, read from the mask functions that a model hands to transformers.

Every causal mask of transformers (plain, sliding window, chunks) shows a token all keys from a first one up to itself.
The first keys are tabulated once, so that parts of a mask can be made for any tokens, with any prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from transformers.masking_utils import causal_mask_function

Ids = npt.NDArray[np.int64]

#: Elements of a mask that are evaluated at a time.
_ELEMENTS = 1 << 22


class UnsupportedAttentionError(NotImplementedError):
    """The model's attention is of a kind that cannot be taken apart here."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A causal mask in which each token sees the keys from a first one up to itself.

    Attributes:
        first: shape (positions,), position of the first key that a token sees; it never decreases.
    """

    first: Ids

    @classmethod
    def of(cls, function: Callable[..., Any], positions: int, device: torch.device) -> Mask | None:
        """Tabulate a mask function of transformers; None for a plain causal mask.

        Args:
            function: of batch, head, query and key indices, which broadcast.
            positions: number of positions to tabulate.
            device: of the indices.

        Raises:
            UnsupportedAttentionError: some token sees other keys than those from a first one up to itself, or the
                function depends on more than the two positions.
        """
        if function is causal_mask_function:
            return None
        if not _depends_on_positions_only(function):
            raise UnsupportedAttentionError("a mask depends on more than two positions")
        zero = torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=device)
        keys = torch.arange(positions, device=device)
        parts = []
        for queries in torch.split(keys, max(1, _ELEMENTS // positions)):
            visible = function(zero, zero, queries.view(1, 1, -1, 1), keys.view(1, 1, 1, -1))
            visible = visible.expand(1, 1, queries.numel(), positions)[0, 0]
            first = visible.byte().argmax(-1)
            expected = (keys >= first.unsqueeze(-1)) & (keys <= queries.unsqueeze(-1))
            if not torch.equal(visible, expected):
                raise UnsupportedAttentionError("a mask hides keys between those that a token sees")
            parts.append(first)
        table: Ids = torch.cat(parts).cpu().numpy()
        if (np.diff(table) < 0).any():
            raise UnsupportedAttentionError("a mask shows a token earlier keys than the token before it")
        return cls(table) if table.any() else None


@dataclass(frozen=True)
class MaskFunction:
    """A mask before it is a matrix: what a model's layers are given instead of one while they are inspected."""

    function: Callable[..., Any]
    custom: bool = False
    ndim: ClassVar[int] = 0  # Falcon adds its biases to matrices

    def to(self, *_types: Any) -> MaskFunction:
        """Itself: MPT changes the dtype of a mask before its layers see it."""
        return self

    @classmethod
    def make(cls, *, mask_function: Callable[..., Any], use_vmap: bool = False, **_options: Any) -> MaskFunction:
        """Called by transformers' functions that make masks."""
        return cls(mask_function, use_vmap)

    def tabulate(self, positions: int, device: torch.device) -> Mask | None:
        """See ``Mask.of``."""
        if self.custom:
            raise UnsupportedAttentionError("a mask is the model's own")
        return Mask.of(self.function, positions, device)


def _depends_on_positions_only(function: Callable[..., Any]) -> bool:
    """Whether no part of a mask function refers to a tensor with a number for each token."""
    parts: list[Any] = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    parts = [inner for part in parts for inner in (part if isinstance(part, tuple | list) else (part,))]
    return all(
        part.numel() == 1 if isinstance(part, torch.Tensor) else not callable(part) or _depends_on_positions_only(part)
        for part in parts
    )
