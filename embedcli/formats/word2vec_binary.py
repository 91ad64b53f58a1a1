"""word2vec's binary: a header `V D`, then for each word its bytes, a blank and D float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli.errors import FormatError
from embedcli.formats.base import (
    Collector,
    Format,
    Options,
    Read,
    open_stream,
    unwritable,
    write_blocks,
)
from embedcli.formats.lines import header, numbers_at_end
from embedcli.storage.files import atomic_write
from embedcli.table import EmbeddingTable

_BLOCK = 1 << 22
_LONGEST_WORD = 1 << 16
_MOST_DIMENSIONS = 1 << 20


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the first bytes are a header, and then something else than lines of numbers."""
    said = header(head)
    if said is None:
        return False
    expected, dim = said
    data = head.partition(b"\n")[2].lstrip(b"\r\n")
    line, newline, _ = data.partition(b"\n")
    fields = line.split()
    numbers = numbers_at_end(fields[1:] if newline else fields[1:-1])
    if numbers == dim == len(fields) - 1:
        return False
    words, _, _, used = _records(data, 4 * dim, expected)
    return not numbers or (len(words) == expected and not data[used:].strip(b"\n"))


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
    """Part whole records: words, the bytes of their rows, where each begins, bytes used."""
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
    """Write a file as word2vec.c does; raises FormatError for a word with a blank, StoreError."""
    with atomic_write(path) as out:
        out.write(b"%d %d\n" % (len(table), table.dim))
        for start, words, rows in write_blocks(table, path):
            parts = []
            for place, (word, row) in enumerate(zip(words, rows.astype("<f4"), strict=True)):
                if " " in word:
                    raise unwritable(path, word, start + place)
                parts += [word.encode(), b" ", row.tobytes(), b"\n"]
            out.write(b"".join(parts))


FORMAT = Format("word2vec binary, as word2vec.c and gensim write it", sniff, read, write)
