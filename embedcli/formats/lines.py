"""Vectors as lines of text, a word and its numbers: word2vec's, fastText's and GloVe's.

word2vec has a header of V and D (`counted`), fastText too and a blank at the `end` of each line,
GloVe has none.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError
from embedcli.formats.base import Collector, Options, Read, Where, open_stream, shown, write_blocks
from embedcli.storage.files import atomic_write
from embedcli.table import EmbeddingTable
from embedcli.text.compression import COMPRESSIONS

_HEADER = re.compile(rb"\s*(\d{1,19})[ \t]+(\d{1,9})\s*")
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)", re.I)
_DECIMAL_COMMA = re.compile(rb"[-+]?\d*,\d+")
_LINES_READ_AHEAD = 200  # to find out how many numbers end a line
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t"


def sniff(path: Path, head: bytes, *, counted: bool, end: bytes = b"\n") -> bool:  # noqa: ARG001
    """Whether the first bytes are lines of this kind; word2vec's binary was tried before."""
    if not counted:
        return not has_header(head) and looks_numeric(head) > 0
    lines = head.split(b"\n", 2)
    return has_header(head) and (
        end == b"\n" or (len(lines) > 2 and lines[1].endswith(end.removesuffix(b"\n")))
    )


def header(head: bytes) -> tuple[int, int] | None:
    """Return V and D of a first line that holds just these."""
    match = _HEADER.fullmatch(head.removeprefix(_BOM).partition(b"\n")[0])
    return (int(match[1]), int(match[2])) if match else None


def has_header(head: bytes) -> bool:
    """Whether text begins with a line of V and D, and not with a word and a number."""
    found = header(head)
    if found is None:
        return False
    lines = [line for line in _whole_lines(head)[1:] if line.strip()]
    return not lines or found[1] == 1 or len(lines[0].split()) > 2


def looks_numeric(head: bytes) -> int:
    """Return how many numbers end most lines of text without a header; 0 if it is not vectors."""
    dims: Counter[int] = Counter()
    for line in _whole_lines(head.removeprefix(_BOM))[:_LINES_READ_AHEAD]:
        fields = line.split()
        if fields:
            dims[numbers_at_end(fields[1:])] += 1
    return dims.most_common(1)[0][0] if dims else 0


def is_matrix(head: bytes) -> bool:
    """Whether lines hold numbers alone, without a word before them.

    Whole numbers, all different, before others are words: the numbers of nodes, for example.
    """
    lines = _whole_lines(head.removeprefix(_BOM))[:_LINES_READ_AHEAD]
    rows = [fields for line in lines if (fields := line.split())]
    if not rows or not all(_NUMBER.fullmatch(field) for fields in rows for field in fields):
        return False
    firsts = [fields[0] for fields in rows]
    numbered = all(map(bytes.isdigit, firsts)) and len(set(firsts)) == len(firsts)
    others = [field for fields in rows for field in fields[1:]]
    return not (numbered and not all(map(bytes.isdigit, others)))


def numbers_at_end(fields: Sequence[bytes]) -> int:
    """Return how many numbers the fields of a line end in."""
    for count, each in enumerate(reversed(fields)):
        if not _NUMBER.fullmatch(each):
            return count
    return len(fields)


def _whole_lines(head: bytes) -> list[bytes]:
    """Return the lines of the first bytes of a file, without the last if it was cut."""
    lines = head.split(b"\n")
    return lines[:-1] if len(lines) > 1 else lines


def read(path: Path, options: Options, *, counted: bool, end: bytes = b"\n") -> Read:  # noqa: ARG001
    """Read words and numbers; words may hold blanks where there is no header.

    Raises FormatError, with the line, for one without the right number of numbers, and where the
    file does not have as many lines as its header says.
    """
    with open_stream(path, options) as stream:
        blocks = stream.line_blocks()
        lines = next(blocks, [b""])
        lines[0] = lines[0].removeprefix(_BOM)
        number = 1
        expected = None
        if counted:
            said = header(lines[0])
            if said is None:
                raise FormatError(f"{path}:1: found {shown(lines[0])}; expected a header")
            expected, dim = said
            lines, number = lines[1:], 2
        else:
            head = b"\n".join([*lines[:_LINES_READ_AHEAD], b""])
            dim = looks_numeric(head)
            if is_matrix(head):
                raise FormatError(
                    f"{path}:1: found {shown(lines[0])}, numbers without a word; expected a word "
                    "and its vector",
                    "put words before the numbers; or save the array as NAME.npy, with the words, "
                    "one a line, in NAME.vocab.txt",
                )
        if not dim:
            raise FormatError(f"{path}:1: found no numbers; expected a word and its vector")
        collector = Collector(path, dim, options)
        for more in itertools.chain([lines], blocks):
            _take(collector, path, dim, more, number)
            if expected is not None and collector.seen > expected:
                raise FormatError(f"{path}: more than the {expected} vectors its header says")
            number += len(more)
    if expected is not None and collector.seen < expected:
        raise FormatError(
            f"{path}: {collector.seen} vectors; its header says {expected}",
            "the file may be cut off; if it is right so, correct the first number",
        )
    return collector.finish()


def _take(collector: Collector, path: Path, dim: int, lines: list[bytes], first: int) -> None:
    """Parse lines, of which the first is line `first` of the file."""
    places = [place for place, line in enumerate(lines) if line.strip(_BLANKS)]
    lines = [lines[place] for place in places]
    if not lines:
        return

    def where(place: int) -> str:
        return f"{path}:{first + places[place]}"

    # Most lines are a word, and numbers with one blank between.
    parts = [line.rstrip(_BLANKS).partition(b" ") for line in lines]
    words = [part[0] for part in parts]
    rests = [part[2] for part in parts]
    for place, rest in enumerate(rests):
        if rest.count(b" ") != dim - 1 or not rest or not words[place]:
            words[place], rests[place] = _split_from_right(lines[place], dim, where(place))
    collector.add(words, parse_numbers(rests, dim, where), where)


def _split_from_right(line: bytes, dim: int, place: str) -> tuple[bytes, bytes]:
    """Split a line whose word holds blanks, or whose numbers have several blanks between."""
    line = line.rstrip(_BLANKS)
    fields = line.rsplit(b" ", dim)
    if len(fields) <= dim or b"" in fields[1:] or b"\t" in b" ".join(fields[1:]):
        fields = line.rsplit(None, dim)
    if len(fields) <= dim:
        raise FormatError(f"{place}: {len(fields) - 1} numbers; expected a word and {dim} numbers")
    return fields[0], b" ".join(fields[1:])


def parse_numbers(rests: list[bytes], dim: int, where: Where) -> NDArray[np.float32]:
    """Parse the numbers of lines, (N, D); raises FormatError at the first that is not one."""
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("error", DeprecationWarning)  # what NumPy before 2.3 does
        try:
            flat = np.fromstring(b" ".join(rests), np.float32, sep=" ")
        except (ValueError, DeprecationWarning):
            flat = np.empty(0, np.float32)
    if len(flat) == len(rests) * dim:
        return flat.reshape(-1, dim)  # (N, D)
    for place, rest in enumerate(rests):
        fields = rest.split()
        bad = next((each for each in fields if not _NUMBER.fullmatch(each)), None)
        if bad is not None or len(fields) != dim:
            found = f"{len(fields)} numbers" if bad is None else shown(bad[:40])
            comma = bad is not None and _DECIMAL_COMMA.fullmatch(bad)
            raise FormatError(
                f"{where(place)}: found {found}; expected {dim} numbers",
                "write decimal points for the commas" if comma else None,
            )
    raise FormatError(f"{where(0)}: numbers that cannot be read; expected {dim} a line")


def write(path: Path, table: EmbeddingTable, *, counted: bool, end: bytes = b"\n") -> None:
    """Write words and numbers, the fewest digits that read back as the same float32.

    Compressed where the name ends in .gz, .bz2, .xz or .zst. Raises FormatError, StoreError.
    """
    with atomic_write(path) as file, _compressed(path, file) as out:
        if counted:
            out.write(b"%d %d\n" % (len(table), table.dim))
        for start, words, rows in write_blocks(table, path):
            numbers = zip(words, shortest_digits(rows), strict=True)
            lines = b"".join(b" ".join([word.encode(), *row]) + end for word, row in numbers)
            if not (counted or start) and (looks_numeric(lines) != table.dim or is_matrix(lines)):
                raise FormatError(
                    f"{path}: words that end in numbers cannot be told from the vectors there",
                    "word2vec text has a header that tells how many numbers there are",
                )
            out.write(lines)


def shortest_digits(rows: NDArray[np.float32]) -> list[list[bytes]]:
    """Write numbers with the fewest digits that read back as the same float32."""
    digits: list[list[bytes]] = rows.astype("S").tolist()
    return digits


@contextmanager
def _compressed(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """Compress what is written to `file`, by the extension of `path`."""
    compression = COMPRESSIONS.get(path.suffix)
    if compression is None:
        yield file
        return
    try:
        writer = compression.writer(file)
    except ImportError:
        raise FormatError(
            f"{path}: needs the zstandard library, which is not installed",
            "pip install 'embedcli[zst]'",
        ) from None
    with writer as out:
        yield out
