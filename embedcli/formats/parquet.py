"""Parquet: columns `token` (string), `count` (int64) and `vector` (list of float32).

DuckDB, polars and embedding-atlas open it. Of other files the column of text and the one of lists
of floats are read, if there is one of each.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import MALFORMED_DATA_ERRORS, FormatError
from embedcli.formats.base import Collector, Options, Read, Where, require_file, write_blocks
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.text.sources import EXPANSION_FLOOR

_ROWS = 1 << 10  # that are read at once
_BUFFER = 1 << 20  # bytes


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the file begins as Parquet does."""
    return head.startswith(b"PAR1")


def read(path: Path, options: Options) -> Read:
    """Read the words, their counts and vectors; raises FormatError."""
    pyarrow, parquet = _library(path)
    size = require_file(path)
    collector: Collector | None = None
    counts: list[int | None] = []
    try:
        with path.open("rb") as stored:
            file = parquet.ParquetFile(stored, buffer_size=_BUFFER, pre_buffer=False)
            word, vector, counted = _columns(path, pyarrow.types, file.schema_arrow)
            _require_size(path, file.metadata, max(EXPANSION_FLOOR, options.max_expansion * size))
            columns = [word, vector, "count"] if counted else [word, vector]
            for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
                done = collector.seen if collector else 0

                def where(place: int, done: int = done) -> str:
                    return f"{path}:{done + place + 1}"

                rows = _rows_of(batch.column(vector), where)
                collector = collector or Collector(path, rows.shape[1], options)
                if rows.shape[1] != collector.dim:
                    found = f"found {rows.shape[1]} numbers; expected {collector.dim}"
                    raise FormatError(f"{where(0)}: {found}")
                words = [str(each or "").encode() for each in batch.column(word).to_pylist()]
                collector.add(words, rows, where)
                if counted:
                    counts += batch.column("count").cast("int64").to_pylist()
                if options.progress is not None:
                    options.progress(size * collector.seen // file.metadata.num_rows, size)
    except (pyarrow.ArrowException, OSError, *MALFORMED_DATA_ERRORS) as error:
        said = " ".join(str(error).split())
        raise FormatError(f"{path}: damaged or cut off ({said})") from error
    if collector is None:
        raise FormatError(f"{path}: holds no vectors")
    result = collector.finish()
    if len(counts) == len(result.table) and None not in counts:
        result.table.vocabulary.counts = np.array(counts, np.int64)  # (V,)
    return result


def _require_size(path: Path, metadata: Any, largest: int) -> None:
    """Raise FormatError where the columns expand to more than `largest` bytes."""
    expanded = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            # A number that is repeated may be stored once.
            expanded += max(chunk.total_uncompressed_size, 4 * chunk.num_values)
    if expanded > largest:
        raise FormatError(f"{path}: expands to {expanded:,} bytes; expected at most {largest:,}")


def _columns(path: Path, types: Any, schema: Any) -> tuple[str, str, bool]:
    """Return the names of the columns of words and vectors, and whether counts are there too."""

    def is_text(kind: Any) -> bool:
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def is_vector(kind: Any) -> bool:
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(is_list and types.is_floating(kind.value_type))

    chosen = []
    for name, fits, what in (("token", is_text, "text"), ("vector", is_vector, "lists of floats")):
        found = [field.name for field in schema if fits(field.type)]
        if name not in found and len(found) != 1:
            listed = ", ".join(schema.names) or "none"
            raise FormatError(
                f"{path}: {len(found)} columns of {what}; expected one, or {name!r} "
                f"(the columns are {listed})"
            )
        chosen.append(name if name in found else found[0])
    counted = "count" in schema.names and types.is_integer(schema.field("count").type)
    return chosen[0], chosen[1], counted


def _rows_of(lists: Any, where: Where) -> NDArray[np.float32]:
    """Return lists of floats of one length as an array (B, D); raises FormatError."""
    lists.validate(full=True)
    lengths = importlib.import_module("pyarrow.compute").list_value_length(lists)
    dims = lengths.fill_null(0).to_numpy(zero_copy_only=False)  # (B,)
    wrong = (dims != dims[0]) | (dims == 0)  # (B,)
    if wrong.any():
        place = int(wrong.argmax())
        raise FormatError(f"{where(place)}: found {dims[place]} numbers; expected {dims[0] or 1}")
    numbers = lists.flatten().to_numpy(zero_copy_only=False)  # a number that is null becomes NaN
    return np.asarray(numbers, np.float32).reshape(len(dims), -1)


def write(path: Path, table: EmbeddingTable) -> None:
    """Write the table, a row group for each block; raises FormatError, StoreError."""
    pyarrow, parquet = _library(path)
    counts = table.vocabulary.counts
    columns = {"token": pyarrow.string(), "vector": pyarrow.list_(pyarrow.float32())}
    if counts is not None:
        columns = {"token": pyarrow.string(), "count": pyarrow.int64(), **columns}
    schema = pyarrow.schema(columns)
    with (
        files.atomic_write(path) as out,
        parquet.ParquetWriter(out, schema, use_dictionary=False) as writer,
    ):
        for start, words, rows in write_blocks(table, path):
            offsets = np.arange(0, rows.size + 1, table.dim, dtype=np.int32)  # (B + 1,)
            numbers = np.ascontiguousarray(rows, np.float32).ravel()
            arrays = {
                "token": pyarrow.array(words, pyarrow.string()),
                "vector": pyarrow.ListArray.from_arrays(offsets, numbers),
            }
            if counts is not None:
                part = np.asarray(counts[start : start + len(words)], np.int64)
                arrays["count"] = pyarrow.array(part)
            writer.write_batch(
                pyarrow.record_batch([arrays[name] for name in schema.names], schema=schema)
            )


def _library(path: Path) -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise FormatError(
            f"{path}: Parquet needs pyarrow, which is not installed",
            "pip install 'embedcli[arrow]'",
        ) from None
