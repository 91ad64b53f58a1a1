"""GloVe's text: a word and its numbers a line, without a header."""

from __future__ import annotations

from pathlib import Path

from embedcli.formats.base import Format, Options, Read
from embedcli.formats.lines import has_header, looks_numeric, read_lines, write_lines
from embedcli.table import EmbeddingTable


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether most of the first lines end in as many numbers."""
    return not has_header(head) and looks_numeric(head) > 0


def read(path: Path, options: Options) -> Read:
    """Read a file; words may hold blanks. Raises FormatError."""
    return read_lines(path, options, counted=False)


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a file as GloVe does; raises FormatError, StoreError."""
    write_lines(path, table, counted=False, forbidden="\t\r\v\f")


FORMAT = Format("GloVe text: a word and its numbers a line, no header", sniff, read, write)
