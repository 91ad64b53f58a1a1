"""A `.npy` array and its words: `NAME.npy` with `NAME.vocab.txt` or `vocab.txt` beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli.errors import FormatError, VocabularyError
from embedcli.formats.base import Options, Read, mappable, uncompressed_name, write_blocks
from embedcli.storage import files
from embedcli.storage.arrays import map_npy, npy_header
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the file begins as NumPy's format does."""
    return head.startswith(b"\x93NUMPY")


def read(path: Path, options: Options) -> Read:
    """Map an array of floats, (V, D), and its words; raises FormatError."""
    with mappable(path, options) as file:
        try:
            vectors = map_npy(file)
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from error
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind != "f":
        raise FormatError(f"{path}: an array of {vectors.shape} {vectors.dtype}; expected vectors")
    own = _words_beside(path)
    beside = (own, path.with_name("vocab.txt"))
    words = options.vocab or next((each for each in beside if each.is_file()), None)
    if words is None:
        raise FormatError(
            f"{path}: an array without words",
            f"name them by --vocab, or put them, one a line, into {own}",
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
    with files.atomic_write(_words_beside(path)) as words, files.atomic_write(path) as out:
        words.write(table.vocabulary.to_bytes())
        out.write(npy_header((len(table), table.dim), "<f4"))
        for _, _, rows in write_blocks(table, path):
            out.write(np.ascontiguousarray(rows, "<f4").data)


def _words_beside(path: Path) -> Path:
    return uncompressed_name(path).with_suffix(".vocab.txt")
