"""Layers: small frozen callables over tensors.

The texts of a batch are ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.nn.initializers import first_rows, glorot

Pool = Callable[[Tensor, Array], Tensor]  # rows (N, D) and offsets (B+1,) to (B, D) or (B, L·D)


@dataclass(frozen=True)
class Embedding:
    """A table (V, D): the rows of ids of any shape (...) are (..., D)."""

    table: Tensor

    @classmethod
    def make(
        cls, size: int, dim: int, init: str = "uniform", scale: float = 0.05, seed: int = 0
    ) -> Embedding:
        """Make a table of `size` rows; see `initializers` for what `init` may be."""
        return cls(Tensor(first_rows(init, seed, range(size), dim, scale), requires_grad=True))

    def __call__(self, ids: Array) -> Tensor:
        """Look up ids."""
        return ops.gather(self.table, ids)


@dataclass(frozen=True)
class Dense:
    """x @ weight + bias: (B, M) and a weight (M, C) give (B, C)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def make(cls, inputs: int, outputs: int, rng: Generator) -> Dense:
        """Start from Glorot's uniform numbers and a bias of zero."""
        bias = np.zeros(outputs, np.float32)
        return cls(Tensor(glorot(rng, inputs, outputs), True), Tensor(bias, True))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to a batch."""
        return x @ self.weight + self.bias


@dataclass(frozen=True)
class Dropout:
    """Set a share of the numbers to 0 while training; the generator is the batch's own."""

    rate: float

    def __call__(self, x: Tensor, rng: Generator | None) -> Tensor:
        """Drop with a generator; without one (not training) pass on."""
        return ops.dropout(x, self.rate, rng) if self.rate and rng is not None else x


@dataclass(frozen=True)
class Flatten:
    """The rows of a text one after another, (B, L·D), zeros where it is shorter.

    As Keras's Embedding(V, D, input_length=L) and Flatten, but padding is masked: it is no word's
    row and trains none. Texts come cut to `length`, by `cut`.
    """

    length: int
    pad_side: str = "right"

    def __call__(self, rows: Tensor, offsets: Array) -> Tensor:
        """Flatten the rows (N, D) of cut texts."""
        padded = ops.pad_segments(rows, offsets, self.length, self.pad_side)  # (B, L, D)
        return padded.reshape(len(offsets) - 1, self.length * rows.shape[1])  # (B, L·D)


POOLS: dict[str, Pool] = {
    "mean": ops.segment_mean,
    "sum": ops.segment_sum,
    "max": ops.segment_max,
}


def make_pool(name: str, length: int | None = None, pad_side: str = "right") -> Pool:
    """Return the pooling of that name: mean, sum, max, or flatten to a fixed length."""
    if name != "flatten":
        return POOLS[name]
    if length is None:
        raise ValueError("flatten needs a length")
    return Flatten(length, pad_side)


def cut(ids: Array, offsets: Array, length: int, side: str = "right") -> tuple[Array, Array]:
    """Cut texts to at most `length` ids, taking away from the given side: ids and offsets.

    >>> cut(np.array([1, 2, 3, 4]), np.array([0, 3, 4]), 2, side="left")
    (array([2, 3, 4]), array([0, 2, 3]))
    """
    lengths = np.minimum(np.diff(offsets), length)  # (B,)
    kept = np.concatenate([[0], np.cumsum(lengths)])  # (B+1,)
    firsts = offsets[:-1] if side == "right" else offsets[1:] - lengths  # (B,)
    places = np.repeat(firsts - kept[:-1], lengths) + np.arange(kept[-1])  # (N,)
    return ids[places], kept
