"""The gradients of several batches, and their sum, in parts that several processes can apply."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Protocol

import numpy as np

from embedcli.autodiff.rows import RowGrad, sum_rows
from embedcli.autodiff.tensor import Array, Gradient, Tensor
from embedcli.workers import shared_array


class Accumulator(Protocol):
    """Gradients of the batches of a group, by batch and parameter.

    Sums are taken in the order of the batches, of the rows of a table in the order of a batch's
    rows; so they are the same to the last bit however many processes share the work.
    """

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Keep the gradients of a batch."""

    def total(self, name: str, batches: int, part: int) -> Gradient | None:
        """Return a part of the sum over so many batches, rows coalesced; None is no gradient."""


def rows_at_most(parameters: Mapping[str, Tensor], tables: Mapping[str, int]) -> dict[str, int]:
    """Return how many distinct rows of each table a batch can meet."""
    return {name: min(tables[name], len(parameters[name])) for name in tables if name in parameters}


def fitted(gradient: RowGrad, most: int) -> RowGrad:
    """Sum the rows of each id where there are more rows than the distinct ones can be."""
    rows = sum(len(part.ids) for part in gradient.parts)
    return gradient.coalesce() if rows > most else gradient


class OwnAccumulator:
    """Keeps what one process works out for itself."""

    def __init__(
        self, parameters: Mapping[str, Tensor], tables: Mapping[str, int], batches: int
    ) -> None:
        self._most = rows_at_most(parameters, tables)
        self._given: list[Mapping[str, Gradient]] = [{}] * batches

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Keep the gradients of a batch."""
        self._given[batch] = {
            name: fitted(each, self._most[name]) if isinstance(each, RowGrad) else each
            for name, each in gradients.items()
        }

    def total(self, name: str, batches: int, part: int) -> Gradient | None:
        """Return the sum, which is its only part."""
        del part
        given = [each[name] for each in self._given[:batches] if name in each]
        if not given:
            return None
        total: Gradient = reduce(add, given)
        return total.coalesce() if isinstance(total, RowGrad) else total


class SharedAccumulator:
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
        self._number = {name: number for number, name in enumerate(parameters)}
        self._shape = {name: tensor.shape for name, tensor in parameters.items()}
        # Rows that each batch has put for each parameter; -1 where it has no gradient.
        self._sizes = shared_array((len(parameters), batches), np.int64)
        self._rows: dict[str, Array] = {}
        self._ids: dict[str, Array] = {}
        self._met: dict[str, Array] = {}
        self._most = rows_at_most(parameters, tables)
        for name, tensor in parameters.items():
            shape = tensor.shape
            if name in tables:
                most = self._most[name]
                shape = (most, *shape[1:])
                self._ids[name] = shared_array((batches, most), np.int32)
                self._met[name] = shared_array((batches, most), np.float32)
            self._rows[name] = shared_array((batches, *shape), tensor.dtype)

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

    def total(self, name: str, batches: int, part: int) -> Gradient | None:
        """Return a part of the sum."""
        sizes = self._sizes[self._number[name], :batches].tolist()
        if name in self._ids:
            return self._total_rows(name, sizes, part)
        given = [self._rows[name][batch] for batch, size in enumerate(sizes) if size >= 0]
        return reduce(add, given) if given else None

    def _put_rows(self, name: str, batch: int, gradient: RowGrad) -> int:
        ids, rows, met = (each[name][batch] for each in (self._ids, self._rows, self._met))
        gradient = fitted(gradient, len(ids))
        first = 0
        for part in gradient.parts:
            last = first + len(part.ids)
            ids[first:last] = part.ids
            rows[first:last] = part.rows
            met[first:last] = 1 if part.met is None else part.met
            first = last
        return first

    def _total_rows(self, name: str, sizes: list[int], part: int) -> RowGrad | None:
        if max(sizes) < 0:
            return None
        ids, rows, met = self._ids[name], self._rows[name], self._met[name]
        most = ids.shape[1]
        filled = [np.arange(max(size, 0)) + batch * most for batch, size in enumerate(sizes)]
        places = np.concatenate(filled)  # (N,)
        wanted = ids.reshape(-1)[places]  # (N,)
        low, high = self._id_range(wanted[: len(filled[0])], part)
        places = places[(wanted >= low) & (wanted < high)]
        flat = rows.reshape(-1, *rows.shape[2:])  # (batches · most, D)
        return sum_rows(ids.reshape(-1), flat, met.reshape(-1), self._shape[name], places)

    def _id_range(self, ids: Array, part: int) -> tuple[float, float]:
        """Cut the ids into ranges such that each holds its share of those of one batch."""
        if not len(ids):
            return (-np.inf, np.inf) if part == 0 else (np.inf, np.inf)
        ordered = np.sort(ids)  # (N,)
        inner = [ordered[len(ids) * n // self._parts] for n in range(1, self._parts)]
        bounds = [-np.inf, *inner, np.inf]
        return bounds[part], bounds[part + 1]
