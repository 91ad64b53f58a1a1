"""The gradient of a gather: ids and rows, never a dense table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LONG_RUN = 32  # rows; a product with ones then takes less time than its share of the rounds
PIECE = 1024  # sums made at once: of 100 numbers each, they fit the cache of one core


class Part(NamedTuple):
    """What one gather adds to the gradient of its table."""

    ids: Array  # (N,)
    rows: Array  # (N, D)
    met: Array | None  # (N,); None is one each, anything else no finite number where rows are none


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

    @property
    def met_ids(self) -> Array:
        """Ids of the rows that took part in any pair; others only fill up a batch."""
        if all(part.met is None for part in self.parts):
            return self.ids
        return self.ids[self.met > 0]

    def coalesce(self) -> RowGrad:
        """Sum the rows of each id: unique ids in ascending order, in a fixed order of summation."""
        if self.coalesced or self._ascending():
            return self
        ids, order = unpacked(np.sort(packed(self.ids)))
        starts = run_starts(ids)  # (U,)
        total = sum_runs(self.rows, starts, order)  # (U, D)
        result = RowGrad(ids[starts], total, self.shape, _sum_met(self.met, starts, order))
        result.coalesced = True
        return result

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


Room = Callable[[Array, int], Array]  # a table, and how many rows of its gradient are wanted


def new_rows(table: Array, count: int) -> Array:
    """Make so many rows for a gradient of a table (V, D), to be filled: (count, D)."""
    return np.empty((count, *table.shape[1:]), table.dtype)


_room: ContextVar[Room] = ContextVar("room", default=new_rows)


@contextmanager
def laid_by(room: Room) -> Iterator[None]:
    """Within, `rows_for` returns what `room` does: memory where the rows are wanted later."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


def rows_for(table: Array, count: int) -> Array:
    """Return room for so many rows of a gradient of a table, as `new_rows` unless told other."""
    return _room.get()(table, count)


def put_rows(table: Array, ids: Array, rows: Array) -> None:
    """Write rows (N, D) into a table (V, D), each copied in one piece, not number by number."""
    piece = np.dtype((np.void, table.itemsize * table.shape[1]))
    table.view(piece)[:, 0][ids] = rows.view(piece)[:, 0]


def sum_rows(keys: Array, rows: Array, met: Array, shape: tuple[int, ...]) -> Iterator[RowGrad]:
    """Sum the rows (N, D), and what was met (N,), of each id; yield some ids at a time.

    `keys` (M,), in ascending order, are the ids of some rows and their places, as `packed` makes
    them. What is yielded still lies in the cache when the next step takes it up.
    """
    ids, order = unpacked(keys)
    starts = run_starts(ids)  # (U,)
    total_met = _sum_met(met, starts, order)
    for runs, total in _sum_pieces(rows, starts, order):
        piece = RowGrad(ids[starts[runs]], total, shape, total_met[runs])
        piece.coalesced = True
        yield piece


def _sum_met(met: Array, starts: Array, order: Array) -> Array:
    return np.add.reduceat(met[order], starts) if len(starts) else met[:0]  # (U,)


def packed(ids: Array, first: int = 0) -> Array:
    """Return each id and its place, from `first`, in one number: (N,) gives (N,) int64.

    A plain sort of these, vectorized by NumPy, takes a sixth of the time of a stable argsort of
    the ids, and equal ids still keep their order.
    """
    keys = ids.astype(np.int64)  # (N,)
    keys <<= 32
    keys |= np.arange(first, first + len(keys))
    return keys


def unpacked(keys: Array) -> tuple[Array, Array]:
    """Return the ids and places of keys, (N,) int64 each."""
    return keys >> 32, keys & 0xFFFFFFFF


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def run_starts(ordered: Array) -> Array:
    """Return where each run of equal values starts, (U,) int64, in an ordered array (N,)."""
    new = np.ones(len(ordered), bool)  # (N,)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.flatnonzero(new)


def sum_runs(rows: Array, starts: Array, order: Array | None = None) -> Array:
    """Sum runs of rows (N, D) that start at `starts` (U,), each of at least one row: (U, D).

    With `order` (M,) the runs are those of `rows[order]`, which is never made. How a run is summed
    depends on that run alone.
    """
    result = np.empty((len(starts), *rows.shape[1:]), rows.dtype)  # (U, D)
    for runs, total in _sum_pieces(rows, starts, order):
        result[runs] = total
    return result


def _sum_pieces(rows: Array, starts: Array, order: Array | None) -> Iterator[tuple[Array, Array]]:
    """Yield the numbers (P,) of some runs and their sums (P, D), the longest runs first."""
    size = len(rows) if order is None else len(order)
    lengths = np.diff(starts, append=size)  # (U,)
    # Eight bits tell which are long, and numbers so small are sorted by radix.
    longest = np.argsort(-np.minimum(lengths, LONG_RUN + 1).astype(np.int8), kind="stable")
    for first in range(0, len(starts), PIECE):
        runs = longest[first : first + PIECE]
        yield runs, _sum_longest_first(rows, order, starts[runs], lengths[runs])


def _sum_longest_first(rows: Array, order: Array | None, firsts: Array, lengths: Array) -> Array:
    """Sum runs by their first places and lengths: (P, D).

    A long run is summed by itself, as a product with ones; of the short ones all the second rows
    are added at once, then all the third, and so on.
    """
    total = _pick(rows, order, firsts)  # (P, D)
    long = np.count_nonzero(lengths > LONG_RUN)
    for run in range(long):
        places = slice(firsts[run], firsts[run] + lengths[run])
        block = rows[places] if order is None else np.take(rows, order[places], axis=0)
        total[run] = np.dot(np.ones(len(block), rows.dtype), block)
    total_of_short, firsts, lengths = total[long:], firsts[long:], lengths[long:]
    if len(lengths):
        reach = np.searchsorted(-lengths, -np.arange(1, lengths[0]))  # runs that go on at each rank
        for rank, count in enumerate(reach.tolist(), start=1):
            total_of_short[:count] += _pick(rows, order, firsts[:count] + rank)
    return total


def _pick(rows: Array, order: Array | None, places: Array) -> Array:
    return np.take(rows, places if order is None else order[places], axis=0)
