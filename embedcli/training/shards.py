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

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import log

import numpy as np

from embedcli.autodiff.rows import put_rows
from embedcli.autodiff.tensor import Array
from embedcli.config import TrainSettings, tokens_of
from embedcli.errors import ConfigError
from embedcli.parallel import shared_array

LONGEST_ROUND = 1_000_000  # tokens of a shard that `auto` chooses at most,
MANY_SHARDS = 5  # or where there are so many,
LONGEST_OF_MANY = 320_000  # of all shards together
ROUND_GROWTH = 4  # how many times as long the last round of a run is as the first
ROWS_AT_ONCE = 512  # whose changes fit the cache of one core

COUNTS = "trained"  # name of the array that counts the steps of each row of the table

Change = list[Array]  # of some rows: of the weights, and of each slot of the optimizer
Changes = dict[str, tuple[Array, Change]]  # ids (n,) and change, by parameter


@dataclass(frozen=True)
class Plan:
    """Which batches are trained in each step of a run.

    `batches` are cut into as many stretches as there are `shards`. A step is a group of batches;
    of several shards it is a round, in which each trains some groups. At the end of the run groups
    are `growth` times as large as at its start, and rounds, then of `length` batches of a shard,
    `ROUND_GROWTH` times as large: what many words change grows small with the learning rate.

    >>> plan = Plan(20, epochs=2, group=2, growth=3)
    >>> [len(*plan.turn(0, step, 0)) for step in range(plan.steps(0))]
    [2, 2, 2, 3, 3, 3, 4, 1]
    >>> [len(*plan.turn(1, step, 0)) for step in range(plan.steps(1))]
    [4, 4, 5, 5, 2]
    """

    batches: int
    epochs: int
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
        plan = cls(batches, epochs, settings.group, shards, growth=settings.group_growth)
        if shards == 1:
            return plan
        per_batch = tokens / batches
        if settings.round == "auto":
            length = plan.longest(recommended_rounds(shards))
            most = LONGEST_ROUND if shards < MANY_SHARDS else LONGEST_OF_MANY // shards
            length = min(length, int(most / per_batch))
        else:
            length = round(tokens_of(settings.round) / per_batch)
        plan = replace(plan, length=max(length, 1))
        fewest = recommended_rounds(shards) // 2
        if shards > batches or plan.total < fewest:
            longest = plan.longest(fewest)
            longest_words = min(int(plan.length * per_batch), tokens // shards)
            hints = [f"--round {int(longest * per_batch)}"] if longest else []
            if settings.round == "auto":
                fitting = bisect_left(
                    range(2, shards),
                    1,
                    key=lambda n: not replace(plan, shards=n).longest(recommended_rounds(n) // 2),
                )
                hints += [f"--shards {1 + fitting}" if fitting else "leave out --shards"]
            else:
                hints += ["leave out --shards and --round"]
            raise ConfigError(
                f"shards: {shards} shards of {tokens // shards:,} words have {plan.total:,} rounds "
                f"of at most {longest_words:,} words in {epochs} epochs; expected "
                f"{fewest:,} or more, as their tables drift apart",
                ", or ".join(hints),
            )
        return plan

    def longest(self, rounds: int) -> int:
        """Return the length of the last round of a plan with at least so many, or 0."""
        growth = ROUND_GROWTH * log(ROUND_GROWTH) / (ROUND_GROWTH - 1)
        length = int(self.batches // self.shards * self.epochs / rounds * growth)
        while length and replace(self, length=length).total < rounds:
            length -= 1
        return length

    @property
    def total(self) -> int:
        """Steps of the run."""
        return self.before(self.epochs)

    def steps(self, epoch: int) -> int:
        """Return the steps of an epoch."""
        return len(self._starts[epoch]) - 1

    def before(self, epoch: int) -> int:
        """Return the steps before an epoch."""
        return self._before[epoch]

    def turn(self, epoch: int, step: int, shard: int) -> list[range]:
        """Return the batches of a shard in a step of an epoch, by group."""
        stretch = _cut(range(self.batches), self.shards, shard)
        start, end = self._starts[epoch][step : step + 2]
        last = step + 1 == self.steps(epoch)  # some shards have a batch more than others
        turn = stretch[start:] if last else stretch[start:end]
        groups = -(-len(turn) // self._group(self.progress(epoch, turn.start)))
        return [_cut(turn, groups, each) for each in range(groups)]

    def following(self, epoch: int, step: int) -> tuple[int, range]:
        """Return epoch and batches of the first group after a step; no batches after the last."""
        if step + 1 < self.steps(epoch):
            return epoch, self.turn(epoch, step + 1, 0)[0]
        if epoch + 1 < self.epochs:
            return epoch + 1, self.turn(epoch + 1, 0, 0)[0]
        return epoch + 1, range(0)

    def step(self, epoch: int, batch: int) -> int:
        """Return the step of the run, from 1, whose group begins with a batch, of an only shard.

        Of several shards no optimizer reads it: those that do are refused.
        """
        return self.before(epoch) + bisect_right(self._starts[epoch], batch)

    def progress(self, epoch: int, batch: int) -> float:
        """Return which share of the run is over before a batch of a shard."""
        shard = ((batch + 1) * self.shards - 1) // self.batches
        stretch = _cut(range(self.batches), self.shards, shard)
        return (epoch + (batch - stretch.start) / len(stretch)) / self.epochs

    @cached_property
    def _starts(self) -> list[list[int]]:
        """Where the steps of each epoch start in the shortest stretch, and its end."""
        end = self.batches // self.shards
        if self.shards == 1 and self.growth == 1:
            return [[*range(0, end, self.group), end]] * self.epochs
        epochs = []
        for epoch in range(self.epochs):
            starts = [0]
            while starts[-1] < end:
                size = self._size((epoch + starts[-1] / end) / self.epochs)
                starts.append(min(starts[-1] + size, end))
            epochs.append(starts)
        return epochs

    @cached_property
    def _before(self) -> list[int]:
        """The steps before each epoch, and those of all."""
        return list(accumulate(map(self.steps, range(self.epochs)), initial=0))

    def _size(self, progress: float) -> int:
        """Return the batches of a shard in a step; of a round they are whole groups, if any."""
        group = self._group(progress)
        if self.shards == 1:
            return group
        size = round(self.length * (1 + (ROUND_GROWTH - 1) * progress) / ROUND_GROWTH)
        return max(size if size < group else round(size / group) * group, 1)

    def _group(self, progress: float) -> int:
        return round(self.group * (1 + (self.growth - 1) * progress))


def recommended_rounds(shards: int) -> int:
    """Return how many rounds are enough that several shards learn what one would.

    Where these are not too long (`LONGEST_ROUND`), so many are short of one shard by less than .01
    of correlation, the mean in docs/benchmarks.md; what is missing was about proportional to the
    square of the shards, and to 1 / rounds.
    """
    return max(50, 4 * shards**2)


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
        for ids, known in self._marked(name, part):
            self._keep(name, ids, self._sum(name, ids, self.change(name, ids, reset=True), known))

    def end_round(self, task: int) -> None:
        """Add a part of the last shard's changes to the sum, and apply that."""
        name, part = self.tasks[task]
        if name == COUNTS:
            bounds, counts = self._bounds(name, part), self._rows[name][0]
            counts.common[bounds] = counts.now[bounds]
            self._touched[name][bounds] = False
            return
        for ids, known in self._marked(name, part):
            total = self._sum(name, ids, self.change(name, ids, reset=False), known)
            self.accept(name, ids, self._sent(name, total))
            self._changed[name][ids] = False
        for ids in self._folded(name, part):
            self.accept(name, ids, self.merged(name, ids))

    def change(self, name: str, ids: Array, *, reset: bool) -> Change:
        """Return how rows (n,) were changed; reset them to the common table, or leave them."""
        found = []
        for rows in self._rows[name]:
            common = np.take(rows.common, ids, axis=0)  # (n, D)
            found.append(np.take(rows.now, ids, axis=0))
            found[-1] -= common
            if reset:
                put_rows(rows.now, ids, common)
        return self._sent(name, found)

    def fold(self, name: str, ids: Array, change: Change) -> None:
        """Add a shard's change of rows (n,) to those of the shards before."""
        changed = self._changed[name][ids]  # (n,)
        for known, some in ((False, np.flatnonzero(~changed)), (True, np.flatnonzero(changed))):
            mine = [each[some] for each in change]
            self._keep(name, ids[some], self._sum(name, ids[some], mine, known))

    def merged(self, name: str, ids: Array) -> Change:
        """Return the merged change of rows (n,)."""
        return self._sent(name, [np.take(rows.total, ids, axis=0) for rows in self._rows[name]])

    def accept(self, name: str, ids: Array, change: Change) -> None:
        """Apply the merged change of rows (n,)."""
        for rows, total in zip(self._rows[name], change, strict=True):
            common = np.take(rows.common, ids, axis=0)  # (n, D)
            common += total
            put_rows(rows.now, ids, common)
            put_rows(rows.common, ids, common)

    def _sum(self, name: str, ids: Array, change: Change, known: bool) -> Change:
        """Return a shard's change of rows (n,) and those of the shards before, which are `known`.

        Without any before, it is the change itself.
        """
        if not known:
            return change
        found = []
        for rows, new in zip(self._rows[name], change, strict=True):
            total = np.take(rows.total, ids, axis=0)  # (n, D)
            if rows.combined:
                along = np.einsum("nd,nd->n", new, total)
                square = np.einsum("nd,nd->n", total, total)
                share = np.maximum(along, 0) / np.where(square > 0, square, 1)
                total *= (1 - share)[:, None]
            total += new
            found.append(total)
        return found

    def _keep(self, name: str, ids: Array, total: Change) -> None:
        """Keep the sum of the changes of rows (n,) so far."""
        for rows, new in zip(self._rows[name], total, strict=True):
            put_rows(rows.total, ids, new.astype(rows.total.dtype, copy=False))
        self._changed[name][ids] = True

    def take_changes(self, parts: int) -> list[Changes]:
        """Return what a shard changed, in parts by the ids of the rows, and take it back."""
        found: list[Changes] = [{} for _ in range(parts)]
        for name, marks in self._touched.items():
            ids = np.flatnonzero(marks)
            marks[:] = False
            for part in range(parts):
                mine = ids[ids % parts == part]
                found[part][name] = mine, self.change(name, mine, reset=True)
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

    def _sent(self, name: str, change: Change) -> Change:
        """Return a change with the precision in which machines exchange it.

        Those of the optimizer's sums stay as they are: small squares would be 0 in half precision,
        large ones infinite.
        """
        return [
            each.astype(self._dtype, copy=False) if rows.combined else each
            for rows, each in zip(self._rows[name], change, strict=True)
        ]

    def _marked(self, name: str, part: int) -> Iterator[tuple[Array, bool]]:
        """Yield the ids (n,) of a part's rows that the shard changed, and remove their marks.

        First come those that no shard before has changed, then those that are known.
        """
        bounds = self._bounds(name, part)
        touched, changed = self._touched[name][bounds], self._changed[name][bounds]
        new, old = np.flatnonzero(touched & ~changed), np.flatnonzero(touched & changed)
        touched[:] = False
        yield from ((ids, False) for ids in _blocks(bounds.start + new))
        yield from ((ids, True) for ids in _blocks(bounds.start + old))

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
