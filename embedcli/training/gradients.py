"""The gradients of several batches, and their sum, in parts that several processes can apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add
from typing import Protocol

import numpy as np

from embedcli.autodiff.rows import Room, RowGrad, new_rows, packed, run_starts, sum_rows, unpacked
from embedcli.autodiff.tensor import Array, Gradient, Tensor
from embedcli.parallel import shared_array


class Accumulator(Protocol):
    """Gradients of the batches of a group, by batch and parameter.

    Sums are taken in the order of the batches, of the rows of a table in the order of a batch's
    rows; so they are the same to the last bit however many processes share the work.
    """

    def room(self, batch: int) -> Room:
        """Return what lays rows of a batch's gradients, for `laid_by`."""

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Keep the gradients of a batch."""

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield the sum over so many batches, or a part of it: of a table some rows at a time."""


def rows_at_most(parameters: Mapping[str, Tensor], tables: Mapping[str, int]) -> dict[str, int]:
    """Return how many distinct rows of each table a batch can meet."""
    return {name: min(tables[name], len(parameters[name])) for name in tables if name in parameters}


class LoneBatch:
    """Keeps the gradients of the one batch that is a group by itself, for one process alone."""

    def __init__(self) -> None:
        self._given: Mapping[str, Gradient] = {}

    def room(self, batch: int) -> Room:
        """Return what makes rows anywhere."""
        del batch
        return new_rows

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Keep the gradients of the batch."""
        del batch
        self._given = gradients

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield the gradient as it is, rows coalesced."""
        del batches, part
        gradient = self._given.get(name)
        if gradient is not None:
            yield gradient.coalesce() if isinstance(gradient, RowGrad) else gradient


class Boxes:
    """Keeps gradients where all processes forked later see them.

    `tables` names the parameters whose gradients are rows, and how many distinct ones a batch
    meets at most. The sums for a table come in `parts`, each for a range of ids; others whole.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        tables: Mapping[str, int],
        batches: int,
        parts: int,
    ) -> None:
        self._parts = parts
        self._names = {id(parameters[name].data): name for name in tables if name in parameters}
        self._number = {name: number for number, name in enumerate(parameters)}
        self._shape = {name: tensor.shape for name, tensor in parameters.items()}
        # Rows that each batch has put for each parameter; -1 where it has no gradient.
        self._sizes = shared_array((len(parameters), batches), np.int64)
        self._rows: dict[str, Array] = {}
        self._keys: dict[str, Array] = {}  # ids, and the places of their rows among all boxes
        self._met: dict[str, Array] = {}
        most = rows_at_most(parameters, tables)
        for name, tensor in parameters.items():
            shape = tensor.shape
            if name in tables:
                shape = (most[name], *shape[1:])
                self._keys[name] = shared_array((batches, most[name]), np.int64)
                self._met[name] = shared_array((batches, most[name]), np.float32)
            self._rows[name] = shared_array((batches, *shape), tensor.dtype)

    def room(self, batch: int) -> Room:
        """Return what lays a batch's gradients where `put` would copy them, one of each table."""
        free = dict(self._names)

        def lay(table: Array, count: int) -> Array:
            name = free.pop(id(table), None)
            if name is None or count > self._keys[name].shape[1]:
                return new_rows(table, count)
            return self._rows[name][batch, :count]

        return lay

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Copy the gradients of a batch."""
        self._sizes[:, batch] = -1
        for name, gradient in gradients.items():
            if isinstance(gradient, RowGrad):
                size = self._put_rows(name, batch, gradient)
            else:
                size = 0
                self._rows[name][batch] = gradient
            self._sizes[self._number[name], batch] = size

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield a part of the sum."""
        sizes = self._sizes[self._number[name], :batches].tolist()
        if name in self._keys:
            yield from self._sum_rows(name, sizes, part)
        elif max(sizes) >= 0:
            rows = self._rows[name]
            yield reduce(add, [rows[batch] for batch, size in enumerate(sizes) if size >= 0])

    def _put_rows(self, name: str, batch: int, gradient: RowGrad) -> int:
        keys, rows, met = (each[name][batch] for each in (self._keys, self._rows, self._met))
        if sum(len(part.ids) for part in gradient.parts) > len(keys):
            gradient = gradient.coalesce()
        ids, given = gradient.ids, gradient.rows
        size = len(ids)
        keys[:size] = packed(ids, batch * len(keys))
        keys[:size].sort()
        met[:size] = gradient.met
        if not np.may_share_memory(given, rows):  # else they were made there
            rows[:size] = given
        return size

    def _sum_rows(self, name: str, sizes: list[int], part: int) -> Iterator[RowGrad]:
        boxes, rows, met = self._keys[name], self._rows[name], self._met[name]
        filled = [boxes[batch, : max(size, 0)] for batch, size in enumerate(sizes)]
        bounds = self._bounds(filled[0], part)
        cuts = [np.searchsorted(keys, bounds) for keys in filled]
        keys = np.concatenate([k[low:high] for k, (low, high) in zip(filled, cuts, strict=True)])
        keys.sort()
        flat = rows.reshape(-1, *rows.shape[2:])  # (batches · most, D)
        return sum_rows(keys, flat, met.reshape(-1), self._shape[name])

    def _bounds(self, keys: Array, part: int) -> tuple[int, int]:
        """Cut ids such that each part holds its share of those in one batch's sorted keys (N,)."""
        ids, _ = unpacked(keys if len(keys) else np.zeros(1, np.int64))
        ids = ids[run_starts(ids)]
        inner = [ids[len(ids) * n // self._parts] << 32 for n in range(1, self._parts)]
        bounds = [0, *inner, np.iinfo(np.int64).max]
        return bounds[part], bounds[part + 1]
