"""A `.npy` array and its words: `NAME.npy` with `NAME.vocab.txt` or `vocab.txt` beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli.errors import FormatError, VocabularyError
from embedcli.formats.base import Format, Options, Read, require_file, unwritable, write_blocks
from embedcli.storage import files
from embedcli.storage.arrays import map_npy
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the file begins as NumPy's format does."""
    return head.startswith(b"\x93NUMPY")


def read(path: Path, options: Options) -> Read:  # noqa: ARG001
    """Map an array of floats, (V, D), and its words; raises FormatError."""
    require_file(path)
    try:
        vectors = map_npy(path)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind != "f":
        raise FormatError(f"{path}: an array of {vectors.shape} {vectors.dtype}; expected vectors")
    words = next((each for each in _vocabularies(path) if each.is_file()), None)
    if words is None:
        raise FormatError(
            f"{path}: an array without words",
            f"put them, one a line, into {_vocabularies(path)[0]}",
        )
    try:
        vocabulary = Vocabulary.read(words)
    except VocabularyError as error:
        raise FormatError(error.message, error.hint) from error
    if len(vocabulary) != len(vectors):
        raise FormatError(f"{words}: {len(vocabulary)} words for {len(vectors)} vectors in {path}")
    return Read(EmbeddingTable(vocabulary, vectors))


def write(path: Path, table: EmbeddingTable) -> None:
    """Write `NAME.npy` and `NAME.vocab.txt`; raises FormatError, StoreError."""
    header = {"descr": "<f4", "fortran_order": False, "shape": table.vectors.shape}
    with files.atomic_write(_vocabularies(path)[0]) as words, files.atomic_write(path) as out:
        words.write(table.vocabulary.to_bytes())
        np.lib.format.write_array_header_1_0(out, header)
        for start, block, rows in write_blocks(table, path):
            for place, word in enumerate(block):
                if word.endswith("\r") or (not start + place and word.startswith("\ufeff")):
                    raise unwritable(path, word, start + place)
            out.write(np.ascontiguousarray(rows, "<f4").data)


def _vocabularies(path: Path) -> list[Path]:
    return [path.with_suffix(".vocab.txt"), path.with_name("vocab.txt")]


FORMAT = Format("NumPy array NAME.npy with the words in NAME.vocab.txt", sniff, read, write)
