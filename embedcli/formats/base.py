"""What the formats share: how a file is opened, and where its words and rows are collected."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import CorpusError, FormatError
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.text.sources import Source, open_source
from embedcli.text.vocabulary import Vocabulary

Where = Callable[[int], str]  # says of the i-th word where it stands

_HEAD = 1 << 16
_BLOCK = 1 << 22
_LONGEST_LINE = 1 << 25
_IN_MEMORY = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files of vectors are read."""

    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "skip"] = "strict"
    max_expansion: int = 200  # of a compressed file, as a multiple of its own size
    progress: Callable[[int, int], None] | None = None  # told bytes read and bytes in all
    written: Callable[[int, int], None] | None = None  # told rows written and rows in all


@dataclass(frozen=True)
class Read:
    """A table as it was read, and how many rows were left out, by the reason."""

    table: EmbeddingTable
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One way to keep vectors in files.

    `sniff(path, head)` tells it by the first bytes, those of a compressed file expanded; a folder
    has none. `write` is None where it is only read; `help` says what the files are.
    """

    help: str
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path, Options], Read]
    write: Callable[[Path, EmbeddingTable], None] | None


class Stream:
    """A file being read, decompressed, with its progress."""

    def __init__(self, path: Path, read: Callable[[int], bytes], step: Callable[[], None]) -> None:
        self.path = path
        self.place = 0  # bytes handed out
        self._read = read
        self._step = step

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        data = self._read(size)
        self.place += len(data)
        self._step()
        return data

    def line_blocks(self) -> Iterator[list[bytes]]:
        """Go through the file in blocks of lines, without their ends (newline or CRLF)."""
        rest = b""
        while data := self.read(_BLOCK):
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                yield _lines(rest + head)
                rest = tail
            else:
                rest += tail
            if len(rest) > _LONGEST_LINE:
                raise FormatError(f"{self.path}: a line of over {len(rest):,} bytes")
        if rest:
            yield _lines(rest)


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
        raise FormatError(error.message, error.hint) from error


def read_head(path: Path) -> bytes:
    """Read the first bytes of a file, those of a compressed one expanded; raises FormatError."""
    with open_stream(path, Options()) as stream:
        return stream.read(_HEAD)


def require_file(path: Path) -> int:
    """Return the size in bytes of a regular file; raises FormatError for anything else."""
    try:
        return files.regular_size(path)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}; expected a file of vectors") from error
    except ValueError as error:
        raise FormatError(f"{path}: {error}; expected a file of vectors") from error


class Rows:
    """Rows of D float32 as they come, in memory up to 256 MiB, then in an unnamed file."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._kept: BinaryIO = io.BytesIO()

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take rows (N, D); raises StoreError where there is no room for them."""
        with files.storing(Path(tempfile.gettempdir())):
            if isinstance(self._kept, io.BytesIO) and self._kept.tell() + rows.nbytes > _IN_MEMORY:
                spilled = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish`
                spilled.write(self._kept.getbuffer())
                self._kept = spilled
            self._kept.write(np.ascontiguousarray(rows, "<f4").data)
            self._kept.flush()

    def finish(self) -> NDArray[np.float32]:
        """Make one array of the rows, (V, D)."""
        if isinstance(self._kept, io.BytesIO):
            return np.frombuffer(self._kept.getbuffer(), "<f4").reshape(-1, self.dim)  # (V, D)
        rows = np.memmap(self._kept, "<f4", "r").view(np.ndarray)
        self._kept.close()
        return rows.reshape(-1, self.dim)  # (V, D)


class Collector:
    """Words and rows as they come out of a file."""

    def __init__(self, path: Path, dim: int, options: Options) -> None:
        self.seen = 0  # words, those left out too
        self.dim = dim
        self._path = path
        self._options = options
        self._words: dict[str, None] = {}
        self._skipped: dict[str, int] = {}
        self._rows = Rows(dim)

    def add(self, tokens: Sequence[bytes], rows: NDArray[np.float32], where: Where) -> None:
        """Take words, as they are encoded, and their rows (N, D).

        A word that is empty or was met before is left out and counted; raises FormatError for one
        that cannot be decoded, and for a row that is not finite.
        """
        words = self._decoded(tokens, where)
        if not np.isfinite(rows).all():
            place = int((~np.isfinite(rows)).any(axis=1).argmax())
            raise FormatError(f"{where(place)}: a number that is not finite")
        fresh = dict.fromkeys(words)
        if len(fresh) < len(words) or None in fresh or not self._words.keys().isdisjoint(fresh):
            kept = self._unseen(words)
            rows = rows[kept]
            fresh = dict.fromkeys(words[place] for place in kept)
        self._words.update(fresh)  # type: ignore[arg-type]
        self._rows.add(rows)
        self.seen += len(tokens)

    def finish(self) -> Read:
        """Make the table of what was taken; raises FormatError if that is nothing."""
        if not self._words:
            raise FormatError(f"{self._path}: holds no vectors")
        return Read(EmbeddingTable(Vocabulary(self._words), self._rows.finish()), self._skipped)

    def _decoded(self, tokens: Sequence[bytes], where: Where) -> list[str | None]:
        """Decode tokens; None for one to be skipped."""
        try:
            words = b"\n".join(tokens).decode(self._options.encoding).split("\n")
        except (UnicodeError, LookupError):
            words = []
        if len(words) == len(tokens) and "" not in words:
            return list(words)
        return [self._decode(token, where, place) for place, token in enumerate(tokens)]

    def _decode(self, token: bytes, where: Where, place: int) -> str | None:
        policy = "replace" if self._options.errors == "replace" else "strict"
        try:
            word = token.decode(self._options.encoding, policy)
        except UnicodeDecodeError as error:
            if self._options.errors == "skip":
                self._skip("undecodable")
                return None
            raise FormatError(
                f"{where(place)}: byte {error.start} of the word {token!r} is not "
                f"{self._options.encoding}",
                "embed convert reads it with --encoding latin-1, or --errors replace or skip",
            ) from None
        except (UnicodeError, LookupError) as error:
            raise FormatError(f"{where(place)}: {error}", "--encoding utf-8") from None
        if "\n" in word:
            raise FormatError(f"{where(place)}: found {word!r}; expected a word of one line")
        if not word:
            self._skip("empty")
        return word or None

    def _unseen(self, words: Sequence[str | None]) -> list[int]:
        """Places of the words that were not met before; the others are counted."""
        kept = []
        met = set()
        for place, word in enumerate(words):
            if word in met or word in self._words:
                self._skip("repeated")
            elif word is not None:
                met.add(word)
                kept.append(place)
        return kept

    def _skip(self, reason: str) -> None:
        self._skipped[reason] = self._skipped.get(reason, 0) + 1


def _lines(block: bytes) -> list[bytes]:
    lines = block.split(b"\n")
    if b"\r" in block:
        lines = [line.removesuffix(b"\r") for line in lines]
    return lines


def write_blocks(
    table: EmbeddingTable, path: Path
) -> Iterator[tuple[int, list[str], NDArray[np.float32]]]:
    """Go through a table that goes to `path`: first id, words and rows (B, D) of each block.

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


def unwritable(path: Path, word: str, place: int) -> FormatError:
    """Say that a format cannot hold a word, the one with id `place`."""
    return FormatError(
        f"{path}: the word {word!r} (id {place}) cannot be written there",
        "safetensors and the model folder hold any word",
    )
