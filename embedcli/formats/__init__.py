"""Vectors to and from files: one module a format, told apart by their content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError
from embedcli.formats import (
    fasttext,
    fasttext_bin,
    glove,
    model,
    npy,
    projector,
    safetensors,
    word2vec,
    word2vec_binary,
)
from embedcli.formats.base import Format, Options, Read, read_head
from embedcli.storage.arrays import drop_pages
from embedcli.table import EmbeddingTable

# In the order in which they are tried.
FORMATS: dict[str, Format] = {
    "model": model.FORMAT,
    "npy": npy.FORMAT,
    "safetensors": safetensors.FORMAT,
    "fasttext-bin": fasttext_bin.FORMAT,
    "word2vec-binary": word2vec_binary.FORMAT,
    "projector": projector.FORMAT,
    "fasttext": fasttext.FORMAT,
    "word2vec": word2vec.FORMAT,
    "glove": glove.FORMAT,
}

FORMAT_OF_SUFFIX = {
    "": "model",
    ".npy": "npy",
    ".txt": "word2vec",
    ".vec": "fasttext",
    ".bin": "word2vec-binary",
    ".safetensors": "safetensors",
    ".tsv": "projector",
}

_PICKLE = "a Python pickle, which can run any program: it is never opened"

# Files that are met where vectors are expected, and why they are not read.
_STRANGERS = {
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"FiFu": "a finalfusion file; finalfusion's own tools write word2vec binary from it",
    b"PAR1": "a Parquet file",
}


def sniff(path: Path) -> str:
    """Find the format of a file or folder by its content; raises FormatError, StoreError."""
    if not path.is_dir() and not model.sniff(path, b""):
        return _sniff_file(path)
    if (path / "vectors.tsv").is_file():
        return "projector"
    return "model"


def _sniff_file(path: Path) -> str:
    head = read_head(path)
    for magic, what in _STRANGERS.items():
        if head.startswith(magic):
            pickled = what == _PICKLE
            hint = "in gensim, save_word2vec_format writes a file that is read" if pickled else None
            raise FormatError(f"{path}: {what}", hint)
    for name, each in FORMATS.items():
        if each.sniff(path, head):
            return name
    raise FormatError(f"{path}: not a known format of vectors", f"embed reads {', '.join(FORMATS)}")


def read(path: Path, options: Options | None = None) -> Read:
    """Read vectors from a file or folder in any format; raises FormatError, StoreError."""
    path = path / "vectors.tsv" if (path / "vectors.tsv").is_file() else path
    return FORMATS[sniff(path)].read(path, options or Options())


def open_table(path: Path) -> EmbeddingTable:
    """Open vectors in any format, memory-mapped where it allows; raises as `read`."""
    return read(path).table


def convert(
    source: Path, target: Path, to: str | None = None, options: Options | None = None
) -> Read:
    """Write the vectors of `source` to `target` in the format named `to`; returns what was read.

    Without `to` the name of `target` decides. Memory grows with the words only, not with the
    numbers. Raises FormatError, StoreError.
    """
    to = to or format_of_name(target)
    writer = FORMATS[to].write if to in FORMATS else None
    if writer is None:
        writable = ", ".join(name for name, each in FORMATS.items() if each.write)
        raise FormatError(f"{to!r} is not a format that is written; expected one of {writable}")
    if source.exists() and target.exists() and target.samefile(source):
        raise FormatError(f"{target}: that is what is read; expected another place to write to")
    found = read(source, options)
    writer(target, _Passing(found.table, options or Options()))
    return found


def format_of_name(path: Path) -> str:
    """Return the format that a name stands for; raises FormatError where it stands for none."""
    name = path.name.lower()
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    suffix = Path(name).suffix
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(suffix or "a folder" for suffix in FORMAT_OF_SUFFIX)
        raise FormatError(f"{path}: the name tells no format; expected {known}", "--to FORMAT")
    return FORMAT_OF_SUFFIX[suffix]


class _Passing(EmbeddingTable):
    """A table that is gone through: it tells how far, and gives back the memory of its rows."""

    def __init__(self, table: EmbeddingTable, options: Options) -> None:
        super().__init__(table.vocabulary, table.vectors)
        self._written = options.written

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Go through the table in blocks of `size` bytes."""
        for start, rows in super().blocks(size):
            yield start, rows
            drop_pages(self.vectors)
            if self._written is not None:
                self._written(start + len(rows), len(self))
