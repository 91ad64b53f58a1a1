"""What the formats share: opening a file, collecting its words and rows, counts beside it."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import CorpusError, FormatError
from embedcli.storage import files
from embedcli.storage.arrays import drop_pages
from embedcli.table import EmbeddingTable
from embedcli.text.compression import COMPRESSIONS
from embedcli.text.sources import Source, open_source
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import notebook

Where = Callable[[int], str]  # returns the place in the file of the i-th word

_HEAD = 1 << 16
_BLOCK = 1 << 22
_LONGEST_LINE = 1 << 25
_IN_MEMORY = 1 << 28
_MOST_COUNT = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files of vectors are read and written.

    `errors` says what is done with words that cannot be decoded, and "skip" also leaves out words
    that the format written cannot hold. `vocab` is the file of the words of a matrix without any.
    `prune` keeps so many words only, those of the longest vectors or of the largest counts;
    `quantizer` is one of `quantize.QUANTIZERS`, and `part_size` how many numbers one centroid
    stands for.
    """

    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "skip"] = "strict"
    prune: int | None = None
    prune_by: Literal["norm", "count"] = "norm"
    quantizer: Literal["int8", "product"] = "int8"
    part_size: int = 2
    max_expansion: int = 200  # of a compressed file, as a multiple of its own size
    vocab: Path | None = None
    progress: Callable[[int, int], None] | None = None  # of bytes read and all bytes
    written: Callable[[int, int], None] | None = None  # of rows written and all rows


@notebook.shown
@dataclass(frozen=True)
class Read:
    """A table that was read, and how many rows were left out, by the reason."""

    table: EmbeddingTable
    skipped: Mapping[str, int] = field(default_factory=dict)


class Stream:
    """A file that is read, decompressed, and its progress reported."""

    def __init__(self, path: Path, read: Callable[[int], bytes], step: Callable[[], None]) -> None:
        self.path = path
        self.place = 0  # bytes read
        self._read = read
        self._step = step

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        data = self._read(size)
        self.place += len(data)
        self._step()
        return data

    def line_blocks(self) -> Iterator[list[bytes]]:
        """Yield the file in blocks of lines, without their ends (newline or CRLF)."""
        rest = b""
        while data := self.read(_BLOCK):
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                yield split_lines(rest + head)
                rest = tail
            else:
                rest += tail
            if len(rest) > _LONGEST_LINE:
                raise FormatError(f"{self.path}: a line of over {len(rest):,} bytes")
        if rest:
            yield split_lines(rest)


@contextmanager
def open_stream(path: Path, options: Options) -> Iterator[Stream]:
    """Open a file of vectors, compressed or not; raises FormatError."""
    require_file(path)
    size = path.stat().st_size
    try:
        # Absolute, for `-` would be standard input.
        with open_source(Source(str(path.absolute())), options.max_expansion) as (opened, content):

            def step() -> None:
                if options.progress is not None:
                    options.progress(opened.size, size)

            yield Stream(path, content.read, step)
    except CorpusError as error:
        unpack = "--max-expansion" in (error.hint or "")  # which is no flag of these commands
        hint = "if that is right, decompress it first" if unpack else error.hint
        raise FormatError(error.message, hint) from error


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed; raises FormatError."""
    with open_stream(path, Options()) as stream:
        return stream.read(_HEAD)


@contextmanager
def mappable(path: Path, options: Options) -> Iterator[Path]:
    """Yield a file that can be mapped: the file itself, or a decompressed temporary copy.

    The copy is removed at the end; what was mapped of it stays valid. Raises FormatError, and
    StoreError where there is no room for it.
    """
    require_file(path)
    with path.open("rb") as file:
        start = file.read(8)
    if not any(each.magic.match(start) for each in COMPRESSIONS.values()):
        yield path
        return
    folder = Path(tempfile.gettempdir())
    with tempfile.NamedTemporaryFile(dir=folder, prefix="embed-") as copy:
        with files.storing(folder), open_stream(path, options) as stream:
            while data := stream.read(_BLOCK):
                copy.write(data)
            copy.flush()
        yield Path(copy.name)


def uncompressed_name(path: Path) -> Path:
    """Return a name without the suffix of a compression."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path


def require_file(path: Path) -> int:
    """Return the size in bytes of a regular file; raises FormatError for anything else."""
    try:
        return files.regular_size(path)
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", error)
        raise FormatError(f"{path}: {found}; expected a file of vectors") from error


class Rows:
    """Rows of D float32 that are collected: in memory up to 256 MiB, then in a temporary file."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._kept: BinaryIO = io.BytesIO()

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add rows (N, D); raises StoreError if there is no room for them."""
        with files.storing(Path(tempfile.gettempdir())):
            if isinstance(self._kept, io.BytesIO) and self._kept.tell() + rows.nbytes > _IN_MEMORY:
                spilled: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish`
                spilled.write(self._kept.getbuffer())
                self._kept = spilled
            self._kept.write(np.ascontiguousarray(rows, "<f4").data)
            self._kept.flush()

    def finish(self) -> NDArray[np.float32]:
        """Return all rows as one array, (V, D)."""
        if isinstance(self._kept, io.BytesIO):
            return np.frombuffer(self._kept.getbuffer(), "<f4").reshape(-1, self.dim)  # (V, D)
        rows = np.memmap(self._kept, "<f4", "r").view(np.ndarray)
        self._kept.close()
        return rows.reshape(-1, self.dim)  # (V, D)


class Collector:
    """Words and rows as they are read from a file."""

    def __init__(self, path: Path, dim: int, options: Options) -> None:
        self.seen = 0  # words, those left out too
        self.dim = dim
        self._path = path
        self._options = options
        self.words: dict[str, None] = {}
        self.skipped: Counter[str] = Counter()
        self._rows = Rows(dim)

    def add(self, tokens: Sequence[bytes], rows: NDArray[np.float32], where: Where) -> None:
        """Add encoded words and their rows (N, D).

        Raises FormatError as `add_words`, and for a row that is not finite.
        """
        require_finite(rows, where)
        kept = self.add_words(tokens, where)
        self._rows.add(rows if len(kept) == len(rows) else rows[kept])

    def add_words(self, tokens: Sequence[bytes], where: Where) -> NDArray[np.int64]:
        """Add encoded words and return the places of those that are kept, (K,).

        An empty or repeated word is left out and counted; raises FormatError for one that cannot
        be decoded.
        """
        self.seen += len(tokens)
        # Most blocks hold new words that can be decoded at once.
        try:
            words = b"\n".join(tokens).decode(self._options.encoding).split("\n")
        except (UnicodeError, LookupError):
            words = []
        fresh = dict.fromkeys(words)
        kept = np.arange(len(tokens))
        if (
            len(fresh) < len(tokens)
            or len(words) != len(tokens)
            or "" in fresh
            or not self.words.keys().isdisjoint(fresh)
        ):
            fresh, places = {}, []
            for place, token in enumerate(tokens):
                word = self._decode(token, where, place)
                if word in fresh or word in self.words:
                    self.skipped["repeated"] += 1
                elif word is not None:
                    fresh[word] = None
                    places.append(place)
            kept = np.array(places, np.int64)
        self.words.update(fresh)
        return kept

    def finish(self) -> Read:
        """Return the table of what was added; raises FormatError if that is nothing."""
        if not self.words:
            raise FormatError(f"{self._path}: holds no vectors")
        return Read(EmbeddingTable(Vocabulary(self.words), self._rows.finish()), self.skipped)

    def _decode(self, token: bytes, where: Where, place: int) -> str | None:
        """Decode a word; None for one that is left out, which is counted."""
        encoding, errors = self._options.encoding, self._options.errors
        try:
            word = token.decode(encoding, "replace" if errors == "replace" else "strict")
        except UnicodeDecodeError as error:
            if errors == "skip":
                self.skipped["undecodable"] += 1
                return None
            raise FormatError(
                f"{where(place)}: byte {error.start} of the word {shown(token)} is not {encoding}",
                "embed convert reads it with --encoding latin-1, or --errors replace or skip",
            ) from None
        except (UnicodeError, LookupError) as error:
            raise FormatError(f"{where(place)}: {error}", "--encoding utf-8") from None
        if "\n" in word:
            raise FormatError(f"{where(place)}: found {word!r}; expected a word of one line")
        if not word:
            self.skipped["empty"] += 1
        return word or None


def require_finite(rows: NDArray[np.float32], where: Where) -> None:
    """Raise FormatError for rows (N, D) with a number that is not finite."""
    if not np.isfinite(rows).all():
        place = int((~np.isfinite(rows)).any(axis=1).argmax())
        raise FormatError(f"{where(place)}: a number that is not finite")


def shown(data: bytes) -> str:
    r"""Return bytes of a file as text for a message, in quotation marks.

    >>> print(shown(b"caf\xe9"))
    'caf\xe9'
    """
    return "'" + data[:80].decode("utf-8", "backslashreplace") + "'"


def split_lines(block: bytes) -> list[bytes]:
    """Return the lines of a block without their ends."""
    lines = block.split(b"\n")
    if b"\r" in block:
        lines = [line.removesuffix(b"\r") for line in lines]
    return lines


class PassingTable(EmbeddingTable):
    """A table that is read once: it reports progress, and frees the memory of rows behind it."""

    def __init__(self, table: EmbeddingTable, options: Options) -> None:
        super().__init__(table.vocabulary, table.vectors, table._spelling)
        self._written = options.written

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first id and the rows of each block of `size` bytes."""
        for start, rows in super().blocks(size):
            yield start, rows
            drop_pages(self.vectors)
            if self._written is not None:
                self._written(start + len(rows), len(self))


def selected(table: EmbeddingTable, ids: Sequence[int]) -> EmbeddingTable:
    """Return the table of some words, by ascending id; raises StoreError as `Rows`."""
    keep = np.zeros(len(table), np.bool_)  # (V,)
    keep[ids] = True
    rows = Rows(table.dim)
    for start, block in table.blocks():
        rows.add(block[keep[start : start + len(block)]])
    counts = table.vocabulary.counts
    kept = Vocabulary(table.vocabulary.tokens(ids), None if counts is None else counts[keep])
    return EmbeddingTable(kept, rows.finish(), table._spelling)


def write_blocks(
    table: EmbeddingTable, path: Path
) -> Iterator[tuple[int, list[str], NDArray[np.float32]]]:
    """Yield the first id, words and rows (B, D) of each block of a table to be written to `path`.

    Raises FormatError for a table without words and for a number that is not finite.
    """
    if not len(table):
        raise FormatError(f"{path}: a table without words cannot be written")
    for start, rows in table.blocks(_BLOCK):
        words = table.vocabulary.tokens(slice(start, start + len(rows)))
        if not np.isfinite(rows).all():
            place = int((~np.isfinite(rows)).any(axis=1).argmax())
            raise FormatError(f"the vector of {words[place]!r} holds a number that is not finite")
        yield start, words, rows


def counts_beside(path: Path) -> Path:
    """Return the name of the file of counts beside a file of vectors: NAME.vocab."""
    return uncompressed_name(path).with_suffix(".vocab")


def write_counts(path: Path, vocabulary: Vocabulary) -> None:
    """Write counts beside a file of vectors: a word and its count a line, as word2vec.c does.

    Nothing is written where there are none, or where the vectors went to a pipe.
    """
    if vocabulary.counts is None or not path.is_file():
        return
    with files.atomic_write(counts_beside(path)) as out:
        for word, count in zip(vocabulary, vocabulary.counts.tolist(), strict=True):
            out.write(f"{word} {count}\n".encode())


def read_counts(path: Path, vocabulary: Vocabulary) -> NDArray[np.int64] | None:
    """Return the counts (V,) from the file beside vectors; None if it is not of the same words."""
    beside = counts_beside(path)
    # No other file is read whole: a count has up to 19 digits.
    if not beside.is_file() or beside.stat().st_size > len(vocabulary.to_bytes()) + 21 * len(
        vocabulary
    ):
        return None
    pairs = [line.rpartition(b" ") for line in split_lines(beside.read_bytes())]
    if pairs[-1] == (b"", b"", b""):
        pairs.pop()
    words = b"".join(word + b"\n" for word, _, _ in pairs)
    are_counts = all(count.isdigit() and len(count) < 20 for _, _, count in pairs)
    if words != vocabulary.to_bytes() or not are_counts:
        return None
    return np.array([min(int(count), _MOST_COUNT) for _, _, count in pairs], np.int64)  # (V,)
