"""Vectors to search with, from a file: `.npy`, or lines of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError
from embedcli.formats.base import require_file
from embedcli.storage import files
from embedcli.storage.arrays import map_npy

MOST = 100_000  # vectors


def read_queries(path: Path, dim: int) -> tuple[list[str], NDArray[np.float32]]:
    """Read vectors of `dim` numbers and their names: (Q,) and (Q, D).

    A `.npy` file holds an array (Q, D) or (D,). A line of text holds a vector, its numbers with
    blanks, tabs or commas between, and may begin with a name, as those of `embed lookup --format
    tsv`. Vectors without names are named after the file. Raises FormatError.
    """
    require_file(path)
    with path.open("rb") as file:
        is_npy = file.read(6) == b"\x93NUMPY"
    names, rows = _read_npy(path, dim) if is_npy else _read_text(path, dim)
    if not len(rows):
        raise FormatError(f"{path}: no vector; expected one of {dim} numbers")
    if len(rows) > MOST:
        raise FormatError(f"{path}: {len(rows):,} vectors; expected at most {MOST:,}")
    several = len(rows) > 1
    labels = [
        name or (f"{path.name}:{number}" if several else path.name)
        for number, name in enumerate(names, 1)
    ]
    return labels, rows


def _read_npy(path: Path, dim: int) -> tuple[list[str], NDArray[np.float32]]:
    try:
        array = map_npy(path)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    if array.ndim not in (1, 2) or array.shape[-1] != dim or array.dtype.kind not in "fiu":
        raise FormatError(
            f"{path}: an array of {array.shape} {array.dtype}; expected ({dim},) or (Q, {dim})"
        )
    rows = np.atleast_2d(array[: MOST + 1] if array.ndim > 1 else array)
    with np.errstate(over="ignore"):
        return [""] * len(rows), np.array(rows, np.float32)  # (Q, D)


def _read_text(path: Path, dim: int) -> tuple[list[str], NDArray[np.float32]]:
    names, rows = [], []
    text = files.read_text(path, FormatError, "a file of vectors", "lines of numbers")
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.replace(",", " ").split()
        if not cells:
            continue
        try:
            name = cells.pop(0) if len(cells) == dim + 1 else ""
            row = np.array(cells, np.float32)
        except ValueError:
            raise FormatError(f"{path}:{number}: found a word; expected {dim} numbers") from None
        if len(row) != dim:
            raise FormatError(f"{path}:{number}: found {len(row)} numbers; expected {dim}")
        names.append(name)
        rows.append(row)
    return names, np.array(rows, np.float32).reshape(-1, dim)  # (Q, D)
