"""The TensorFlow Embedding Projector's pair: numbers in `NAME.tsv`, words in `NAME.metadata.tsv`.

The projector takes no header for the numbers, and one for the words if they have more than one
column (its "Load" dialogue). A folder holds them as `vectors.tsv` and `metadata.tsv`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli.errors import FormatError
from embedcli.formats.base import Collector, Options, Read, open_stream, write_blocks
from embedcli.formats.lines import looks_numeric, parse_numbers, shortest_digits
from embedcli.storage.files import atomic_write, storing
from embedcli.table import EmbeddingTable

_COUNTED = b"word\tcount"


def sniff(path: Path, head: bytes) -> bool:
    """Whether words lie beside a file whose first line is numbers between tabs."""
    first = head.partition(b"\n")[0]
    numeric = looks_numeric(b"word " + first.replace(b"\t", b" ") + b"\n")
    return numeric == first.count(b"\t") + 1 and _words_of(path) is not None


def read(path: Path, options: Options) -> Read:
    """Read a pair; raises FormatError, with the line."""
    beside = _words_of(path)
    if beside is None:
        raise FormatError(f"{path}: numbers without words", f"put them into {_metadata(path)}")
    with open_stream(beside, options) as stream:
        lines = [line for block in stream.line_blocks() for line in block]
    columns = lines[0].count(b"\t") + 1 if lines else 0
    names = lines[1:] if columns > 1 else lines
    if names and not names[-1]:
        names.pop()
    words = [line.partition(b"\t")[0] for line in names]
    with open_stream(path, options) as stream:
        collector: Collector | None = None
        for block in stream.line_blocks():
            if not block[-1]:
                block.pop()
            done = collector.seen if collector else 0
            dim = collector.dim if collector else block[0].count(b"\t") + 1

            def where(place: int, done: int = done) -> str:
                return f"{path}:{done + place + 1}"

            collector = collector or Collector(path, dim, options)
            rows = parse_numbers([line.replace(b"\t", b" ") for line in block], dim, where)
            if done + len(block) > len(words):
                break
            collector.add(words[done : done + len(block)], rows, where)
    if collector is None or collector.seen != len(words):
        raise FormatError(f"{beside}: {len(words)} words; expected as many as {path} has lines")
    found = collector.finish()
    if lines[0] == _COUNTED and not found.skipped:
        found.table.vocabulary.counts = _counts(beside, names)
    return found


def _counts(beside: Path, names: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    try:
        return np.array([int(line.rpartition(b"\t")[2]) for line in names], np.int64)  # (V,)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{beside}: a count that is not a number: {error}") from error


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a pair for the projector's "Load" dialogue, in a folder unless `path` ends in .tsv.

    Raises FormatError, StoreError.
    """
    if path.suffix != ".tsv":
        with storing(path):
            path.mkdir(parents=True, exist_ok=True)
        path = path / "vectors.tsv"
    counts = table.vocabulary.counts
    with atomic_write(_metadata(path)) as names, atomic_write(path) as out:
        if counts is not None:
            names.write(_COUNTED + b"\n")
        for start, words, rows in write_blocks(table, path):
            for place, word in enumerate(words):
                count = f"\t{counts[start + place]}" if counts is not None else ""
                names.write(f"{word}{count}\n".encode())
            out.write(b"".join(b"\t".join(row) + b"\n" for row in shortest_digits(rows)))


def _metadata(path: Path) -> Path:
    in_folder = path.name == "vectors.tsv"
    return path.with_name("metadata.tsv") if in_folder else path.with_suffix(".metadata.tsv")


def _words_of(path: Path) -> Path | None:
    beside = _metadata(path)
    return beside if beside.is_file() else None
