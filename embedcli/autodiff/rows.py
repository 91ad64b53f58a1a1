"""The gradient of a table that was looked up: ids and rows, never a dense table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LONG_RUN = 64  # rows; a product with ones then takes less time than adding row by row
RUNS_AT_ONCE = 1024  # sums of 100 numbers each then fit the cache of one core


class RowGrad:
    """Gradient of a table (V, D) as ids (N,) and rows (N, D); an id may occur several times.

    `curvature` (N,) bounds the curvature of the loss along each row, up to a constant factor, so
    that an optimizer may damp a step by it; without it every row counts 1. A row whose curvature
    is 0 only fills up a batch.

    >>> gradient = RowGrad(np.array([2, 0, 2]), np.float32([[1, 1], [5, 5], [3, 3]]), (4, 2))
    >>> gradient.coalesce().rows.tolist()
    [[5.0, 5.0], [4.0, 4.0]]
    """

    __slots__ = ("coalesced", "curvature", "ids", "rows", "shape")

    def __init__(
        self,
        ids: Array,
        rows: Array,
        shape: tuple[int, ...],
        curvature: Array | None = None,
        *,
        coalesced: bool = False,
    ) -> None:
        self.ids = ids
        self.rows = rows
        self.shape = shape
        self.curvature = np.ones(len(ids), np.float32) if curvature is None else curvature
        self.coalesced = coalesced  # ids are distinct and ascending

    def __add__(self, other: RowGrad) -> RowGrad:
        if self.shape != other.shape:
            raise ValueError(f"row gradients of tables of shapes {self.shape} and {other.shape}")
        pairs = (self.ids, other.ids), (self.rows, other.rows), (self.curvature, other.curvature)
        ids, rows, curvature = map(np.concatenate, pairs)
        return RowGrad(ids, rows, self.shape, curvature)

    def coalesce(self) -> RowGrad:
        """Sum the rows of each id, in a fixed order; the ids are then distinct and ascending."""
        if not self.coalesced and not (np.diff(self.ids) > 0).all():
            ids, order = unpack(np.sort(pack(self.ids)))
            starts = run_starts(ids)  # (U,)
            rows = sum_runs(self.rows, starts, order)  # (U, D)
            curvature = np.add.reduceat(self.curvature[order], starts)  # (U,)
            return RowGrad(ids[starts], rows, self.shape, curvature, coalesced=True)
        self.coalesced = True
        return self

    def take(self, kept: Array) -> RowGrad:
        """Return some of the rows, by a mask (N,)."""
        return RowGrad(
            self.ids[kept],
            self.rows[kept],
            self.shape,
            self.curvature[kept],
            coalesced=self.coalesced,
        )

    def scaled(self, factor: float) -> RowGrad:
        """Return the gradient times a number; the curvature is unchanged."""
        return RowGrad(
            self.ids, self.rows * factor, self.shape, self.curvature, coalesced=self.coalesced
        )

    def dense(self) -> Array:
        """Return the whole table's gradient (V, D)."""
        table = np.zeros(self.shape, self.rows.dtype)  # (V, D)
        np.add.at(table, self.ids, self.rows)
        return table


def put_rows(table: Array, ids: Array, rows: Array) -> None:
    """Write rows (N, D) into a table (V, D), copying each row as one item."""
    item = np.dtype((np.void, table.itemsize * table.shape[1]))
    table.view(item)[:, 0][ids] = rows.view(item)[:, 0]


def pack(ids: Array, first: int = 0) -> Array:
    """Return each id and its index, from `first`, as one number: (N,) gives (N,) int64.

    A plain sort of these, vectorized by NumPy, takes a sixth of the time of a stable argsort of
    the ids, and equal ids still keep their order.
    """
    keys = ids.astype(np.int64)  # (N,)
    keys <<= 32
    keys |= np.arange(first, first + len(keys))
    return keys


def unpack(keys: Array) -> tuple[Array, Array]:
    """Return the ids and indices of keys, (N,) int64 each."""
    return keys >> 32, keys & 0xFFFFFFFF


def run_starts(ordered: Array) -> Array:
    """Return where each run of equal values starts, (U,) int64, in an ordered array (N,)."""
    new = np.ones(len(ordered), bool)  # (N,)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.flatnonzero(new)


def sum_keyed_rows(
    keys: Array, rows: Array, curvature: Array, shape: tuple[int, ...]
) -> Iterator[RowGrad]:
    """Sum the rows (N, D), and the curvature (N,), of each id; yield some ids at a time.

    `keys` (M,), in ascending order, are the ids of some rows and their indices, as `pack` makes
    them. Each yielded part is still in the cache when the optimizer applies it.
    """
    ids, order = unpack(keys)
    if not len(ids):
        return
    starts = run_starts(ids)  # (U,)
    total = np.add.reduceat(curvature[order], starts)  # (U,)
    for runs, sums in _sum_some_runs(rows, starts, order):
        yield RowGrad(ids[starts[runs]], sums, shape, total[runs], coalesced=True)


def sum_runs(rows: Array, starts: Array, order: Array | None = None) -> Array:
    """Sum runs of rows (N, D) that start at `starts` (U,), each of at least one row: (U, D).

    With `order` (M,) the runs are those of `rows[order]`, which is never made. How a run is summed
    depends on that run alone.
    """
    result = np.empty((len(starts), *rows.shape[1:]), rows.dtype)  # (U, D)
    for runs, sums in _sum_some_runs(rows, starts, order):
        result[runs] = sums
    return result


def _sum_some_runs(
    rows: Array, starts: Array, order: Array | None
) -> Iterator[tuple[Array, Array]]:
    """Yield the numbers (P,) of some runs and their sums (P, D), the longest runs first."""
    size = len(rows) if order is None else len(order)
    lengths = np.diff(starts, append=size)  # (U,)
    # Eight bits are enough to tell which runs are long, and NumPy sorts them by radix.
    longest = np.argsort(-np.minimum(lengths, LONG_RUN + 1).astype(np.int8), kind="stable")
    for first in range(0, len(starts), RUNS_AT_ONCE):
        runs = longest[first : first + RUNS_AT_ONCE]
        yield runs, _sum_longest_first(rows, order, starts[runs], lengths[runs])


def _sum_longest_first(rows: Array, order: Array | None, firsts: Array, lengths: Array) -> Array:
    """Sum runs given by their first indices and lengths, the longest first: (P, D)."""

    def pick(indices: Array) -> Array:
        return np.take(rows, indices if order is None else order[indices], axis=0)

    total = pick(firsts)  # (P, D)
    # 1. Each long run is a product with ones.
    long = int(np.count_nonzero(lengths > LONG_RUN))
    for run in range(long):
        block = pick(np.arange(firsts[run], firsts[run] + lengths[run]))
        total[run] = np.dot(np.ones(len(block), rows.dtype), block)
    # 2. Of the short runs all second rows are added at once, then all third rows, and so on.
    short, firsts, lengths = total[long:], firsts[long:], lengths[long:]
    if len(lengths):
        counts = np.searchsorted(-lengths, -np.arange(1, lengths[0]))  # runs longer than each rank
        for rank, count in enumerate(counts.tolist(), start=1):
            short[:count] += pick(firsts[:count] + rank)
    return total
