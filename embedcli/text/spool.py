"""Lines of numbers on disk: written one after the other, read as memory-mapped arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embedcli.storage.files import storing

PIECE = 1 << 20  # numbers that are read at once


class Spool:
    """Lines of numbers in two files, `NAME.numbers` and `NAME.offsets` (int64)."""

    def __init__(
        self, folder: Path, name: str, dtype: DTypeLike, *, overwrite: bool = False
    ) -> None:
        self.dtype = np.dtype(dtype)
        self._overwrite = overwrite
        self.numbers_path = folder / f"{name}.numbers"
        self.offsets_path = folder / f"{name}.offsets"
        self.total = 0
        self.lines = 0
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Spool:
        """Create the files, or go to their beginning to overwrite them."""
        with storing(self.numbers_path):
            for path in self.paths:
                if not self._overwrite:
                    path.unlink(missing_ok=True)
                self._files.append(path.open("r+b" if self._overwrite else "wb"))
        self._write(1, np.zeros(1, np.int64))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Truncate the files here and close them; raises StoreError if the disk is full."""
        for file in self._files:
            if kind is None:
                with storing(self.numbers_path):
                    file.truncate()
                    file.close()
            else:
                with contextlib.suppress(OSError):
                    file.close()

    def add(self, numbers: NDArray[Any], line_ends: NDArray[np.int64]) -> None:
        """Append numbers (n,) and the ends (lines,) of the lines that end among them."""
        self._write(0, numbers.astype(self.dtype, copy=False))
        self._write(1, line_ends + self.total)
        self.total += len(numbers)
        self.lines += len(line_ends)

    def _write(self, file: int, array: NDArray[Any]) -> None:
        with storing(self.numbers_path):
            self._files[file].write(np.ascontiguousarray(array).data)

    def remove(self) -> None:
        """Remove the files."""
        for path in self.paths:
            path.unlink()

    @property
    def paths(self) -> tuple[Path, Path]:
        """The two files."""
        return self.numbers_path, self.offsets_path

    def numbers(self) -> NDArray[Any]:
        """Return the numbers of all lines, memory-mapped: (total,)."""
        return mapped(self.numbers_path, self.dtype)

    def pieces(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Yield numbers (n,), some at a time, and the ends of the lines that end among them.

        The files may be overwritten up to where they were read.
        """
        offsets, line = self.offsets(), 1
        for start in range(0, int(offsets[-1]), PIECE):
            with self.numbers_path.open("rb") as file:
                file.seek(start * self.dtype.itemsize)
                numbers = np.fromfile(file, self.dtype, PIECE)
            after = int(np.searchsorted(offsets, start + len(numbers), side="right"))
            yield numbers, offsets[line:after] - start
            line = after

    def offsets(self) -> NDArray[np.int64]:
        """Return where lines begin and end among the numbers, memory-mapped: (lines + 1,)."""
        return mapped(self.offsets_path, np.int64)


class Elsewhere(Spool):
    """Ids that other machines hold: only how many there are is known, and of how many lines."""

    def __init__(self, total: int, lines: int) -> None:
        self.total, self.lines = total, lines

    def numbers(self) -> NDArray[Any]:
        """Return zeros, which take no memory: (total,)."""
        return np.broadcast_to(np.int32(0), self.total)

    def offsets(self) -> NDArray[np.int64]:
        """Return zeros, which take no memory: (lines + 1,)."""
        return np.broadcast_to(np.int64(0), self.lines + 1)


def take_lines(
    numbers: NDArray[Any], offsets: NDArray[np.int64], lines: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Copy some lines of numbers (N,) with offsets (L + 1,), in the order of `lines` (B,).

    Returns their numbers (n,) and offsets (B + 1,).
    """
    firsts = offsets[lines]  # (B,)
    lengths = offsets[lines + 1] - firsts  # (B,)
    taken = np.concatenate([[0], np.cumsum(lengths)])  # (B + 1,)
    places = np.repeat(firsts - taken[:-1], lengths)  # (n,)
    places += np.arange(taken[-1])
    return np.take(numbers, places), taken


def mapped(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """Memory-map a file of numbers, read-only."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def blocks_of(path: Path, dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """Yield a file of numbers in blocks (n,), read into memory one at a time."""
    with path.open("rb") as file:
        while len(block := np.fromfile(file, dtype, PIECE)):
            yield block
