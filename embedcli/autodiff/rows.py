"""The gradient of a gather: ids and rows, never a dense table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Part(NamedTuple):
    """What one gather adds to the gradient of its table."""

    ids: Array  # (N,)
    rows: Array  # (N, D)
    met: Array | None  # (N,); None is one each


class RowGrad:
    """Gradient of a table (V, D) as ids (N,) and rows (N, D); an id may come several times.

    `met` (N,) float32 says in how many (weighted) pairs each row took part, so that an
    optimizer may damp by it; None is one each. Gradients of one table are added with `+`, which
    copies nothing; `coalesce` sums what belongs to one id.

    >>> gradient = RowGrad(np.array([2, 0, 2]), np.float32([[1, 1], [5, 5], [3, 3]]), (4, 2))
    >>> gradient.coalesce().rows.tolist()
    [[5.0, 5.0], [4.0, 4.0]]
    """

    __slots__ = ("parts", "shape")

    def __init__(
        self, ids: Array, rows: Array, shape: tuple[int, ...], met: Array | None = None
    ) -> None:
        self.parts: tuple[Part, ...] = (Part(ids, rows, met),)
        self.shape = shape

    def __add__(self, other: RowGrad) -> RowGrad:
        if self.shape != other.shape:
            raise ValueError(f"row gradients of tables of shapes {self.shape} and {other.shape}")
        joined = object.__new__(RowGrad)
        joined.parts = self.parts + other.parts
        joined.shape = self.shape
        return joined

    @property
    def ids(self) -> Array:
        """Ids (N,), in the order they were met."""
        return _joined([part.ids for part in self.parts])

    @property
    def rows(self) -> Array:
        """Rows (N, D), one an id."""
        return _joined([part.rows for part in self.parts])

    @property
    def met(self) -> Array:
        """Pairs each row took part in, (N,) float32."""
        return _joined(
            [
                np.ones(len(part.ids), np.float32) if part.met is None else part.met
                for part in self.parts
            ]
        )

    def coalesce(self) -> RowGrad:
        """Sum the rows of each id: unique ids in ascending order, in a fixed order of summation."""
        ids, rows, met = self.ids, self.rows, self.met
        order = np.argsort(ids, kind="stable")  # (N,)
        ordered = ids[order]  # (N,)
        starts = run_starts(ordered)  # (U,)
        summed = sum_runs(np.take(rows, order, axis=0, mode="clip"), starts)  # (U, D)
        total = np.add.reduceat(met[order], starts) if len(starts) else met  # (U,)
        return RowGrad(ordered[starts], summed, self.shape, total)

    def scaled(self, factor: float) -> RowGrad:
        """Return the gradient times a number; what was met stays."""
        return RowGrad(self.ids, self.rows * factor, self.shape, self.met)

    def dense(self) -> Array:
        """Return the whole table's gradient (V, D)."""
        rows = self.rows
        table = np.zeros(self.shape, rows.dtype)  # (V, D)
        np.add.at(table, self.ids, rows)
        return table


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def run_starts(ordered: Array) -> Array:
    """Return where each run of equal values starts, (U,) int64, in an ordered array (N,)."""
    if not len(ordered):
        return np.zeros(0, np.int64)
    new = np.empty(len(ordered), bool)  # (N,)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.flatnonzero(new)


def sum_runs(rows: Array, starts: Array) -> Array:
    """Sum runs of rows (N, D) that start at `starts` (U,), each of at least one row: (U, D)."""
    if not len(starts):
        return rows[:0]
    return np.add.reduceat(rows, starts, axis=0)
