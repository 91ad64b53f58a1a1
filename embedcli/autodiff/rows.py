"""The gradient of a gather: ids and rows, never a dense table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LONG_RUN = 32  # rows; a product with ones then takes less time than its share of the rounds


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

    __slots__ = ("coalesced", "parts", "shape")

    def __init__(
        self, ids: Array, rows: Array, shape: tuple[int, ...], met: Array | None = None
    ) -> None:
        self.parts: tuple[Part, ...] = (Part(ids, rows, met),)
        self.shape = shape
        self.coalesced = False

    def __add__(self, other: RowGrad) -> RowGrad:
        if self.shape != other.shape:
            raise ValueError(f"row gradients of tables of shapes {self.shape} and {other.shape}")
        joined = object.__new__(RowGrad)
        joined.parts = self.parts + other.parts
        joined.shape = self.shape
        joined.coalesced = False
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
        if self.coalesced or self._ascending():
            return self
        return sum_rows(self.ids, self.rows, self.met, self.shape)

    def _ascending(self) -> bool:
        """Whether the ids are distinct and in order as they are, as those of a count matrix."""
        self.coalesced = bool((np.diff(self.ids) > 0).all())
        return self.coalesced

    def scaled(self, factor: float) -> RowGrad:
        """Return the gradient times a number; what was met stays."""
        result = RowGrad(self.ids, self.rows * factor, self.shape, self.met)
        result.coalesced = self.coalesced
        return result

    def dense(self) -> Array:
        """Return the whole table's gradient (V, D)."""
        rows = self.rows
        table = np.zeros(self.shape, rows.dtype)  # (V, D)
        np.add.at(table, self.ids, rows)
        return table


def sum_rows(
    ids: Array, rows: Array, met: Array, shape: tuple[int, ...], places: Array | None = None
) -> RowGrad:
    """Sum the rows (N, D), and what was met (N,), of each id (N,), of all or of some places."""
    ordered, order = sort_ids(ids if places is None else ids[places])
    if places is not None:
        order = places[order]
    starts = run_starts(ordered)  # (U,)
    total = sum_runs(rows, starts, order)  # (U, D)
    total_met = np.add.reduceat(met[order], starts) if len(starts) else met[:0]  # (U,)
    result = RowGrad(ordered[starts], total, shape, total_met)
    result.coalesced = True
    return result


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def sort_ids(ids: Array) -> tuple[Array, Array]:
    """Return ids (N,) in ascending order, and where each stood, earlier ones first, as int64."""
    # Id and place packed in one number each: a plain sort, vectorized by NumPy, then takes a
    # sixth of the time of a stable argsort, and equal ids still keep their order.
    packed = ids.astype(np.int64)  # (N,)
    packed <<= 32
    packed |= np.arange(len(packed))
    packed.sort()
    return packed >> 32, packed & 0xFFFFFFFF


def run_starts(ordered: Array) -> Array:
    """Return where each run of equal values starts, (U,) int64, in an ordered array (N,)."""
    new = np.ones(len(ordered), bool)  # (N,)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.flatnonzero(new)


def sum_runs(rows: Array, starts: Array, order: Array | None = None) -> Array:
    """Sum runs of rows (N, D) that start at `starts` (U,), each of at least one row: (U, D).

    With `order` (M,) the runs are those of `rows[order]`, which is never made. A long run is
    summed by itself, as a product with ones; of the short ones all the second rows are added at
    once, then all the third, and so on. How a run is summed depends on that run alone.
    """
    size = len(rows) if order is None else len(order)
    lengths = np.diff(starts, append=size)  # (U,)
    result = _pick(rows, order, starts)  # (U, D)
    for run in np.flatnonzero(lengths > LONG_RUN).tolist():
        places = slice(starts[run], starts[run] + lengths[run])
        block = rows[places] if order is None else np.take(rows, order[places], axis=0)
        result[run] = np.dot(np.ones(len(block), rows.dtype), block)
    short = np.flatnonzero((lengths > 1) & (lengths <= LONG_RUN))
    if len(short):
        short = short[np.argsort(-lengths[short], kind="stable")]  # longest first
        _add_by_rank(result, rows, order, starts, short, lengths[short])
    return result


def _add_by_rank(
    result: Array, rows: Array, order: Array | None, starts: Array, runs: Array, lengths: Array
) -> None:
    """Add to the first row of each run, in `result`, its others; the longest run comes first."""
    total = np.take(result, runs, axis=0)  # (U', D)
    firsts = starts[runs]
    reach = np.searchsorted(-lengths, -np.arange(1, lengths[0]))  # runs that go on at each rank
    for rank, count in enumerate(reach.tolist(), start=1):
        total[:count] += _pick(rows, order, firsts[:count] + rank)
    result[runs] = total


def _pick(rows: Array, order: Array | None, places: Array) -> Array:
    return np.take(rows, places if order is None else order[places], axis=0)
