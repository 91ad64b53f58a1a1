"""Layers: small frozen callables over tensors, and the ways a text's rows become one vector.

The texts of a batch are ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.storage.arrays import RowSource

_FEW_TEXTS = 8  # so many longest texts are summed one by one
_ROWS_AT_ONCE = 1 << 15  # of a long text
_FEW_NUMBERS = 16  # of a row, so that sums of slices are fast
_FEW_ROWS = 1 << 17  # so that all may be copied


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


def sum_rows(rows: RowSource, ids: Array, offsets: Array) -> NDArray[np.float32]:
    """Sum the rows of each text's ids, (B, D), without a tape.

    The first rows of all texts are added at once, then the second of all that have so many, and so
    on: each row costs a gather and an addition, where `np.add.reduceat` over the first axis costs
    ten times that. Of rows of a few numbers it costs a tenth.

    >>> sum_rows(np.float32([[1], [2], [4]]), np.array([0, 2, 1]), np.array([0, 2, 2, 3])).tolist()
    [[5.0], [0.0], [2.0]]
    """
    lengths = np.diff(offsets)  # (B,)
    if rows.shape[1] <= _FEW_NUMBERS and offsets[-1] <= _FEW_ROWS:
        sums = np.zeros((len(lengths), rows.shape[1]), np.float32)  # (B, D)
        filled = np.flatnonzero(lengths)
        if len(filled):
            taken = rows[ids[: offsets[-1]]]  # (N, D)
            sums[filled] = np.add.reduceat(taken, offsets[filled], axis=0)
        return sums
    # 1. Order the texts by their lengths, the longest first.
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = offsets[:-1][order], lengths[order]
    sums = np.zeros((len(order), rows.shape[1]), np.float32)  # (B, D)
    # 2. Add the i-th row of every text that is longer than i.
    longer = np.searchsorted(-lengths, -np.arange(lengths.max(initial=0)))  # (L,) texts
    many = int(np.count_nonzero(longer >= _FEW_TEXTS))
    for place, texts in enumerate(longer[:many].tolist()):
        sums[:texts] += rows[ids[starts[:texts] + place]]
    # 3. Add the rest of the longest texts.
    for text in range(longer[many] if many < len(longer) else 0):
        end = starts[text] + lengths[text]
        for start in range(starts[text] + many, end, _ROWS_AT_ONCE):
            sums[text] += rows[ids[start : min(start + _ROWS_AT_ONCE, end)]].sum(axis=0)
    ordered = np.empty_like(sums)
    ordered[order] = sums
    return ordered
