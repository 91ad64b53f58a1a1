"""The cells of a matrix of counts, dealt out to batches: in files, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator

from embedcli.autodiff.rows import pack, unpack
from embedcli.autodiff.tensor import Array
from embedcli.counting import Cells, passes
from embedcli.nn.factorization import Pairs, glove_weights
from embedcli.storage.arrays import drop_pages
from embedcli.text.spool import mapped

TILE = 256  # words of a tile, and contexts
DENSE = 0.01  # share of a tile's pairs that occur, from which they are scored as one product
DRAWN_AT_ONCE = 1 << 20
_STREAM = 4  # second number of the random stream's key, the first being the seed
DTYPES = {"rows": np.int32, "columns": np.int32, "logs": np.float32}


class TiledCells:
    """The cells of a symmetric matrix of counts by batch, in memory-mapped files in `folder`.

    Words are put in order of how often they occur, (V,), and cut into blocks. The cells of two
    blocks are a batch, a tile, where many of them are not 0; all others are dealt out at random to
    batches of about `batch_size`. This depends on the seed, but neither on the memory nor on the
    parts that the cells come in.
    """

    def __init__(
        self, parts: Sequence[Cells], occurrences: Array, batch_size: int, seed: int, folder: Path
    ) -> None:
        self._order = np.argsort(-occurrences, kind="stable").astype(np.int32)  # (V,) ids
        rank = np.empty(len(self._order), np.int64)  # (V,)
        rank[self._order] = np.arange(len(rank))
        self._blocks = -(-len(rank) // TILE)

        def tiles_of(rows: Array, columns: Array) -> Array:
            return rank[rows] // TILE * self._blocks + rank[columns] // TILE  # (n,)

        def samples_of(count: int, rng: Generator) -> Array:
            return (rng.random(count) * samples).astype(np.int32)  # (n,)

        # 1. Count the cells of each tile; those of many cells are batches.
        sizes = np.zeros(self._blocks**2, np.int64)  # (tiles,)
        for rows, columns, _ in passes(parts):
            sizes += np.bincount(tiles_of(rows, columns), minlength=len(sizes))
        self._tiles = np.flatnonzero(sizes >= DENSE * TILE**2)  # (T,)
        tile_count = len(self._tiles)
        batch_of = np.full(len(sizes), -1, np.int32)  # (tiles,)
        batch_of[self._tiles] = np.arange(tile_count)
        # 2. Draw a batch for each of the others, in their order, to know how long batches are.
        others = int(sizes.sum() - sizes[self._tiles].sum())
        samples = -(-others // batch_size)
        lengths = np.zeros(samples, np.int64)
        rng = np.random.default_rng((seed, _STREAM))
        for start in range(0, others, DRAWN_AT_ONCE):
            drawn = samples_of(min(DRAWN_AT_ONCE, others - start), rng)
            lengths += np.bincount(drawn, minlength=samples)
        self.batches: int = tile_count + samples
        self.most_rows = max(TILE, int(lengths.max(initial=0)))
        # 3. Write the cells of each batch one after the other, drawing the same numbers again.
        self._starts = np.cumsum(np.concatenate(([0], sizes[self._tiles], lengths)))
        free = self._starts[:-1].copy()  # where each batch is written next
        shape = (max(int(self._starts[-1]), 1),)
        written = [
            np.memmap(folder / f"pair.{name}", dtype, "w+", shape=shape)
            for name, dtype in DTYPES.items()
        ]
        rng = np.random.default_rng((seed, _STREAM))
        for rows, columns, counts in passes(parts):
            batches = batch_of[tiles_of(rows, columns)]  # (n,)
            rest = np.flatnonzero(batches < 0)
            batches[rest] = tile_count + samples_of(len(rest), rng)
            batches, order = unpack(np.sort(pack(batches)))  # (n,)
            firsts = np.searchsorted(batches, np.arange(self.batches))
            here = np.diff(firsts, append=len(batches))
            places = np.arange(len(batches)) - np.repeat(firsts - free, here)  # (n,)
            free += here
            values = rank[rows[order]], rank[columns[order]], np.log(counts[order])
            for file, value in zip(written, values, strict=True):
                file[places] = value
                drop_pages(file)
        del written
        self._rows, self._columns, self._logs = (
            mapped(folder / f"pair.{name}", dtype) for name, dtype in DTYPES.items()
        )

    def pairs(self, batch: int, x_max: float, alpha: float) -> Pairs:
        """Return a batch; the other arguments are those of `glove_weights`."""
        part = slice(*self._starts[batch : batch + 2])
        rows, columns, logs = self._rows[part], self._columns[part], np.array(self._logs[part])
        weights = glove_weights(logs, x_max, alpha)
        if batch >= len(self._tiles):
            each = np.arange(len(rows))
            words, contexts = self._order[rows], self._order[columns]
            return Pairs(words, contexts, each, each, logs, weights, False)
        row, column = divmod(int(self._tiles[batch]), self._blocks)
        return Pairs(
            words=self._order[row * TILE : (row + 1) * TILE],
            contexts=self._order[column * TILE : (column + 1) * TILE],
            first=rows - row * TILE,
            second=columns - column * TILE,
            logs=logs,
            weights=weights,
            is_tile=True,
        )

    def drop_pages(self) -> None:
        """Release the pages that were read."""
        for array in (self._rows, self._columns, self._logs):
            drop_pages(array)
