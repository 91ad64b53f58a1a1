"""word2vec's text: a header `V D`, then a word and its numbers a line."""

from __future__ import annotations

from pathlib import Path

from embedcli.formats.base import Format, Options, Read
from embedcli.formats.lines import has_header, read_lines, write_lines
from embedcli.table import EmbeddingTable


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the first line is a header; word2vec's binary was asked for before."""
    return has_header(head)


def read(path: Path, options: Options) -> Read:
    """Read a file; raises FormatError."""
    return read_lines(path, options, counted=True)


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a file that gensim's `load_word2vec_format` reads; raises FormatError, StoreError."""
    write_lines(path, table, counted=True)


FORMAT = Format("word2vec text: a header, then a word and its numbers a line", sniff, read, write)
