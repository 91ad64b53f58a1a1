"""The gradients of several batches, and their sum, dealt to the processes that apply it."""

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

    def total(self, name: str, batches: int, worker: int) -> Gradient | None:
        """Return a worker's part of the sum over so many batches, rows coalesced; None is none."""


class OwnAccumulator:
    """Keeps what one process works out for itself."""

    def __init__(self, batches: int) -> None:
        self._given: list[Mapping[str, Gradient]] = [{}] * batches

    def put(self, batch: int, gradients: Mapping[str, Gradient]) -> None:
        """Keep the gradients of a batch."""
        self._given[batch] = gradients

    def total(self, name: str, batches: int, worker: int) -> Gradient | None:
        """Return the sum; all of it is this worker's."""
        del worker
        given = [each[name] for each in self._given[:batches] if name in each]
        if not given:
            return None
        total: Gradient = reduce(add, given)
        return total.coalesce() if isinstance(total, RowGrad) else total


class SharedAccumulator:
    """Keeps gradients where all processes forked later see them.

    `tables` names the parameters whose gradients are rows, and how many distinct ones a batch
    meets at most. Each worker gets the rows of some range of ids, and some of the dense gradients.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        tables: Mapping[str, int],
        batches: int,
        workers: int,
    ) -> None:
        self._workers = workers
        self._number = {name: number for number, name in enumerate(parameters)}
        self._shape = {name: tensor.shape for name, tensor in parameters.items()}
        # Rows that each batch has put for each parameter; -1 where it has no gradient.
        self._sizes = shared_array((len(parameters), batches), np.int64)
        self._rows: dict[str, Array] = {}
        self._ids: dict[str, Array] = {}
        self._met: dict[str, Array] = {}
        for name, tensor in parameters.items():
            shape = tensor.shape
            if name in tables:
                most = min(tables[name], shape[0])
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

    def total(self, name: str, batches: int, worker: int) -> Gradient | None:
        """Return a worker's part of the sum."""
        sizes = self._sizes[self._number[name], :batches].tolist()
        if name in self._ids:
            return self._total_rows(name, sizes, worker)
        if self._number[name] % self._workers != worker:
            return None
        given = [self._rows[name][batch] for batch, size in enumerate(sizes) if size >= 0]
        return reduce(add, given) if given else None

    def _put_rows(self, name: str, batch: int, gradient: RowGrad) -> int:
        ids, rows, met = (each[name][batch] for each in (self._ids, self._rows, self._met))
        if sum(len(part.ids) for part in gradient.parts) > len(ids):
            gradient = gradient.coalesce()
        first = 0
        for part in gradient.parts:
            last = first + len(part.ids)
            ids[first:last] = part.ids
            rows[first:last] = part.rows
            met[first:last] = 1 if part.met is None else part.met
            first = last
        return first

    def _total_rows(self, name: str, sizes: list[int], worker: int) -> RowGrad | None:
        if max(sizes) < 0:
            return None
        ids, rows, met = self._ids[name], self._rows[name], self._met[name]
        most = ids.shape[1]
        filled = [np.arange(max(size, 0)) + batch * most for batch, size in enumerate(sizes)]
        places = np.concatenate(filled)  # (N,)
        wanted = ids.reshape(-1)[places]  # (N,)
        low, high = self._id_range(wanted[: len(filled[0])], worker)
        places = places[(wanted >= low) & (wanted < high)]
        flat = rows.reshape(-1, *rows.shape[2:])  # (batches · most, D)
        return sum_rows(ids.reshape(-1), flat, met.reshape(-1), self._shape[name], places)

    def _id_range(self, ids: Array, worker: int) -> tuple[float, float]:
        """Deal the ids to the workers so that each gets its share of those of one batch."""
        ordered = np.sort(ids)
        bounds: list[float] = [-np.inf]
        bounds += [
            ordered[len(ids) * n // self._workers] for n in range(1, self._workers) if len(ids)
        ]
        bounds += [np.inf] * (self._workers + 1 - len(bounds))
        return bounds[worker], bounds[worker + 1]
