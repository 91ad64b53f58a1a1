"""safetensors: a matrix `embedding` (V, D) and its words as UTF-8 lines, a tensor `vocabulary`.

Of other files the matrix of the embedding layer is read, with words from the file that the options
name, or from `vocab.txt` or `tokenizer.json` beside them.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError, VocabularyError
from embedcli.formats.base import Options, Read, Rows, mappable, write_blocks
from embedcli.formats.tokenizer_json import read_words
from embedcli.storage import files
from embedcli.storage.arrays import drop_pages
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

_WORDS, _COUNTS = "vocabulary", "counts"
_MATRIX = "embedding"
# How the names of embedding layers end, in PyTorch, Transformers, sentence-transformers, model2vec.
_LAYERS = re.compile(
    r"(?:.*\.)?(?:embeddings?|(?:word_|token_|tok_)?embeddings?\.weight|embed_tokens\.weight|"
    r"emb\.weight|wte\.weight|shared\.weight)"
)
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
                layers = [name for name in matrices if _LAYERS.fullmatch(name)]
                if len(layers) != 1:
                    layers = [name for name in matrices if name == _MATRIX] or layers or matrices
                if len(layers) != 1:
                    found = ", ".join(layers[:5])
                    raise FormatError(
                        f"{path}: {len(layers)} matrices of floats ({found}); expected one of an "
                        "embedding layer"
                    )
                if 0 in slices[layers[0]].get_shape():
                    raise FormatError(f"{path}: holds no vectors")
                others = {
                    name: file.get_tensor(name)
                    for name in (_WORDS, _COUNTS, "mapping", "weights")
                    if name in slices
                }
        except (library.SafetensorError, OSError, ValueError, TypeError) as error:
            raise FormatError(f"{path}: {error}") from error
        vectors = _mapped(mapped, layers[0])  # (V, D)
    if "mapping" in others or "weights" in others:
        vectors = _unfolded(path, vectors, others.get("mapping"), others.get("weights"))
    ids, vocabulary, skipped = _vocabulary(path, options, others.get(_WORDS), len(vectors))
    if ids is not None:
        vectors = vectors[ids]
    counts = others.get(_COUNTS)
    if counts is not None and counts.shape == (len(vocabulary),) and counts.dtype == np.int64:
        vocabulary.counts = counts
    return Read(EmbeddingTable(vocabulary, vectors), skipped)


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


def _unfolded(
    path: Path, rows: NDArray[Any], mapping: NDArray[Any] | None, weights: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Return a row for each token of a model2vec model whose rows are shared and weighted.

    Source: model2vec/model.py, `StaticModel._encode_helper`.
    """
    tokens = len(rows) if mapping is None else len(mapping)
    if mapping is not None and not (
        mapping.ndim == 1
        and mapping.dtype.kind in "iu"
        and len(mapping)
        and mapping.min() >= 0
        and mapping.max() < len(rows)
    ):
        raise FormatError(f"{path}: a mapping of tokens to rows that are not there")
    if weights is not None and (weights.shape != (tokens,) or weights.dtype.kind != "f"):
        raise FormatError(f"{path}: {weights.shape} weights for {tokens} tokens")
    collected = Rows(rows.shape[1])
    for start in range(0, tokens, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        block = rows[part] if mapping is None else rows[mapping[part]]  # (B, D)
        scale = 1 if weights is None else weights[part, None]
        collected.add(np.asarray(block * scale, np.float32))
    return collected.finish()


def _vocabulary(
    path: Path, options: Options, words: NDArray[Any] | None, rows: int
) -> tuple[NDArray[np.int64] | None, Vocabulary, dict[str, int]]:
    """Return the ids of rows with a word (None: of all), the words, and how many were left out."""
    try:
        if words is not None:
            vocabulary = Vocabulary(words.tobytes().decode().split("\n")[:-1])
        else:
            beside = [path.with_name("vocab.txt"), path.with_name("tokenizer.json")]
            place = options.vocab or next((each for each in beside if each.is_file()), None)
            if place is None:
                raise FormatError(
                    f"{path}: a matrix without words",
                    f"name them by --vocab, or put them, one a line, into {beside[0]}",
                )
            if place.suffix == ".json":
                return _tokens_of(place, path, rows)
            vocabulary = Vocabulary.read(place)
    except VocabularyError as error:
        raise FormatError(f"{path}: {error.message}", error.hint) from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: words that are not UTF-8") from error
    if len(vocabulary) != rows:
        raise FormatError(f"{path}: {len(vocabulary)} words for {rows} vectors")
    return None, vocabulary, {}


def _tokens_of(
    place: Path, path: Path, rows: int
) -> tuple[NDArray[np.int64] | None, Vocabulary, dict[str, int]]:
    """Return the tokens of a tokenizer.json with their ids, as `_vocabulary` does.

    Rows without a token are left out, and so are tokens that no line can hold, and repeated ones.
    """
    tokens = read_words(place)
    if not tokens or min(tokens) < 0 or max(tokens) >= rows:
        largest = max(tokens, default=-1)
        raise FormatError(
            f"{path}: {rows} vectors; expected one for each id to {largest} of {place}"
        )
    kept: dict[str, int] = {}
    for index, token in sorted(tokens.items()):
        if token and "\n" not in token:
            kept.setdefault(token, index)
    skipped = {"rows without a token of one line": rows - len(kept)}
    vocabulary = Vocabulary(kept)
    if len(kept) == rows:
        return None, vocabulary, {}
    return np.fromiter(kept.values(), np.int64, len(kept)), vocabulary, skipped


def write(path: Path, table: EmbeddingTable, matrix: str = _MATRIX, *, words: bool = True) -> None:
    """Write a file for `safetensors.numpy.load_file`; raises FormatError, StoreError.

    With the matrix come the words, or else, for a file with a tokenizer beside it, their counts.
    """
    library = _library(path)
    other: tuple[str, str, bytes] | None = None
    if words:
        other = (_WORDS, "U8", table.vocabulary.to_bytes())
    elif table.vocabulary.counts is not None:
        other = (_COUNTS, "I64", np.asarray(table.vocabulary.counts, "<i8").tobytes())
    size = 4 * len(table) * table.dim
    tensors: dict[str, Any] = {
        matrix: {"dtype": "F32", "shape": (len(table), table.dim), "data_offsets": (0, size)}
    }
    if other is not None:
        name, dtype, data = other
        items = len(data) // (8 if dtype == "I64" else 1)
        offsets = (size, size + len(data))
        tensors[name] = {"dtype": dtype, "shape": (items,), "data_offsets": offsets}
    # The library writes the same header; but it needs the whole table in memory.
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with files.atomic_write(path) as out:
        out.write(len(header).to_bytes(8, "little") + header)
        for _, _, rows in write_blocks(table, path):
            out.write(np.ascontiguousarray(rows, "<f4").data)
        if other is not None:
            out.write(other[2])
        out.flush()
        with library.safe_open(out.name, framework="numpy"):
            pass  # raises for a file that is not one


def _library(path: Path) -> Any:
    try:
        return importlib.import_module("safetensors")
    except ImportError:
        raise FormatError(
            f"{path}: needs the safetensors library, which is not installed",
            "pip install 'embedcli[safetensors]'",
        ) from None
