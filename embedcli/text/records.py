"""Kinds of files: plain text, and records with columns (CSV, TSV, JSON lines)."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.lines import HANDLERS, Block, Row, split_lines, valid_utf8
from embedcli.text.sources import READ, Chunks, Kind

# Bytes of the longest record; more is an unclosed quote, or no file of records.
LONGEST_RECORD = 16 << 20


class Input(NamedTuple):
    """A file to be read by one of the `READERS`."""

    name: str  # for errors
    content: Chunks  # UTF-8
    settings: TextSettings
    labelled: bool  # whether labels are read too

    def error(self, line: int, message: str, hint: str | None = None) -> CorpusError:
        """Return the error for what is wrong on a line."""
        return CorpusError(f"{self.name}:{line}: {message}", hint=hint)

    def text_column(self) -> str:
        """Return the name of the column of the text."""
        return self.settings.text_column or "text"

    def label_column(self) -> str | None:
        """Return the name of the column of the labels, or None if they are not read."""
        return (self.settings.label_column or "label") if self.labelled else None


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


def _read_table(file: Input, **dialect: Any) -> Iterator[Record]:
    """Yield the records of CSV or TSV, whose first line names the columns."""
    limit = csv.field_size_limit(LONGEST_RECORD)
    reader = csv.reader((line for _, line in _numbered_lines(file)), **dialect)
    try:
        header = next(reader, [])

        def column(name: str, flag: str) -> int:
            if name not in header:
                found = f"no column {name!r}; the columns are {', '.join(header) or 'none'}"
                raise file.error(1, found, f"name it by {flag}")
            return header.index(name)

        text = column(file.text_column(), "--text-column")
        name = file.label_column()
        label = None if name is None else column(name, "--label-column")
        for cells in reader:
            if cells and len(cells) != len(header):
                found = f"found {len(cells)} cells; expected {len(header)}"
                raise file.error(reader.line_num, found)
            if cells:
                labels = () if label is None else (cells[label],)
                yield Record(reader.line_num, cells[text], labels)
    except csv.Error as error:
        raise file.error(reader.line_num, f"{error}; expected records of cells") from error
    finally:
        csv.field_size_limit(limit)


def _read_json_lines(file: Input) -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line."""

    def value(record: dict[str, Any], line: int, key: str, flag: str) -> Any:
        if key not in record:
            found = f"no key {key!r}; the keys are {', '.join(record) or 'none'}"
            raise file.error(line, found, f"name it by {flag}")
        return record[key]

    text_key, label_key = file.text_column(), file.label_column()
    for number, line in _numbered_lines(file):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            found = f"{error.msg}, column {error.colno}; expected a JSON object"
            raise file.error(number, found) from error
        except (ValueError, RecursionError) as error:
            raise file.error(number, f"{error}; expected a JSON object") from error
        if not isinstance(record, dict):
            raise file.error(number, f"found {line.strip()[:20]!r}; expected a JSON object")
        text = value(record, number, text_key, "--text-column")
        if not isinstance(text, str):
            raise file.error(number, f"{text_key} is {json.dumps(text)[:80]}; expected text")
        found = [] if label_key is None else value(record, number, label_key, "--label-column")
        labels = []
        for label in found if isinstance(found, list) else [found]:
            if not isinstance(label, str | int | float):
                said = json.dumps(label)[:80]
                raise file.error(number, f"{label_key} is {said}; expected a label or a number")
            labels.append(json.dumps(label) if isinstance(label, bool) else str(label))
        yield Record(number, text, tuple(labels))


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


# How each kind of file is read into blocks of at most so many bytes. In CSV quotes are as Excel
# writes them; in TSV they are characters like any other. A cell is one label, or numbers separated
# by blanks; a JSON value may be a list of either, and an empty list says that no label applies.
READERS: dict[Kind, Callable[[Input, int], Iterator[Block]]] = {
    "plain": lambda file, size: split_lines(file.name, file.content, size),
    "csv": _read_records(lambda file: _read_table(file, strict=True)),
    "tsv": _read_records(lambda file: _read_table(file, delimiter="\t", quoting=csv.QUOTE_NONE)),
    "jsonl": _read_records(_read_json_lines),
}
