"""safetensors: a matrix `embedding` (V, D) and its words as UTF-8 lines, a tensor `vocabulary`.

Of other files the only float matrix is read, with words from `vocab.txt` beside them.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError, VocabularyError
from embedcli.formats.base import Options, Read, Rows, mappable, write_blocks
from embedcli.storage import files
from embedcli.storage.arrays import drop_pages
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

_WORDS = "vocabulary"
_MATRIX = "embedding"
_DTYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}  # NumPy has no bfloat16
_ROWS_AT_ONCE = 1 << 12
_LONGEST_HEADER = 100_000_000  # bytes that the library reads
_ALIGNMENT = 8  # of the tensors, by blanks after the header


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the file begins with the length of a JSON header, and the header."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def read(path: Path, options: Options) -> Read:
    """Read the matrix and its words; raises FormatError, also where the library is missing."""
    library = _library(path)
    with mappable(path, options) as mapped:
        try:
            with library.safe_open(mapped, framework="numpy") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                matrices = [
                    name
                    for name, each in slices.items()
                    if len(each.get_shape()) == 2 and each.get_dtype() in _DTYPES
                ]
                if len(matrices) != 1:
                    raise FormatError(f"{path}: {len(matrices)} matrices of floats; expected one")
                if 0 in slices[matrices[0]].get_shape():
                    raise FormatError(f"{path}: holds no vectors")
                words = file.get_tensor(_WORDS) if _WORDS in slices else None
        except (library.SafetensorError, OSError, ValueError, TypeError) as error:
            raise FormatError(f"{path}: {error}") from error
        vectors = _mapped(mapped, matrices[0])  # (V, D)
    vocabulary = _vocabulary(path, words)
    if len(vocabulary) != len(vectors):
        raise FormatError(f"{path}: {len(vocabulary)} words for {vectors.shape} vectors")
    return Read(EmbeddingTable(vocabulary, vectors))


def _mapped(path: Path, name: str) -> NDArray[Any]:
    """Map a matrix of a file that the library has checked; the library would copy it.

    A matrix of bfloat16 is converted to float32, exactly.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    begin = 8 + length + entry["data_offsets"][0]
    vectors: NDArray[Any] = np.memmap(
        path, _DTYPES[entry["dtype"]], "r", begin, tuple(entry["shape"])
    ).view(np.ndarray)
    return _widened(vectors) if entry["dtype"] == "BF16" else vectors


def _widened(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return float32 of bfloat16 (V, D), which is the upper half of the bits."""
    rows = Rows(halves.shape[1])
    for start in range(0, len(halves), _ROWS_AT_ONCE):
        bits = halves[start : start + _ROWS_AT_ONCE].astype("<u4") << 16  # (B, D)
        rows.add(bits.view("<f4"))
        drop_pages(halves)
    return rows.finish()


def _vocabulary(path: Path, words: NDArray[Any] | None) -> Vocabulary:
    beside = path.with_name("vocab.txt")
    try:
        if words is not None:
            return Vocabulary(words.tobytes().decode().split("\n")[:-1])
        if beside.is_file():
            return Vocabulary.read(beside)
    except VocabularyError as error:
        raise FormatError(f"{path}: {error.message}", error.hint) from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: words that are not UTF-8") from error
    raise FormatError(f"{path}: a matrix without words", f"put them, one a line, into {beside}")


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a file for `safetensors.numpy.load_file`; raises FormatError, StoreError."""
    library = _library(path)
    words = table.vocabulary.to_bytes()
    with files.atomic_write(path) as out:
        out.write(_header((len(table), table.dim), len(words)))
        for _, _, rows in write_blocks(table, path):
            out.write(np.ascontiguousarray(rows, "<f4").data)
        out.write(words)
        out.flush()
        with library.safe_open(out.name, framework="numpy"):
            pass  # raises for a file that is not one


def _header(shape: tuple[int, ...], words: int) -> bytes:
    """Return the header that the library would write; it needs the whole table in memory."""
    size = 4 * shape[0] * shape[1]
    tensors = {
        _MATRIX: {"dtype": "F32", "shape": shape, "data_offsets": (0, size)},
        _WORDS: {"dtype": "U8", "shape": (words,), "data_offsets": (size, size + words)},
    }
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _library(path: Path) -> Any:
    try:
        return importlib.import_module("safetensors")
    except ImportError:
        raise FormatError(
            f"{path}: needs the safetensors library, which is not installed",
            "pip install 'embedcli[safetensors]'",
        ) from None
