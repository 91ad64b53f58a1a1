"""Co-occurrence counts: how often each two words stand near each other, in bounded memory.

A cell of the matrix travels as one 64-bit number, row · column · count, so that a plain sort puts
cells in order and equal ones beside each other. Pairs of frequent words are added to an array, as
in GloVe's cooccur; all others are sorted and summed, a stretch of the corpus at a time, and written
as sorted runs, which are merged in the end. Counts are whole multiples of a unit, so that no sum
depends on the order of its terms, and the result neither on the memory nor on the number of
workers.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence
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

MOST_DENSE = 1 << 21  # pairs of frequent words that are added up in an array
BLOCK = 1 << 14  # tokens whose pairs are made at once, so that they stay in a core's cache
EXACT_DISTANCES = 16  # the unit is 1 / their least common multiple: a count is exact up to there
AT_ONCE = 1 << 20  # pairs or cells that are sorted at once: more take longer, out of the cache
LEAST_MEMORY = 256 << 20
BASE_MEMORY = 96 << 20  # bytes that Python, NumPy and the reading of text need
BYTES_PER_WORD = 48
MEMORY_OF_WORKER = 48 << 20  # at least
BYTES_PER_PAIR = 56  # of a stretch: its cell, the sorted run, and the sums
BYTES_PER_CELL = 96  # of a merge
TASKS_AT_ONCE = 8  # for each worker, between two reports of progress
CHUNK = 1 << 20  # cells that are read at once
PIECE = 1 << 17  # sums of frequent pairs that are written at once


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
        exact = min(window, EXACT_DISTANCES)
        while (scale := math.lcm(*range(1, exact + 1))) >> (64 - 2 * id_bits):
            exact -= 1  # of millions of words, whose ids leave few bits
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


class _Dense(NamedTuple):
    """Which pairs are added up in an array: those whose ranks by frequency have a small product.

    The pair of a word and one of rank r is at `starts[word] + r` if r is below `limits[word]`; the
    place behind takes pairs that are not to be counted there. All rare words have one at `size`.
    """

    order: Array  # (V,) ids, the most frequent first
    ranks: Array  # (V,) int64
    limits: Array  # (V,) int64
    starts: Array  # (V,) int64
    rows: Array  # (F,) the starts of words that have a limit, by rank
    size: int  # of all places but the last

    @classmethod
    def of(cls, corpus: EncodedCorpus, most: int) -> _Dense:
        """Choose at most `most` pairs, and not far fewer."""
        order = np.argsort(-np.asarray(corpus.vocabulary.counts), kind="stable")
        words, product, size = len(order), most, most + 1
        while size > most:
            limits = np.minimum(product // np.arange(1, min(product, words) + 1), words)  # (F,)
            size, product = int(limits.sum()) + len(limits), product * 7 // 8
        of_rank = np.zeros((2, words), np.int64)
        of_rank[0, : len(limits)] = limits
        of_rank[1, : len(limits)] = rows = np.cumsum(limits + 1) - limits - 1
        of_rank[1, len(limits) :] = size
        ranks = np.empty(words, np.int64)
        ranks[order] = np.arange(words)
        return cls(order, ranks, of_rank[0, ranks], of_rank[1, ranks], rows, size)

    def pairs(self, start: int, sums: Array) -> tuple[Array, Array, Array]:
        """Return the ids of both words, and the sums, of pairs from a place on that occur: (n,)."""
        found = np.flatnonzero(sums)
        places = found + start
        first = np.searchsorted(self.rows, places, side="right") - 1  # ranks
        second = places - self.rows[first]
        one = self.order[first]
        kept = second < self.limits[one]
        return one[kept], self.order[second[kept]], sums[found[kept]]


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

    Returns the cells of the symmetric matrix, in order, in parts that are memory-mapped from files
    in `folder`. A pair counts 1, or 1 / distance with harmonic weights (Pennington et al. 2014,
    §4.2); a word beside itself counts twice, as each of the two is beside the other. All processes
    together take at most `memory` bytes; where that is little there are fewer than `workers`.
    `progress` is called with the tokens that are counted and those of the corpus. Raises
    ConfigError for too little memory, StoreError for a full disk.
    """
    words = len(corpus.vocabulary)
    base = BASE_MEMORY + words * BYTES_PER_WORD
    least = max(LEAST_MEMORY, base + MEMORY_OF_WORKER)
    if memory < least:
        raise ConfigError(
            f"memory: found {files.readable(memory)}; expected at least {files.readable(least)} "
            f"for {words:,} words"
        )
    workers = min(workers, (memory - base) // MEMORY_OF_WORKER)
    usable = (memory - base) // workers  # bytes of each
    packing = _Packing.of(words, window, weighting)
    names, runs = _sorted_runs(corpus, packing, folder, workers, usable, progress)
    # Merge the runs, some cells at a time.
    cuts = _cuts(names, runs, max(min(AT_ONCE, usable // BYTES_PER_CELL), 1), packing)

    def merge(member: int, task: int) -> None:
        del member
        starts, ends = cuts[:, task], cuts[:, task + 1]
        packed, at = np.empty((ends - starts).sum(), np.uint64), 0
        for worker, name in enumerate(names):
            with name.open("rb", buffering=0) as file:
                for run in np.flatnonzero((runs[:, 0] == worker) & (ends > starts)).tolist():
                    file.seek(int(starts[run]) * 8)
                    at += file.readinto(packed[at : at + ends[run] - starts[run]].data) // 8
        cells = packing.cells(*packing.summed(packed))
        for kind, array in cells._asdict().items():
            array.tofile(folder / f"{kind}.{task}")

    parts = cuts.shape[1] - 1
    _run(merge, parts, min(workers, parts), folder)
    for name in names:
        name.unlink()
    dtypes = {"rows": np.int32, "columns": np.int32, "counts": np.float64}
    return [
        Cells(**{name: mapped(folder / f"{name}.{part}", dtype) for name, dtype in dtypes.items()})
        for part in range(parts)
    ]


def _sorted_runs(
    corpus: EncodedCorpus,
    packing: _Packing,
    folder: Path,
    workers: int,
    usable: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Path], Array]:
    """Write the cells of both halves of the matrix as sorted runs, in a file for each worker.

    Returns the files, and of each run the number of its file, its start and its end, in cells.
    """
    tokens, window = len(corpus.ids), len(packing.units)
    dense = _Dense.of(corpus, min(MOST_DENSE, usable // (3 * 8)))
    pairs = min((usable - 8 * dense.size) // BYTES_PER_PAIR, AT_ONCE)  # of a stretch
    length = max(pairs // window, 1)  # tokens of a stretch
    stretches, pieces = -(-tokens // length), -(-dense.size // PIECE)
    workers = min(workers, stretches)
    names = [folder / f"runs.{member}" for member in range(workers)]
    sums = shared_array((workers, dense.size + 1), np.int64)
    # Of each task its worker, and from where to where in its file two runs are.
    written = shared_array((stretches + pieces, 4), np.int64)

    def write(member: int, task: int, packed: Array) -> None:
        places, units = packing.summed(packed)
        ends = [written[:, 3][written[:, 0] == member].max(initial=0)]
        with names[member].open("ab") as out:
            for each in (places, packing.swapped(places)):
                run = packing.pack(each, units)
                run.sort()
                out.write(run.data)
                ends.append(ends[-1] + len(run))
        written[task] = member, *ends

    def count_stretch(member: int, task: int) -> None:
        stretch = range(task * length, min((task + 1) * length, tokens))
        write(member, task, _count_stretch(corpus, stretch, packing, dense, sums[member]))
        drop_pages(corpus.ids)
        drop_pages(corpus.offsets)

    def write_sums(member: int, task: int) -> None:
        start = task * PIECE
        piece = slice(start, min(start + PIECE, dense.size))
        one, other, units = dense.pairs(start, sums[:, piece].sum(axis=0))
        places = np.minimum(one, other) << packing.id_bits | np.maximum(one, other)
        packed = packing.pack(places.astype(np.uint64), units.astype(np.uint64))
        write(member, stretches + task, packed)

    def report(done: int) -> None:
        if progress is not None:
            progress(min(done * length, tokens), tokens)
        # What is still to be written: other runs as long as these, and the cells of all of them.
        cells = int((written[:done, 3] - written[:done, 1]).sum())
        needed = 8 * cells * (stretches - done + 2 * stretches) // done
        files.require_space(folder, needed, "what is counted (roughly)")

    _run(count_stretch, stretches, workers, folder, report)
    _run(write_sums, pieces, workers, folder)
    return names, written[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def _count_stretch(
    corpus: EncodedCorpus,
    stretch: range,
    packing: _Packing,
    dense: _Dense,
    sums: Array,
) -> Array:
    """Count the pairs whose second word is in a stretch; returns cells (n,) in no order.

    Pairs of frequent words are added to `sums` instead, first word by second. In the cells the
    smaller id is first.
    """
    window = len(packing.units)
    first = max(stretch.start - window, 0)
    ids = np.zeros(len(stretch) + window, np.int32)  # with the words before the stretch
    ids[window - (stretch.start - first) :] = corpus.ids[first : stretch.stop]
    low, high = np.searchsorted(corpus.offsets, (stretch.start - window, stretch.stop))
    line_starts = np.asarray(corpus.offsets[low:high]) - stretch.start + window  # in `ids`
    found = np.empty(len(stretch) * window, np.uint64)
    size = 0
    column_bits, unit_bits = np.uint64(packing.id_bits), np.uint64(packing.unit_bits)
    none = np.iinfo(np.int64).max
    for start in range(window, len(ids), BLOCK):
        stop = min(start + BLOCK, len(ids))
        block = ids[start - window : stop]  # (w + b,)
        limits, places = dense.limits[block], dense.starts[block]  # (w + b,)
        ranks = dense.ranks[block[window:]]  # (b,) of second words; `none` where there is no first
        # The cell of two ids, one · 2ⁱ + other with one <= other, is min(one, other) · (2ⁱ - 1)
        # + one + other.
        low_bits = block.astype(np.uint64) << unit_bits  # (w + b,)
        high_bits = (low_bits << column_bits) - low_bits
        near = line_starts[slice(*np.searchsorted(line_starts, (start - window, stop)))] - start
        for distance, unit in enumerate(packing.units, start=1):
            # 1. Words with fewer words before them in their line have no more partners.
            ended = near + (distance - 1)
            ranks[ended[(ended >= 0) & (ended < len(ranks))]] = none
            before = slice(window - distance, len(block) - distance)
            # 2. Two frequent words are counted in the array.
            at = np.minimum(ranks, limits[before])
            at += places[before]
            np.add.at(sums, at, unit)
            # 3. Any others are written down.
            kept = np.flatnonzero((ranks >= limits[before]) & (ranks < none))
            cells = np.minimum(high_bits[before], high_bits[window:])
            cells += low_bits[before]
            cells += low_bits[window:]
            cells += np.uint64(unit)
            cells.take(kept, out=found[size : size + len(kept)], mode="clip")
            size += len(kept)
    return found[:size]


def _cuts(names: Sequence[Path], runs: Array, size: int, packing: _Packing) -> Array:
    """Return where sorted runs (R, 3) are cut into parts of about `size` cells: (R, parts + 1)."""
    maps = [mapped(name, np.uint64) for name in names]
    step = max(size // (2 * len(runs)), 1)
    samples = []  # each for `step` cells
    for worker, start, end in runs.tolist():
        samples.append(maps[worker][start + step : end : step].copy())
        drop_pages(maps[worker])
    inner = np.sort(np.concatenate(samples))[:: max(size // step, 1)]
    bounds = np.unique(inner >> np.uint64(packing.unit_bits)) << np.uint64(packing.unit_bits)
    bounds = bounds[bounds > 0]
    cuts = np.empty((len(runs), len(bounds) + 2), np.int64)
    for row, (worker, start, end) in zip(cuts, runs.tolist(), strict=True):
        row[:] = start, *(start + np.searchsorted(maps[worker][start:end], bounds)), end
        drop_pages(maps[worker])
    return cuts


def passes(parts: Sequence[Cells]) -> Iterator[Cells]:
    """Yield cells some at a time, and release the memory of those before."""
    for part in parts:
        for start in range(0, len(part.rows), CHUNK):
            yield Cells(*(array[start : start + CHUNK] for array in part))
            for array in part:
                drop_pages(array)


def _run(
    work: Callable[[int, int], None],
    tasks: int,
    workers: int,
    folder: Path,
    report: Callable[[int], None] = lambda _: None,
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
