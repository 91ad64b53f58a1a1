"""Shards: parts of a text, trained independently for a round, after which changes are merged.

In a round each shard takes its next batches, beginning with the tables that all shards have in
common. Then the changes of each row are added in the order of the shards, each without its
projection on the sum so far, where that points the same way (Maleki et al. 2017, "Parallel
stochastic gradient descent with sound combiners"): the part of a change that other shards made
too is counted once; the rest is added in full. The optimizer's sums of squares, and counts, are
added.

Who trains a shard, and when, makes no difference to the result.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedcli.autodiff.rows import put_rows
from embedcli.autodiff.tensor import Array
from embedcli.config import TrainSettings, tokens_of
from embedcli.errors import ConfigError
from embedcli.parallel import shared_array

LONGEST_ROUND = 1_000_000  # tokens of a shard that `auto` chooses at most
ROWS_AT_ONCE = 1024  # whose changes fit the cache of one core

COUNTS = "trained"  # name of the array that counts the steps of each row of the table

Change = list[Array]  # of some rows: of the weights, and of each slot of the optimizer
Changes = dict[str, tuple[Array, Change]]  # ids (n,) and change, by parameter


@dataclass(frozen=True)
class Plan:
    """Which batches are trained in each round of an epoch.

    `batches` are cut into as many stretches as there are `shards`; a round takes the next `length`
    batches of each, and a step the gradients of a `group` of them. With one shard
    a round is a step. Groups are `growth` times as large at the end of an epoch.

    >>> [len(*Plan(20, group=2, growth=3).turn(number, 0)) for number in range(6)]
    [2, 2, 3, 3, 4, 6]
    """

    batches: int
    group: int
    shards: int = 1
    length: int = 0
    growth: float = 1.0

    @classmethod
    def of(cls, batches: int, tokens: int, settings: TrainSettings) -> Plan:
        """Return the plan of a run on so many tokens.

        Raises ConfigError where there are too few batches or rounds for the shards.
        """
        shards, epochs = settings.shards, settings.epochs
        if shards == 1:
            return cls(batches, settings.group, growth=settings.group_growth)
        per_batch = tokens / batches
        if settings.round == "auto":
            length = batches * epochs // (recommended_rounds(shards) * shards)
            length = min(length, int(LONGEST_ROUND / per_batch))
        else:
            length = round(tokens_of(settings.round) / per_batch)
        plan = cls(batches, settings.group, shards, max(length, 1), settings.group_growth)
        fewest = recommended_rounds(shards) // 2
        if shards > batches or plan.rounds * epochs < fewest:
            longest = batches // shards // -(-fewest // epochs)
            hints = [f"--round {int(longest * per_batch)}"] if longest else []
            if settings.round == "auto":
                fitting = [
                    each
                    for each in range(2, shards)
                    if batches // each * epochs >= recommended_rounds(each) // 2
                ]
                hints += [f"--shards {fitting[-1]}" if fitting else "leave out --shards"]
            else:
                hints += ["leave out --shards and --round"]
            raise ConfigError(
                f"shards: {shards} shards of {tokens // shards:,} words have "
                f"{plan.rounds * epochs:,} rounds of {int(plan.length * per_batch):,} words in "
                f"{epochs} epochs; expected {fewest} or more, as their tables drift apart",
                ", or ".join(hints),
            )
        return plan

    @property
    def rounds(self) -> int:
        """Rounds of an epoch."""
        if self.shards == 1:
            return len(self._starts) - 1
        longest = -(-self.batches // (self.shards * self.length))
        return max(min(longest, self.batches // self.shards), 1)

    def turn(self, number: int, shard: int) -> list[range]:
        """Return the batches of a shard in a round, by group."""
        if self.shards == 1:
            return [range(*self._starts[number : number + 2])]
        turn = _cut(_cut(range(self.batches), self.shards, shard), self.rounds, number)
        groups = -(-len(turn) // self._size(turn.start))
        return [_cut(turn, groups, each) for each in range(groups)]

    def step(self, batch: int) -> int:
        """Return the step of an epoch, from 1, whose group begins with a batch, of an only shard.

        Of several shards no optimizer reads it: those that do are refused.
        """
        return bisect_right(self._starts, batch)

    @cached_property
    def _starts(self) -> list[int]:
        """The first batch of each group of an only shard, and the number of batches."""
        starts = [0]
        while starts[-1] < self.batches:
            starts.append(min(starts[-1] + self._size(starts[-1]), self.batches))
        return starts

    def _size(self, batch: int) -> int:
        """Return how many batches a group has that begins with one."""
        return round(self.group * (1 + (self.growth - 1) * self.progress(batch)))

    def progress(self, batch: int) -> float:
        """Return which share of its shard's epoch is over before a batch."""
        shard = ((batch + 1) * self.shards - 1) // self.batches
        mine = _cut(range(self.batches), self.shards, shard)
        return (batch - mine.start) / len(mine)


def recommended_rounds(shards: int) -> int:
    """Return how many rounds are enough that several shards learn what one would.

    With 100 rounds of 4 shards, or 200 of 8, the correlations of docs/benchmarks.md were lower by
    .007 than with one shard; with 100 rounds of 8 shards by .013.
    """
    return max(100, 25 * shards)


def _cut(whole: range, parts: int, part: int) -> range:
    """Return one of so many parts of a range, of almost the same length."""
    start, size = whole.start, len(whole)
    return range(start + size * part // parts, start + size * (part + 1) // parts)


class _Rows:
    """An array that is merged by rows: as it is now, as all shards have it, and the changes."""

    def __init__(self, array: Array, *, combined: bool) -> None:
        shape = (len(array), -1) if array.ndim > 1 or array.dtype == np.int64 else (1, -1)
        self.now = array.reshape(shape)  # (R, D), a view
        self.combined = combined  # else added
        self.common = shared_array(self.now.shape, array.dtype)
        self.common[...] = self.now
        self.total = shared_array(self.now.shape, array.dtype)


class Merger:
    """Merges what the shards of a round changed, in memory that processes forked later share.

    `arrays` are the parameters that are trained, each with the slots of its optimizer; "trained"
    counts steps. Work is done in `parts` of each of them.
    """

    def __init__(self, arrays: Mapping[str, Sequence[Array]], dtype: str, parts: int) -> None:
        self._dtype = np.dtype(dtype)
        self._parts = parts
        self._rows = {
            name: [_Rows(array, combined=number == 0 and name != COUNTS) for number, array in each]
            for name, each in ((name, enumerate(every)) for name, every in arrays.items())
        }
        sizes = {name: len(each[0].now) for name, each in self._rows.items()}
        self._touched = {name: shared_array((size,), np.bool_) for name, size in sizes.items()}
        self._changed = {name: shared_array((size,), np.bool_) for name, size in sizes.items()}
        self.tasks = [(name, part) for name in self._rows for part in range(parts)]

    def mark(self, name: str, ids: Array | slice) -> None:
        """Say that a shard changed some rows."""
        self._touched[name][ids] = True

    def end_turn(self, task: int) -> None:
        """Add a part of the shard's changes to the sum, and reset the rows to the common table.

        Counts of steps are not reset, as no shard reads them.
        """
        name, part = self.tasks[task]
        if name == COUNTS:
            return
        for ids in self._marked(name, part):
            self.fold(name, ids, self.change(name, ids))

    def end_round(self, task: int) -> None:
        """Apply a part of the merged changes."""
        name, part = self.tasks[task]
        if name == COUNTS:
            bounds, counts = self._bounds(name, part), self._rows[name][0]
            counts.common[bounds] = counts.now[bounds]
            self._touched[name][bounds] = False
            return
        for ids in self._folded(name, part):
            self.accept(name, ids, self.merged(name, ids))

    def change(self, name: str, ids: Array) -> Change:
        """Return how rows (n,) were changed, and take that back."""
        found = []
        for rows in self._rows[name]:
            common = np.take(rows.common, ids, axis=0)  # (n, D)
            change = np.take(rows.now, ids, axis=0)  # (n, D)
            change -= common
            found.append(self._sent(rows, change))
            put_rows(rows.now, ids, common)
        return found

    def fold(self, name: str, ids: Array, change: Change) -> None:
        """Add a shard's change of rows (n,) to those of the shards before."""
        known = self._changed[name][ids]  # (n,)
        if known.any() and not known.all():
            for some in (known, ~known):
                self.fold(name, ids[some], [each[some] for each in change])
            return
        for rows, new in zip(self._rows[name], change, strict=True):
            total = new.astype(rows.total.dtype, copy=False)  # (n, D)
            if known.any():
                total = np.take(rows.total, ids, axis=0)
                if rows.combined:
                    along = np.einsum("nd,nd->n", new, total)
                    square = np.einsum("nd,nd->n", total, total)
                    share = np.maximum(along, 0) / np.where(square > 0, square, 1)
                    total *= (1 - share)[:, None]
                total += new
            put_rows(rows.total, ids, total)
        self._changed[name][ids] = True

    def merged(self, name: str, ids: Array) -> Change:
        """Return the merged change of rows (n,)."""
        return [self._sent(rows, np.take(rows.total, ids, axis=0)) for rows in self._rows[name]]

    def accept(self, name: str, ids: Array, change: Change) -> None:
        """Apply the merged change of rows (n,)."""
        for rows, total in zip(self._rows[name], change, strict=True):
            common = np.take(rows.common, ids, axis=0) + total  # (n, D)
            put_rows(rows.now, ids, common)
            put_rows(rows.common, ids, common)

    def take_changes(self, parts: int) -> list[Changes]:
        """Return what a shard changed, in parts by the ids of the rows, and take it back."""
        found: list[Changes] = [{} for _ in range(parts)]
        for name, marks in self._touched.items():
            ids = np.flatnonzero(marks)
            marks[:] = False
            for part in range(parts):
                mine = ids[ids % parts == part]
                found[part][name] = mine, self.change(name, mine)
        return found

    def merge(self, shards: Sequence[Changes]) -> Changes:
        """Merge one part of what all shards changed, given in their order."""
        for changes in shards:
            for name, (ids, change) in changes.items():
                for rows in _blocks(np.arange(len(ids))):
                    self.fold(name, ids[rows], [each[rows] for each in change])
        merged = {}
        for name, marks in self._changed.items():
            ids = np.flatnonzero(marks)
            marks[:] = False
            merged[name] = ids, self.merged(name, ids)
        return merged

    def apply(self, merged: Changes) -> None:
        """Apply one part of what was merged."""
        for name, (ids, change) in merged.items():
            for rows in _blocks(np.arange(len(ids))):
                self.accept(name, ids[rows], [each[rows] for each in change])

    def adopt(self) -> None:
        """Take the arrays as they are now for what all shards have in common."""
        for every in self._rows.values():
            for rows in every:
                rows.common[...] = rows.now
        self.restore()

    def restore(self) -> None:
        """Take back all changes of a round that is not over."""
        for name, every in self._rows.items():
            self._touched[name][:] = self._changed[name][:] = False
            for rows in every:
                rows.now[...] = rows.common

    def _sent(self, rows: _Rows, change: Array) -> Array:
        """Return a change with the precision in which machines exchange it.

        Those of the optimizer's sums stay as they are: small squares would be 0 in half precision,
        large ones infinite.
        """
        return change.astype(self._dtype, copy=False) if rows.combined else change

    def _marked(self, name: str, part: int) -> Iterator[Array]:
        """Yield the ids (n,) of a part's rows that the shard changed, and remove their marks.

        First come those that no shard before has changed.
        """
        bounds = self._bounds(name, part)
        touched, changed = self._touched[name][bounds], self._changed[name][bounds]
        found = [np.flatnonzero(touched & ~changed), np.flatnonzero(touched & changed)]
        touched[:] = False
        for ids in found:
            yield from _blocks(bounds.start + ids)

    def _folded(self, name: str, part: int) -> Iterator[Array]:
        """Yield the ids (n,) of a part's rows that any shard changed, and remove their marks."""
        bounds = self._bounds(name, part)
        ids = np.flatnonzero(self._changed[name][bounds])
        self._changed[name][bounds] = False
        yield from _blocks(bounds.start + ids)

    def _bounds(self, name: str, part: int) -> slice:
        size = len(self._touched[name])
        return slice(size * part // self._parts, size * (part + 1) // self._parts)


def _blocks(ids: Array) -> Iterator[Array]:
    for start in range(0, len(ids), ROWS_AT_ONCE):
        yield ids[start : start + ROWS_AT_ONCE]
