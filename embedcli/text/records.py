"""Files with columns (CSV, TSV, JSON lines) as lines of text, with their labels beside them."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.sources import Kind

# Bytes of the longest record; more is an unclosed quote, or no file of records.
LONGEST_RECORD = 16 << 20
# Python's names for what is done with bytes that cannot be decoded.
HANDLERS = {"strict": "strict", "replace": "replace", "skip": "ignore"}
_READ = 1 << 18


class Row(NamedTuple):
    """What a record bears beside its text: the line of the file it ends on, and its labels."""

    line: int
    labels: tuple[str, ...]


class Records:
    """The text column of a file, read as UTF-8 lines; `rows` holds what goes with each line.

    The first line of CSV and TSV names the columns. CSV is read as Excel writes it; in TSV quotes
    are characters like any other. A cell is one label, or numbers with blanks between; a JSON
    value may be a list of either, and an empty list says that no label applies.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        read: Callable[[int], bytes],
        settings: TextSettings,
        *,
        labelled: bool,
    ) -> None:
        self.name = name
        self.rows: deque[Row] = deque()
        self._read_bytes = read
        self._errors = settings.errors
        self._text = settings.text_column or "text"
        self._label = (settings.label_column or "label") if labelled else None
        self._ready = b""
        self._texts = self._json_lines() if kind == "jsonl" else self._table(kind)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes of the lines of text; fewer only at the end."""
        parts = [self._ready]
        length = len(self._ready)
        while length < size and (text := next(self._texts, None)) is not None:
            parts.append(text)
            length += len(text)
        data = b"".join(parts)
        self._ready = data[size:]
        return data[:size]

    def _table(self, kind: Kind) -> Iterator[bytes]:
        """Yield the text of each row of CSV or TSV."""
        limit = csv.field_size_limit(LONGEST_RECORD)
        lines = (line for _, line in self._lines())
        reader = (
            csv.reader(lines, strict=True)
            if kind == "csv"
            else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        )
        try:
            header = next(reader, [])
            text = self._column(header, self._text, "--text-column")
            label = None
            if self._label is not None:
                label = self._column(header, self._label, "--label-column")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise self._wrong(
                        reader.line_num, f"found {len(cells)} cells; expected {len(header)}"
                    )
                labels = () if label is None else (cells[label],)
                yield self._line(reader.line_num, cells[text], labels)
        except csv.Error as error:
            raise self._wrong(reader.line_num, f"{error}; expected {kind.upper()}") from error
        finally:
            csv.field_size_limit(limit)

    def _column(self, header: list[str], name: str, flag: str) -> int:
        if name not in header:
            raise CorpusError(
                f"{self.name}:1: no column {name!r}; the columns are {', '.join(header) or 'none'}",
                hint=f"name it by {flag}",
            )
        return header.index(name)

    def _json_lines(self) -> Iterator[bytes]:
        """Yield the text of each object."""
        for number, line in self._lines():
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                found = f"{error.msg}, column {error.colno}"
                raise self._wrong(number, f"{found}; expected a JSON object") from error
            except (ValueError, RecursionError) as error:
                raise self._wrong(number, f"{error}; expected a JSON object") from error
            if not isinstance(record, dict):
                raise self._wrong(number, f"found {line.strip()[:20]!r}; expected a JSON object")
            text = self._value(record, number, self._text, "--text-column")
            if not isinstance(text, str):
                raise self._wrong(number, f"{self._text} is {text!r}; expected text")
            labels: tuple[str, ...] = ()
            if self._label is not None:
                value = self._value(record, number, self._label, "--label-column")
                labels = tuple(
                    self._label_text(one, number)
                    for one in (value if isinstance(value, list) else [value])
                )
            yield self._line(number, text, labels)

    def _value(self, record: dict[str, Any], line: int, key: str, flag: str) -> Any:
        if key not in record:
            raise CorpusError(
                f"{self.name}:{line}: no key {key!r}; the keys are {', '.join(record) or 'none'}",
                hint=f"name it by {flag}",
            )
        return record[key]

    def _label_text(self, value: Any, line: int) -> str:
        if not isinstance(value, str | int | float):
            raise self._wrong(line, f"{self._label} is {value!r}; expected a label or a number")
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _line(self, number: int, text: str, labels: tuple[str, ...]) -> bytes:
        """Take in a record and return its text as one line."""
        try:
            data = text.encode("utf-8", HANDLERS[self._errors])
        except UnicodeEncodeError as error:
            found = hex(ord(error.object[error.start]))
            raise self._wrong(number, f"half a character ({found}) in the text") from None
        self.rows.append(Row(number, labels))
        return data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines of the file, with their numbers from 1 and their newlines."""
        offset, number = 0, 0
        rest = b""
        while True:
            data = self._read_bytes(_READ)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            if len(rest) > LONGEST_RECORD:
                raise self._wrong(number + 1, f"a line of over {LONGEST_RECORD >> 20} MB")
            if not data and rest:
                lines.append(rest)
            for line in lines:
                number += 1
                yield number, self._decoded(line, number, offset) + "\n"
                offset += len(line) + 1
            if not data:
                return

    def _decoded(self, line: bytes, number: int, offset: int) -> str:
        try:
            text = line.decode("utf-8", HANDLERS[self._errors])
        except UnicodeDecodeError as error:
            raise undecodable(self.name, number, offset + error.start, "utf-8", error) from None
        return text.removeprefix("\ufeff") if number == 1 else text

    def _wrong(self, line: int, message: str) -> CorpusError:
        return CorpusError(f"{self.name}:{line}: {message}")


def undecodable(
    name: str, line: int, offset: int, encoding: str, error: UnicodeDecodeError
) -> CorpusError:
    """Return the error for bytes that are not of the encoding."""
    found = error.object[error.start : error.start + 1].hex()
    hint = "name the text's own with --encoding, or pass --errors replace or skip"
    if offset < 2 and error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
        hint = "this looks like UTF-16: --encoding utf-16"
    return CorpusError(
        f"{name}:{line}: byte 0x{found} at offset {offset} is not {encoding.upper()}"
        f" ({error.reason})",
        hint=hint,
    )
