"""Kinds of files: plain text, and records with columns (CSV, TSV, JSON lines, Parquet, Arrow)."""

from __future__ import annotations

import codecs
import csv
import importlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.lines import HANDLERS, Block, Row, split_lines, valid_utf8
from embedcli.text.sources import READ, Chunks, Kind, Opened

# Bytes of the longest record; more is an unclosed quote, or no file of records.
LONGEST_RECORD = 16 << 20
_DELIMITERS = ",;\t|"  # of CSV, tried in this order
# How files of records that are no text begin: an Arrow stream with the size of its first message.
_COLUMNAR: dict[Kind, re.Pattern[bytes]] = {
    "parquet": re.compile(rb"PAR1"),
    "arrow": re.compile(rb"ARROW1\0\0|\xff{4}..[\0-\x0f]\0.", re.DOTALL),
}


class Input(NamedTuple):
    """A file to be read by one of the `READERS`."""

    name: str  # for errors
    content: Chunks  # UTF-8
    settings: TextSettings
    labelled: bool  # whether labels are read too
    stored: Opened  # the file that holds the content

    def error(self, line: int, message: str, hint: str | None = None) -> CorpusError:
        """Return the error for what is wrong on a line."""
        return CorpusError(f"{self.name}:{line}: {message}", hint=hint)

    def columns(self) -> dict[str, str]:
        """Return the name of the column of the text, and that of the labels if one is needed.

        A column that the settings name has to be there even if no labels are read.
        """
        columns = {"--text-column": self.settings.text_column or "text"}
        label = self.settings.label_column or ("label" if self.labelled else None)
        return columns if label is None else {**columns, "--label-column": label}


def columnar_kind(named: Kind, head: bytes, settings: TextSettings) -> Kind | None:
    """Return the kind of a file that is no text: as the settings or its first bytes say."""
    asked = named if settings.input_format == "auto" else settings.input_format
    if asked in ("parquet", "arrow"):
        return asked
    if settings.input_format == "auto":
        for kind, magic in _COLUMNAR.items():
            if magic.match(head):
                return kind
    return None


def kind_of(named: Kind, content: Chunks, settings: TextSettings) -> Kind:
    """Return the kind of a text: as set, or as named, or if columns are asked for, by content."""
    if settings.input_format != "auto":
        return settings.input_format
    asked = settings.text_column or settings.label_column or not settings.header
    if named == "jsonl" or not (asked or settings.delimiter):
        return named
    if settings.delimiter:
        return "csv"
    if named != "plain":
        return named
    head = content.peek(READ).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith((b"{", b"[")):
        return "jsonl"
    return "tsv" if b"\t" in head.partition(b"\n")[0] else "csv"


class Record(NamedTuple):
    """A text with its labels, and the line of the file it ends on."""

    line: int
    text: str
    labels: tuple[str, ...] = ()


def _numbered_lines(file: Input) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file, with their newlines, and their numbers from 1."""
    rest = ""
    for block in split_lines(file.name, file.content, READ):
        text = rest + valid_utf8(block, file.settings.errors).decode("utf-8")
        *lines, rest = text.split("\n")
        if len(rest) > LONGEST_RECORD:
            raise file.error(block.line + len(lines), f"a line of over {LONGEST_RECORD >> 20} MB")
        for number, line in enumerate(lines, block.line):
            yield number, line + "\n"
    if rest:
        yield block.line + len(lines), rest + "\n"


def _read_csv(file: Input) -> Iterator[Record]:
    """Yield the records of CSV, with quotes as Excel writes them."""
    lines = _numbered_lines(file)
    first = next(lines, (1, ""))[1]
    delimiter = (file.settings.delimiter or "").replace("tab", "\t").replace("\\t", "\t")
    if not delimiter:
        # Of the delimiters by which the first line has the columns, that of the most cells.
        most = {}
        for each in _DELIMITERS:
            try:
                cells = next(csv.reader([first], delimiter=each), [])
            except csv.Error:  # a carriage return inside the line
                continue
            if set(file.columns().values()) <= set(_column_names(file, cells)):
                most[each] = len(cells)
        delimiter = max(most, key=lambda each: most[each], default=",")
    texts = chain([first] if first else [], (line for _, line in lines))
    yield from _read_cells(file, csv.reader(texts, delimiter=delimiter, strict=True))


def _read_tsv(file: Input) -> Iterator[Record]:
    """Yield the records of TSV, in which quotes are characters like any other."""
    lines = (line for _, line in _numbered_lines(file))
    yield from _read_cells(file, csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _read_cells(file: Input, reader: Any) -> Iterator[Record]:
    """Yield the records of rows of cells."""
    limit = csv.field_size_limit(LONGEST_RECORD)
    try:
        header: list[str] = []
        places: list[int] = []  # of the columns
        for cells in reader:
            if not cells:
                continue
            if not header:
                # 1. The first line names the columns, or their numbers do.
                header = _column_names(file, cells)
                for flag, name in file.columns().items():
                    if name not in header:
                        raise _no_column(file, header, flag, name)
                    places.append(header.index(name))
                if file.settings.header:
                    continue
            # 2. Each other line is a record.
            if len(cells) != len(header):
                found = f"found {len(cells)} cells; expected {len(header)}"
                raise file.error(reader.line_num, found)
            text, *labels = (cells[place] for place in places)
            yield Record(reader.line_num, text, tuple(labels))
        if not header:
            flag, name = next(iter(file.columns().items()))
            raise _no_column(file, header, flag, name)
    except csv.Error as error:
        raise file.error(reader.line_num, f"{error}; expected records of cells") from error
    finally:
        csv.field_size_limit(limit)


def _column_names(file: Input, cells: list[str]) -> list[str]:
    """Return the names of columns: the cells of the first line, or numbers from 1."""
    return cells if file.settings.header else [str(number + 1) for number in range(len(cells))]


def _no_column(file: Input, header: list[str], flag: str, name: str) -> CorpusError:
    hint = f"name it by {flag}; see also --delimiter and --no-header"
    if not file.settings.header:
        hint = f"without a header the columns have numbers: {flag} 1"
    columns = ", ".join(header) or "none"
    return file.error(1, f"no column {name!r}; the columns are {columns}", hint)


def _read_json_lines(file: Input) -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line.

    A value may be a list of labels or numbers; an empty list says that no label applies.
    """
    columns = file.columns()
    for number, line in _numbered_lines(file):
        if not line.strip():
            continue
        # 1. Parse the object.
        record, found = None, f"found {line.strip()[:20]!r}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            found = f"{error.msg}, column {error.colno}"
        except (ValueError, RecursionError) as error:
            found = str(error)
        if not isinstance(record, dict):
            hint = "of a list make lines: jq -c '.[]' FILE.json > FILE.jsonl"
            is_list = line.lstrip().startswith("[")
            raise file.error(number, f"{found}; expected a JSON object", hint if is_list else None)
        # 2. Get the text and the labels.
        for flag, key in columns.items():
            if key not in record:
                found = f"no key {key!r}; the keys are {', '.join(record) or 'none'}"
                raise file.error(number, found, f"name it by {flag}")
        text, *found_labels = (record[key] for key in columns.values())
        if not isinstance(text, str):
            said = json.dumps(text)[:80]
            raise file.error(number, f"{columns['--text-column']} is {said}; expected text")
        labels: list[str] = []
        for value in found_labels:
            labels += labels_of(file, number, columns["--label-column"], value)
        yield Record(number, text, tuple(labels))


def labels_of(file: Input, number: int, column: str, value: Any) -> list[str]:
    """Return the labels of a record: one, or a list; raises CorpusError for another type."""
    labels = []
    for label in value if isinstance(value, list) else [value]:
        if not isinstance(label, str | int | float):
            said = json.dumps(label, default=str)[:80]
            raise file.error(number, f"{column} is {said}; expected a label or a number")
        labels.append(json.dumps(label) if isinstance(label, bool) else str(label))
    return labels


def _read_records(
    read: Callable[[Input], Iterator[Record]],
) -> Callable[[Input, int], Iterator[Block]]:
    """Return a reader of blocks: the texts of records as lines, with the rest of them as rows."""

    def blocks(file: Input, size: int) -> Iterator[Block]:
        rows: deque[Row] = deque()

        def texts() -> Iterator[bytes]:
            for record in read(file):
                try:
                    text = record.text.encode("utf-8", HANDLERS[file.settings.errors])
                except UnicodeEncodeError as error:
                    half = hex(ord(error.object[error.start]))
                    found = f"half a character ({half}) in the text"
                    raise file.error(record.line, found) from None
                rows.append(Row(record.line, record.labels))
                yield text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"

        for block in split_lines(file.name, Chunks(texts()), size):
            ends = block.data.count(b"\n")
            yield block._replace(rows=tuple(rows.popleft() for _ in range(ends)))

    return blocks


def _read_columnar(reader: str) -> Callable[[Input], Iterator[Record]]:
    """Return a reader of `text.columnar`, which is imported when it is used."""
    columnar = "embedcli.text.columnar"
    return lambda file: getattr(importlib.import_module(columnar), reader)(file)


# How each kind of file is read into blocks of at most so many bytes.
READERS: dict[Kind, Callable[[Input, int], Iterator[Block]]] = {
    "plain": lambda file, size: split_lines(
        file.name, file.content, size, file.stored.source.line, file.stored.source.start
    ),
    "csv": _read_records(_read_csv),
    "tsv": _read_records(_read_tsv),
    "jsonl": _read_records(_read_json_lines),
    "parquet": _read_records(_read_columnar("read_parquet")),
    "arrow": _read_records(_read_columnar("read_arrow")),
}
