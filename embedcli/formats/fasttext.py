"""fastText's `.vec`: word2vec's text, with a blank at the end of each line."""

from __future__ import annotations

from pathlib import Path

from embedcli.formats import word2vec
from embedcli.formats.base import Format, Options, Read
from embedcli.formats.lines import read_lines, write_lines
from embedcli.table import EmbeddingTable


def sniff(path: Path, head: bytes) -> bool:
    """Whether the first bytes are a header, and a line that ends in a blank."""
    lines = head.split(b"\n", 2)
    return word2vec.sniff(path, head) and len(lines) > 2 and lines[1].endswith(b" ")


def read(path: Path, options: Options) -> Read:
    """Read a file; raises FormatError."""
    return read_lines(path, options, counted=True)


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a file for fastText's `-pretrainedVectors`; raises FormatError, StoreError."""
    write_lines(path, table, counted=True, end=b" \n")


FORMAT = Format("fastText .vec: word2vec text with a blank before each newline", sniff, read, write)
