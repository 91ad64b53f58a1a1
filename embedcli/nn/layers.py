"""Layers: small frozen callables over tensors, and the ways a text's rows become one vector.

The texts of a batch are ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor


@dataclass(frozen=True)
class Embedding:
    """A table (V, D): the rows of ids of any shape (...) are (..., D)."""

    table: Tensor

    def __call__(self, ids: Array) -> Tensor:
        """Look up ids."""
        return ops.gather(self.table, ids)


@dataclass(frozen=True)
class Dense:
    """x @ weight + bias: (B, M) and a weight (M, C) give (B, C)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to a batch."""
        return x @ self.weight + self.bias


def flatten(rows: Tensor, offsets: Array, length: int | None, pad_side: str) -> Tensor:
    """Return the rows (N, D) of each text one after another, (B, L·D), zeros where it is shorter.

    As Keras's Embedding(V, D, input_length=L) and Flatten, but padding is masked: it is no word's
    row and trains none. Texts come cut to `length`. Raises ValueError without a length.
    """
    if length is None:
        raise ValueError("flatten needs a length")
    padded = ops.pad_segments(rows, offsets, length, pad_side)  # (B, L, D)
    return padded.reshape(len(offsets) - 1, length * rows.shape[1])  # (B, L·D)


# Rows (N, D), offsets (B+1,), the length and the side of padding give (B, D), or (B, L·D).
POOLS: dict[str, Callable[[Tensor, Array, int | None, str], Tensor]] = {
    "mean": lambda rows, offsets, *_: ops.segment_mean(rows, offsets),
    "sum": lambda rows, offsets, *_: ops.segment_sum(rows, offsets),
    "max": lambda rows, offsets, *_: ops.segment_max(rows, offsets),
    "flatten": flatten,
}
