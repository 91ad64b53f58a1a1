"""Lines of numbers on disk: written as they come, read as mapped arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embedcli.storage.files import storing

_BLOCK = 1 << 20  # numbers


class Spool:
    """Lines of numbers written one after the other: the numbers, and where each line ends.

    Two files, `NAME.numbers` and `NAME.offsets` (int64), hold them; a line may come in parts.
    """

    def __init__(
        self, folder: Path, name: str, dtype: DTypeLike, *, written_over: bool = False
    ) -> None:
        self.dtype = np.dtype(dtype)
        self._written_over = written_over
        self.numbers_path = folder / f"{name}.numbers"
        self.offsets_path = folder / f"{name}.offsets"
        self.total = 0
        self.lines = 0
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Spool:
        """Start the files anew, or at their beginning if they are to be written over."""
        with storing(self.numbers_path):
            for path in self.paths:
                if not self._written_over:
                    path.unlink(missing_ok=True)
                self._files.append(path.open("r+b" if self._written_over else "wb"))
        self._write(1, np.zeros(1, np.int64))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the files here and close them; raises StoreError if their last bytes do not fit."""
        for file in self._files:
            if kind is None:
                with storing(self.numbers_path):
                    file.truncate()
                    file.close()
            else:
                with contextlib.suppress(OSError):
                    file.close()

    def add(self, numbers: NDArray[Any], line_ends: NDArray[np.int64]) -> None:
        """Append numbers (n,) and the ends (lines,), counted from the first of them."""
        self._write(0, numbers.astype(self.dtype, copy=False))
        self._write(1, line_ends + self.total)
        self.total += len(numbers)
        self.lines += len(line_ends)

    def _write(self, file: int, array: NDArray[Any]) -> None:
        with storing(self.numbers_path):
            self._files[file].write(np.ascontiguousarray(array).data)

    @property
    def paths(self) -> tuple[Path, Path]:
        """The files: the numbers, and where lines end."""
        return self.numbers_path, self.offsets_path

    def numbers(self) -> NDArray[Any]:
        """Return the numbers of all lines, mapped: (total,)."""
        return mapped(self.numbers_path, self.dtype)

    def read(self, start: int, end: int) -> NDArray[Any]:
        """Return some of the numbers, read and not mapped: (end - start,)."""
        place = start * self.dtype.itemsize
        return np.fromfile(self.numbers_path, self.dtype, end - start, offset=place)

    def offsets(self) -> NDArray[np.int64]:
        """Return where lines begin and end among the numbers, mapped: (lines + 1,)."""
        return mapped(self.offsets_path, np.int64)


def mapped(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """Map a file of numbers, read-only."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def blocks_of(path: Path, dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """Yield a file of numbers in blocks (n,), read and not mapped: none stays in memory."""
    with path.open("rb") as file:
        while len(block := np.fromfile(file, dtype, _BLOCK)):
            yield block
