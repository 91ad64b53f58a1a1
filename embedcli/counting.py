"""Co-occurrence counts: how often each two words stand near each other, in bounded memory.

A cell of the matrix travels as one 64-bit number, row · column · count, so that a plain sort puts
cells in order and equal ones beside each other. Pairs of two frequent words are added to a dense
block, as GloVe's cooccur does; all others are sorted and summed, a stretch of the corpus at a
time, and written as sorted runs, which are merged in the end. Counts are whole multiples of a
unit, so that no sum depends on the order of its terms, and the result neither on the memory nor
on the number of workers.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import ConfigError
from embedcli.parallel import Team, keep_freed_memory, shared_array, trim_heap
from embedcli.storage import files
from embedcli.storage.arrays import drop_pages
from embedcli.text.encode import EncodedCorpus
from embedcli.text.spool import mapped

Array = NDArray[Any]
Weighting = Literal["harmonic", "plain"]

FREQUENT = 1024  # words whose pairs are counted in the dense block, as in GloVe's cooccur
BLOCK = 1 << 15  # tokens whose pairs are made at once, so that they stay in a core's cache
EXACT_DISTANCES = 16  # the unit is 1 / their least common multiple: a count is exact up to there
AT_ONCE = 1 << 21  # pairs or cells that are sorted at once: more take longer, out of the cache
MOST_RUNS = 256  # unless the memory asks for more
BASE_MEMORY = 96 << 20  # bytes that Python, NumPy and the vocabulary need, roughly
LEAST_MEMORY = 256 << 20
BYTES_PER_PAIR = 72  # of a stretch: its cell, the sorted run, and the sums
BYTES_PER_CELL = 96  # of a merge
BYTES_PER_DENSE = 24  # the dense block of a worker, and what it becomes in the end
TASKS_AT_ONCE = 8  # for each worker, between two reports of progress


class Cells(NamedTuple):
    """Cells of a matrix of counts, ordered by row and then by column."""

    rows: Array  # (n,) int32
    columns: Array  # (n,) int32
    counts: Array  # (n,) float64


class _Packing(NamedTuple):
    """How a cell is one uint64: `row << id_bits | column` above the count, in units."""

    id_bits: int
    units: tuple[int, ...]  # of a pair at each distance, from 1
    scale: int  # units of a count of 1

    @classmethod
    def of(cls, words: int, window: int, weighting: Weighting) -> _Packing:
        id_bits = max((words - 1).bit_length(), 1)
        if weighting == "plain":
            return cls(id_bits, (1,) * window, 1)
        scale = math.lcm(*range(1, min(window, EXACT_DISTANCES) + 1))
        return cls(id_bits, tuple(round(scale / d) for d in range(1, window + 1)), scale)

    @property
    def unit_bits(self) -> int:
        return 64 - 2 * self.id_bits

    @property
    def mask(self) -> int:
        """The bits of the units."""
        return (1 << self.unit_bits) - 1

    def summed(self, packed: Array) -> tuple[Array, Array]:
        """Sum the cells (n,) of each place; returns places and units (u,), in order.

        Sorts `packed` in place.
        """
        packed.sort()
        places = packed >> np.uint64(self.unit_bits)  # (n,)
        packed &= np.uint64(self.mask)
        np.cumsum(packed, out=packed)  # may wrap around, but its differences are right
        is_last = np.ones(len(places), np.bool_)  # (n,)
        np.not_equal(places[1:], places[:-1], out=is_last[:-1])
        last = np.flatnonzero(is_last)  # (u,)
        return places[last], np.diff(packed[last], prepend=np.uint64(0))

    def pack(self, places: Array, units: Array) -> Array:
        """Return cells of places and units; of a sum that has too many bits, several cells."""
        most = self.mask
        if len(units) and units.max() > most:
            times = (units + np.uint64(most - 1)) // np.uint64(most)  # (n,)
            rest = units - (times - 1) * np.uint64(most)
            last = np.cumsum(times) - 1
            places = np.repeat(places, times.astype(np.int64))
            units = np.full(len(places), most, np.uint64)
            units[last.astype(np.int64)] = rest
        packed: Array = places << np.uint64(self.unit_bits) | units
        return packed

    def swapped(self, places: Array) -> Array:
        """Exchange rows and columns."""
        bits = np.uint64(self.id_bits)
        low = np.uint64((1 << self.id_bits) - 1)
        transposed: Array = (places & low) << bits | places >> bits
        return transposed

    def cells(self, places: Array, units: Array) -> Cells:
        """Unpack."""
        low = np.uint64((1 << self.id_bits) - 1)
        rows = (places >> np.uint64(self.id_bits)).astype(np.int32)
        return Cells(rows, (places & low).astype(np.int32), units / self.scale)


def count_cells(
    corpus: EncodedCorpus,
    window: int,
    weighting: Weighting,
    *,
    folder: Path,
    workers: int = 1,
    memory: int = LEAST_MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cells]:
    """Count the pairs of words at most `window` positions apart in a line, both ways.

    Returns the cells of the symmetric matrix, memory-mapped from files in `folder`, in parts that
    hold whole rows each. A pair counts 1, or 1 / distance with harmonic weights (Pennington et al.
    2014, §4.2); a word beside itself counts twice, as each of the two is beside the other. All
    processes together take about `memory` bytes at most. `progress` is called with the tokens that
    are counted and those of the corpus. Raises ConfigError for too little memory, StoreError for a
    full disk.
    """
    if memory < LEAST_MEMORY:
        found, least = files.readable(memory), files.readable(LEAST_MEMORY)
        raise ConfigError(f"memory: found {found}; expected at least {least}")
    packing = _Packing.of(len(corpus.vocabulary), window, weighting)
    frequent = _frequent_words(corpus)  # (F,)
    usable = (memory - BASE_MEMORY) // workers - BYTES_PER_DENSE * (len(frequent) + 1) ** 2
    usable = max(usable, LEAST_MEMORY // (8 * workers))
    # 1. Count stretches of the corpus: a sorted run each, and dense blocks.
    tokens = len(corpus.ids)
    length = max(AT_ONCE // window, tokens // MOST_RUNS, 1)  # tokens of a stretch
    length = max(min(length, usable // (BYTES_PER_PAIR * window)), 1)
    stretches = -(-tokens // length)
    workers = min(workers, stretches)
    dense = shared_array((workers, len(frequent) + 1, len(frequent) + 1), np.int64)

    def count_stretch(member: int, task: int) -> None:
        stretch = range(task * length, min((task + 1) * length, tokens))
        packed = _count_stretch(corpus, stretch, window, packing, frequent, dense[member])
        packed.tofile(folder / f"run.{task}")
        drop_pages(corpus.ids)
        drop_pages(corpus.offsets)

    def report(done: int) -> None:
        if progress is not None:
            progress(min(done * length, tokens), tokens)
        # What is still to be written: other runs as long as these, and the cells of all of them.
        written = sum((folder / f"run.{task}").stat().st_size for task in range(done))
        needed = written * (stretches - done + 2 * stretches) // done
        files.require_space(folder, needed, "what is counted (roughly)")

    _run(count_stretch, stretches, workers, folder, report)
    total = dense.sum(axis=0)[:-1, :-1]  # (F, F)
    total += total.T.copy()
    rows, columns = np.nonzero(total)
    places = (frequent[rows] << packing.id_bits | frequent[columns]).astype(np.uint64)
    with files.storing(folder):
        packing.pack(places, total[rows, columns].astype(np.uint64)).tofile(folder / "run.dense")
    del total, rows, columns, places
    # 2. Merge the runs, some rows at a time.
    names = [folder / f"run.{each}" for each in (*range(stretches), "dense")]
    runs = [mapped(name, np.uint64) for name in names]
    row = 1 << (packing.unit_bits + packing.id_bits)  # between the first cells of two rows
    bounds = _bounds(runs, max(min(AT_ONCE, usable // BYTES_PER_CELL), BLOCK), row)
    cuts = [[0, *np.searchsorted(run, bounds).tolist(), len(run)] for run in runs]

    def merge(member: int, task: int) -> None:
        del member
        slices = [run[slice(*ends[task : task + 2])] for run, ends in zip(runs, cuts, strict=True)]
        cells = packing.cells(*packing.summed(np.concatenate(slices)))
        for name, array in cells._asdict().items():
            array.tofile(folder / f"{name}.{task}")
        for run in runs:
            drop_pages(run)

    parts = len(bounds) + 1
    _run(merge, parts, min(workers, parts), folder, lambda _: None)
    for name in names:
        name.unlink()
    dtypes = {"rows": np.int32, "columns": np.int32, "counts": np.float64}
    return [
        Cells(**{name: mapped(folder / f"{name}.{part}", dtype) for name, dtype in dtypes.items()})
        for part in range(parts)
    ]


def _run(
    work: Callable[[int, int], None],
    tasks: int,
    workers: int,
    folder: Path,
    report: Callable[[int], None],
) -> None:
    """Call `work(member, task)` for each task, by several processes; raises StoreError."""
    failed = shared_array((1,), np.int64)  # the number of the OSError of a process

    def guarded(member: int, command: bytes, task: int) -> None:
        try:
            work(member, int(command) + task)
        except OSError as error:
            failed[0] = error.errno or errno.EIO

    keep_freed_memory()
    team = Team(workers, guarded)
    try:
        at_once = workers * TASKS_AT_ONCE
        for first in range(0, tasks, at_once):
            team.run(b"%d" % first, min(at_once, tasks - first))
            if failed[0]:
                with files.storing(folder):
                    raise OSError(int(failed[0]), os.strerror(int(failed[0])))
            report(min(first + at_once, tasks))
    finally:
        team.close()
        trim_heap()


def _frequent_words(corpus: EncodedCorpus) -> Array:
    """Return the ids of the most frequent words, in order: (F,) int64."""
    counts = np.asarray(corpus.vocabulary.counts)  # (V,)
    return np.sort(np.argsort(-counts, kind="stable")[:FREQUENT])


def _count_stretch(
    corpus: EncodedCorpus,
    stretch: range,
    window: int,
    packing: _Packing,
    frequent: Array,
    dense: Array,
) -> Array:
    """Count the pairs whose second word is in a stretch; returns a sorted run of cells, (n,).

    Pairs of two frequent words are added to `dense` (F + 1, F + 1) instead, first word by second.
    Its last row and column take what does not belong there: pairs with a rare word, or across the
    end of a line.
    """
    first = max(stretch.start - window, 0)
    ids = np.zeros(len(stretch) + window, np.int32)  # with the words before the stretch
    ids[window - (stretch.start - first) :] = corpus.ids[first : stretch.stop]
    low, high = np.searchsorted(corpus.offsets, (stretch.start - window, stretch.stop))
    starts = np.asarray(corpus.offsets[low:high]) - stretch.start + window  # of lines, in `ids`
    codes = np.full(len(corpus.vocabulary), len(frequent))  # (V,)
    codes[frequent] = np.arange(len(frequent))
    codes = codes[ids]  # (n + w,)
    is_rare = (codes == len(frequent)).astype(np.uint8)  # (n + w,)
    block_rows = codes * len(dense)  # (n + w,)
    found = np.empty(len(stretch) * window, np.uint64)
    size = 0
    id_bits, unit_bits = np.uint64(packing.id_bits), np.uint64(packing.unit_bits)
    for start in range(window, len(ids), BLOCK):
        stop = min(start + BLOCK, len(ids))
        right, columns = ids[start:stop], codes[start:stop].copy()
        # Bits that are common to two words if one of them is rare: 1 and 2 if it is the first or
        # the second. A word too close to the start of its line has none.
        left_bits = 1 | is_rare[start - window : stop] << 1
        right_bits = 2 | is_rare[start:stop]
        near = starts[slice(*np.searchsorted(starts, (start - window, stop)))] - start
        for distance, unit in enumerate(packing.units, start=1):
            # 1. Words with fewer words before them in their line have no more partners.
            ended = near + (distance - 1)
            ended = ended[(ended >= 0) & (ended < len(right))]
            columns[ended] = len(frequent)
            right_bits[ended] = 0
            before = slice(start - distance, stop - distance)
            # 2. Two frequent words are counted in the dense block.
            np.add.at(dense.reshape(-1), block_rows[before] + columns, unit)
            # 3. Any others are written down, the smaller id first.
            own = slice(window - distance, window - distance + len(right))
            kept = np.flatnonzero(left_bits[own] & right_bits)
            one, other = ids[before].take(kept), right.take(kept)
            cells = np.minimum(one, other).astype(np.uint64)
            cells <<= id_bits
            cells |= np.maximum(one, other).astype(np.uint64)
            cells <<= unit_bits
            cells |= np.uint64(unit)
            found[size : size + len(cells)] = cells
            size += len(cells)
    places, units = packing.summed(found[:size])
    del found
    both = packing.pack(
        np.concatenate((places, packing.swapped(places))), np.concatenate((units, units))
    )
    both.sort()
    return both


def _bounds(runs: Sequence[Array], size: int, row: int) -> Array:
    """Return the first cells, none of them 0, of parts of about `size` cells of sorted runs.

    `row` is the number by which the first cells of two rows differ; each part holds whole rows.
    """
    step = max(size // (2 * len(runs)), 1)
    picked = []
    for run in runs:
        picked.append(run[step::step].copy())
        drop_pages(run)
    samples = np.sort(np.concatenate(picked))  # each for `step` cells
    inner = samples[:: max(size // step, 1)] // np.uint64(row) * np.uint64(row)
    return np.unique(inner[inner > 0])


def rows_between(parts: Sequence[Cells], start: int, stop: int) -> Cells:
    """Return the cells of the rows from `start` to before `stop`."""
    found = []
    for part in parts:
        span = slice(*np.searchsorted(part.rows, (start, stop)))
        if span.start < span.stop:
            found.append([array[span] for array in part])
    if not found:
        return Cells(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
    return Cells(*map(np.concatenate, zip(*found, strict=True)))
