"""word2vec's binary: a header `V D`, then for each word its bytes, a blank and D float32."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import numpy as np

from embedcli.errors import FormatError
from embedcli.formats.base import Collector, Options, Read, open_stream, write_blocks
from embedcli.formats.lines import header, numbers_at_end
from embedcli.storage.files import atomic_write
from embedcli.table import EmbeddingTable

_BLOCK = 1 << 22
_HEAD = 1 << 16
_LONGEST_WORD = 1 << 16
_MOST_DIMENSIONS = 1 << 20
_SMALLEST_USUAL, _LARGEST_USUAL = 1e-3, 1e3  # numbers of vectors; most text is beyond, as float32


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the first bytes are a header, and then records rather than lines of text."""
    said = header(head)
    if said is None:
        return False
    expected, dim = said
    data = head.partition(b"\n")[2].lstrip(b"\r\n")
    line, newline, _ = data.partition(b"\n")
    fields = line.split()
    if numbers_at_end(fields[1:] if newline else fields[1:-1]) == dim == len(fields) - 1:
        return False
    if not data or not _is_text(data):
        return True
    # Bytes that are all characters are numbers if they have the right size and usual values.
    words, rows, _, used = _records(data, 4 * dim, expected)
    sizes = np.abs(np.frombuffer(rows, "<f4"))
    usual = bool(((sizes > _SMALLEST_USUAL) & (sizes < _LARGEST_USUAL)).all())
    return len(words) == expected and not data[used:].strip(b"\n") and usual


def _is_text(data: bytes) -> bool:
    """Whether bytes, which may be cut off at their end, are UTF-8 without control characters."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    return not re.search("[\0-\x08\x0e-\x1f\x7f\ufffd]", text)


def read(path: Path, options: Options) -> Read:
    """Read a file, a newline after each vector or not; raises FormatError, with the byte."""
    with open_stream(path, options) as stream:
        data = stream.read(_BLOCK)
        said = header(data)
        if said is None:
            raise FormatError(f"{path}: byte 0: expected a header of two numbers")
        expected, dim = said
        if not 0 < dim <= _MOST_DIMENSIONS:
            raise FormatError(f"{path}: byte 0: vectors of {dim} numbers")
        collector = Collector(path, dim, options)
        data = data.partition(b"\n")[2]
        while collector.seen < expected:
            words, rows, starts, used = _records(data, 4 * dim, expected - collector.seen)
            begin = stream.place - len(data)
            if words:
                collector.add(
                    words,
                    np.frombuffer(rows, "<f4").reshape(-1, dim),  # (N, D)
                    lambda place: f"{path}: byte {begin + starts[place]}",  # noqa: B023
                )
            data = data[used:]
            if collector.seen == expected:
                break
            if len(data) > _LONGEST_WORD + 4 * dim:
                raise FormatError(f"{path}: byte {begin + used}: a word without an end")
            more = stream.read(_BLOCK)
            if not more:
                raise FormatError(
                    f"{path}: byte {stream.place}: ends after {collector.seen} vectors; its "
                    f"header says {expected}",
                    "the file may be cut off",
                )
            data += more
        if (data + stream.read(1)).strip(b"\n"):
            raise FormatError(f"{path}: more than the {expected} vectors its header says")
    return collector.finish()


def _records(data: bytes, size: int, most: int) -> tuple[list[bytes], bytes, list[int], int]:
    """Split whole records: words, the bytes of their rows, where each begins, bytes used."""
    words: list[bytes] = []
    rows: list[bytes] = []
    starts: list[int] = []
    begin = 0
    find = data.find
    last = len(data) - size
    while len(words) < most:
        blank = find(b" ", begin)
        if blank < 0 or blank >= last:
            break
        end = blank + 1 + size
        words.append(data[begin:blank])
        rows.append(data[blank + 1 : end])
        starts.append(begin)
        begin = end
    # word2vec.c ends a vector with a newline, gensim does not.
    return [word.lstrip(b"\n") for word in words], b"".join(rows), starts, begin


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a file as word2vec.c does; raises FormatError, StoreError."""
    head = b"%d %d\n" % (len(table), table.dim)
    with atomic_write(path) as out:
        out.write(head)
        for start, words, rows in write_blocks(table, path):
            records = zip(words, rows.astype("<f4"), strict=True)
            data = b"".join(b"%b %b\n" % (word.encode(), row.tobytes()) for word, row in records)
            if not start and not sniff(path, head + data[:_HEAD]):
                raise FormatError(f"{path}: these few numbers cannot be told from text there")
            out.write(data)
