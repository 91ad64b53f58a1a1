"""Records of Parquet and Arrow files, read by pyarrow, some rows at a time.

Arrow comes as a stream (as Hugging Face `datasets` saves it) or as a file (Feather), which is a
stream between two marks. Both are read from the first byte to the last, so they may be compressed
or come through a pipe. Parquet has its directory at the end and needs a file.
"""

from __future__ import annotations

import importlib
import io
import json
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from embedcli.errors import MALFORMED_DATA_ERRORS, CorpusError
from embedcli.text.records import Input, Record, labels_of
from embedcli.text.sources import EXPANSION_FLOOR, READ, Chunks

_FILE_MARK = b"ARROW1\0\0"
_ROWS = 64  # that are decoded at once: a long text may be repeated, and stored once
_LARGEST_DIRECTORY = 100 << 20  # bytes of the strings in a Parquet file's directory
_LARGEST_MESSAGE = 2 << 30  # bytes of a record batch


class _Column(NamedTuple):
    """A column to be read, and the names of its numbers if `datasets` keeps labels in it."""

    name: str
    class_names: tuple[str, ...] | None


def read_parquet(file: Input) -> Iterator[Record]:
    """Yield the rows of a Parquet file; raises CorpusError."""
    pyarrow = _library(file)
    stored = file.stored
    with _read_errors(file, pyarrow), stored.reopened() as content:
        # 1. Open it.
        if content.read(4) != b"PAR1":
            found = f"{file.name}: no Parquet file; expected one, not compressed as a whole"
            raise CorpusError(found, "decompress it first: Parquet is compressed inside")
        parquet = importlib.import_module("pyarrow.parquet").ParquetFile(
            content,
            buffer_size=READ,
            pre_buffer=False,
            thrift_string_size_limit=_LARGEST_DIRECTORY,
            thrift_container_size_limit=_LARGEST_DIRECTORY,
        )
        columns = _columns(file, parquet.schema_arrow)
        names = [column.name for column in columns]
        # 2. Compare the sizes that its columns expand to with that of the file.
        metadata = parquet.metadata
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                if chunk.path_in_schema.partition(".")[0] in names:
                    _require_size(file, chunk.total_uncompressed_size)
        # 3. Read it. The file is hashed as far as its rows are read, which is its progress too.
        done = expanded = 0
        for batch in parquet.iter_batches(_ROWS, columns=names, use_threads=False):
            expanded += yield from _records(file, columns, batch, done, expanded)
            done += batch.num_rows
            while stored.size < stored.expected * done // metadata.num_rows and stored.read(READ):
                pass


def read_arrow(file: Input) -> Iterator[Record]:
    """Yield the rows of an Arrow stream or file; raises CorpusError."""
    pyarrow = _library(file)
    ipc = pyarrow.ipc
    is_file = file.content.peek(len(_FILE_MARK)) == _FILE_MARK
    if is_file:
        file.content.read(len(_FILE_MARK))
    with _read_errors(file, pyarrow):
        messages = ipc.MessageReader.open_stream(_Readable(file, file.content))
        try:
            first = next(messages, None)
        except OSError as error:
            if not is_file:
                raise
            raise CorpusError(
                f"{file.name}: found no schema after ARROW1 ({error}); expected one",
                "is it of polars' write_ipc? write_ipc_stream and write_parquet write what is read",
            ) from error
        if first is None:
            raise ValueError("it holds no schema")
        schema = ipc.read_schema(first)
        columns = _columns(file, schema)

        def checked() -> Iterator[bytes]:
            """Yield the messages, once they are found to expand to a size that is possible."""
            yield first.serialize().to_pybytes()
            for message in messages:
                _require_size(file, _stated_size(message))
                yield message.serialize().to_pybytes()

        places = [schema.get_field_index(column.name) for column in columns]
        options = ipc.IpcReadOptions(included_fields=places, use_threads=False)
        done = expanded = 0
        for batch in ipc.open_stream(_Readable(file, Chunks(checked())), options=options):
            expanded += yield from _records(file, columns, batch, done, expanded)
            done += batch.num_rows


def _records(
    file: Input, columns: list[_Column], batch: Any, done: int, expanded: int
) -> Generator[Record, None, int]:
    """Yield the rows of a batch, and return the size of their text; a text that is null is empty.

    `done` rows with `expanded` characters came before it.
    """
    arrays = [batch.column(column.name) for column in columns]
    for array in arrays:
        array.validate(full=True)
    size = 0
    for start in range(0, batch.num_rows, _ROWS):
        texts, *labels = (array.slice(start, _ROWS).to_pylist() for array in arrays)
        for row, text in enumerate(texts):
            number = done + start + row + 1
            found: list[str] = []
            for values, column in zip(labels, columns[1:], strict=True):
                value = values[row]
                if column.class_names is not None:
                    value = _class_name(value, column.class_names)
                found += labels_of(file, number, column.name, value)
            text = text or ""
            size += len(text) + 1
            yield Record(number, text, tuple(found))
        _require_size(file, expanded + size)
    return size


def _class_name(value: Any, names: tuple[str, ...]) -> Any:
    """Return the names of class numbers; a number without a name, as -1 for no label, is None."""
    if isinstance(value, list):
        return [_class_name(each, names) for each in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _columns(file: Input, schema: Any) -> list[_Column]:
    """Return the columns to be read, that of the text first; raises CorpusError."""
    types = importlib.import_module("pyarrow.types")
    columns: list[_Column] = []
    for flag, name in file.columns().items():
        if schema.names.count(name) != 1:
            found = f"no column {name!r}" if name not in schema.names else f"two columns {name!r}"
            listed = ", ".join(schema.names) or "none"
            hint = f"name it by {flag}"
            raise CorpusError(f"{file.name}: {found}; the columns are {listed}", hint)
        of_text = schema.field(name).type
        if types.is_dictionary(of_text):
            of_text = of_text.value_type
        if not columns and not (
            types.is_string(of_text)
            or types.is_large_string(of_text)
            or types.is_string_view(of_text)
        ):
            raise CorpusError(
                f"{file.name}: column {name!r} is {of_text}; expected text", f"name it by {flag}"
            )
        columns.append(_Column(name, _class_names(schema, name)))
    return columns


def _class_names(schema: Any, name: str) -> tuple[str, ...] | None:
    """Return the names that Hugging Face `datasets` keeps for the numbers of a label column."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][name]
        feature = feature.get("feature", feature)
        if feature["_type"] == "ClassLabel":
            return tuple(map(str, feature["names"]))
    except MALFORMED_DATA_ERRORS:
        pass
    return None


def _stated_size(message: Any) -> int:
    """Return the bytes that the compressed buffers of an Arrow message say they expand to.

    Source: Arrow's `format/Message.fbs`. A table of a FlatBuffer begins with the distance back to
    the list of its fields' offsets; pyarrow has checked that they lie within the message.
    """
    if message.type not in ("record batch", "dictionary"):
        return 0
    data = message.metadata.to_pybytes()

    def followed(place: int) -> int:
        return place + int(struct.unpack_from("<I", data, place)[0])

    def field(table: int, number: int) -> int:
        """Return the place of a field, or that of its table if it is left out."""
        offsets = table - struct.unpack_from("<i", data, table)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", data, offsets)[0]:
            return table
        return table + int(struct.unpack_from("<H", data, offsets + 4 + 2 * number)[0])

    batch = followed(field(followed(0), 2))
    if message.type == "dictionary":
        batch = followed(field(batch, 1))
    if field(batch, 3) == batch:
        return 0  # not compressed
    buffers, total = followed(field(batch, 2)), 0
    for number in range(struct.unpack_from("<I", data, buffers)[0]):
        start, length = struct.unpack_from("<qq", data, buffers + 4 + 16 * number)
        if length >= 8:
            total += max(struct.unpack_from("<q", message.body, start)[0], 0)
    return total


def _require_size(file: Input, size: int) -> None:
    """Raise CorpusError where a file expands to more than `--max-expansion` times its own size."""
    factor = file.settings.max_expansion
    if size > max(EXPANSION_FLOOR, factor * max(file.stored.size, file.stored.expected)):
        raise CorpusError(
            f"{file.name}: expands to more than {factor} times its size",
            "if that is right, raise --max-expansion",
        )


class _Readable(io.RawIOBase):
    """The content of a file, as pyarrow reads it."""

    def __init__(self, file: Input, content: Chunks) -> None:
        self._file, self._content = file, content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_MESSAGE:
            raise CorpusError(
                f"{self._file.name}: a record batch of over {_LARGEST_MESSAGE >> 30} GB, "
                "or damaged; expected smaller ones"
            )
        return self._content.read(size)


def _library(file: Input) -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise CorpusError(
            f"{file.name}: is Parquet or Arrow, which needs pyarrow; it is not installed",
            "pip install 'embedcli[arrow]'",
        ) from None


@contextmanager
def _read_errors(file: Input, pyarrow: Any) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a CorpusError."""
    try:
        yield
    except (
        pyarrow.ArrowException,
        OSError,
        EOFError,
        struct.error,
        *MALFORMED_DATA_ERRORS,
    ) as error:
        found = " ".join(str(error).split()) or "cut off"
        raise CorpusError(f"{file.name}: damaged or cut off ({found})") from error
