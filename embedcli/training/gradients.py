"""The gradients of a group of batches, and their sum in parts that several processes can apply."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add
from typing import Protocol

import numpy as np

from embedcli.autodiff.rows import RowGrad, pack, run_starts, sum_keyed_rows, unpack
from embedcli.autodiff.tensor import Array, Gradient, Tensor
from embedcli.config import TrainSettings
from embedcli.nn.optimizers import clip_by_norm
from embedcli.parallel import shared_array


class LocalGradients:
    """The gradients of one batch by parameter, in the memory of this process.

    It is filled by a task (see `tasks.Gradients`), and is itself the accumulator of a group of
    one batch.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._by_kernel: set[str] = set()
        self.by_name: dict[str, Gradient] = {}

    def rows(self, name: str, ids: Array) -> RowGrad:
        """Return the gradient of a table for rows of ids (N,); the caller fills it."""
        table = self._parameters[name].data
        rows = self._empty_rows(name, len(ids))
        curvature = np.empty(len(ids), table.dtype)  # (N,)
        gradient = RowGrad(ids, rows, table.shape, curvature)
        self._by_kernel.add(name)
        self.by_name[name] = gradient
        return gradient

    def _empty_rows(self, name: str, count: int) -> Array:
        table = self._parameters[name].data
        return np.empty((count, *table.shape[1:]), table.dtype)

    def put(self, name: str, gradient: Gradient) -> None:
        """Take a gradient as it is."""
        self.by_name[name] = gradient

    def finite(self) -> bool:
        """Whether all numbers are finite, and small enough that their squares are.

        A kernel's curvature is not finite where one of the rows it multiplied is not, so that the
        rows of its gradient need not be read again.
        """
        for name, gradient in self.by_name.items():
            numbers = gradient
            if isinstance(gradient, RowGrad):
                numbers = gradient.curvature if name in self._by_kernel else gradient.rows
            if not math.isfinite(np.vdot(numbers, numbers)):  # type: ignore[arg-type]
                return False
        return True

    def close(self) -> None:
        """Say that the batch has no more gradients."""

    def batch(self, number: int) -> LocalGradients:
        """Return the gradients of a batch, none of them yet."""
        del number
        self.by_name = {}
        return self

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield the gradient of a parameter, its rows coalesced."""
        del batches, part
        gradient = self.by_name.get(name)
        if gradient is not None:
            yield gradient.coalesce() if isinstance(gradient, RowGrad) else gradient


class Accumulator(Protocol):
    """The gradients of the batches of a group.

    Sums are taken in the order of the batches, of the rows of a table in the order of a batch's
    rows; so they are the same to the last bit for any number of processes.
    """

    def batch(self, number: int) -> LocalGradients:
        """Return the gradients of a batch, to be filled and closed."""

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield the sum over so many batches, or a part of it: of a table some rows at a time."""


class SharedGradients:
    """Gradients in memory that all processes forked later share.

    `tables` maps the parameters whose gradients are rows to the largest number of distinct ones
    in a batch. The sums for a table come in `parts`, each for a range of ids; others whole.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        tables: Mapping[str, int],
        batches: int,
        parts: int,
    ) -> None:
        self.parameters = parameters
        self._parts = parts
        self._number = {name: number for number, name in enumerate(parameters)}
        # Rows of the gradient of each parameter in each batch; -1 where there is no gradient.
        self._sizes = shared_array((len(parameters), batches), np.int64)
        self.values: dict[str, Array] = {}  # (batches, most, D), or (batches, *shape)
        self.curvature: dict[str, Array] = {}  # (batches, most)
        self.keys: dict[str, Array] = {}  # (batches, most) ids, and the indices of their rows
        most = most_rows(parameters, tables)
        for name, tensor in parameters.items():
            shape = tensor.shape
            if name in tables:
                shape = (most[name], *shape[1:])
                self.keys[name] = shared_array((batches, most[name]), np.int64)
                self.curvature[name] = shared_array((batches, most[name]), np.float32)
            self.values[name] = shared_array((batches, *shape), tensor.dtype)

    def batch(self, number: int) -> LocalGradients:
        """Return the gradients of a batch; rows that fit are written to shared memory at once."""
        return _SharedBatch(self, number)

    def store(self, number: int, gradients: Mapping[str, Gradient], in_place: set[str]) -> None:
        """Copy a batch's gradients to shared memory, but for rows that are `in_place` there."""
        self._sizes[:, number] = -1
        for name, gradient in gradients.items():
            size = 0
            if isinstance(gradient, RowGrad):
                keys, rows = self.keys[name][number], self.values[name][number]
                if len(gradient.ids) > len(keys):  # ids that repeat: there are not as many rows
                    gradient = gradient.coalesce()
                size = len(gradient.ids)
                keys[:size] = pack(gradient.ids, number * len(keys))
                keys[:size].sort()
                self.curvature[name][number, :size] = gradient.curvature
                if name not in in_place:
                    rows[:size] = gradient.rows
            else:
                self.values[name][number] = gradient
            self._sizes[self._number[name], number] = size

    def sums(self, name: str, batches: int, part: int) -> Iterator[Gradient]:
        """Yield a part of the sum of the gradients of a parameter."""
        sizes = self._sizes[self._number[name], :batches].tolist()
        values = self.values[name]
        if name not in self.keys:
            if max(sizes) >= 0:
                yield reduce(add, [values[number] for number, n in enumerate(sizes) if n >= 0])
            return
        filled = [self.keys[name][number, : max(size, 0)] for number, size in enumerate(sizes)]
        # 1. Cut the ids such that each part has its share of the distinct ones of the first batch.
        ids, _ = unpack(filled[0] if len(filled[0]) else np.zeros(1, np.int64))
        ids = ids[run_starts(ids)]
        inner = [ids[len(ids) * n // self._parts] << 32 for n in range(1, self._parts)]
        bounds = [0, *inner, np.iinfo(np.int64).max][part : part + 2]
        # 2. Sort this part's keys of all batches: by id, then by batch and row.
        cuts = [np.searchsorted(keys, bounds) for keys in filled]
        keys = np.concatenate([k[low:high] for k, (low, high) in zip(filled, cuts, strict=True)])
        keys.sort()
        # 3. Sum the rows of each id.
        yield from sum_keyed_rows(
            keys,
            values.reshape(-1, *values.shape[2:]),  # (batches · most, D)
            self.curvature[name].reshape(-1),
            self.parameters[name].shape,
        )


class _SharedBatch(LocalGradients):
    """The gradients of a batch whose rows a kernel may write to shared memory directly."""

    def __init__(self, shared: SharedGradients, number: int) -> None:
        super().__init__(shared.parameters)
        self._shared = shared
        self._batch = number
        self._in_place: set[str] = set()

    def _empty_rows(self, name: str, count: int) -> Array:
        room: Array = self._shared.values[name][self._batch]
        if count > len(room):
            return super()._empty_rows(name, count)
        self._in_place.add(name)
        return room[:count]

    def close(self) -> None:
        self._shared.store(self._batch, self.by_name, self._in_place)


def most_rows(parameters: Mapping[str, Tensor], tables: Mapping[str, int]) -> dict[str, int]:
    """Return the largest number of distinct rows of each table in a batch."""
    return {name: min(tables[name], len(parameters[name])) for name in tables if name in parameters}


def settled(
    raw: Mapping[str, Gradient], settings: TrainSettings, frozen: Mapping[str, Array]
) -> dict[str, Gradient]:
    """Return gradients as the optimizer gets them, by parameter.

    The rows of each id are summed, frozen rows (masks (V,)) left out, and all scaled down together
    where the settings limit their norm.
    """
    ready = {name: without_frozen(each, frozen.get(name)) for name, each in raw.items()}
    if settings.clip_norm is None:
        return ready
    clipped = clip_by_norm(list(ready.values()), settings.clip_norm)
    return dict(zip(ready, clipped, strict=True))


def without_frozen(gradient: Gradient, frozen: Array | None) -> Gradient:
    """Sum the rows of each id, and leave out frozen rows."""
    if not isinstance(gradient, RowGrad):
        return gradient
    gradient = gradient.coalesce()
    if frozen is None:
        return gradient
    return gradient.take(~frozen[gradient.ids])
