"""Where text comes from: files, folders, patterns and standard input, compressed or not."""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import importlib
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

from embedcli.errors import CorpusError

STDIN = "-"
# A compressed file may expand to this many bytes whatever its own size.
EXPANSION_FLOOR = 4 << 20
_READ = 1 << 18
# Of Zstandard: a block of four bytes may hold 128 KiB of text, so these hold at most 32 MiB.
_FED = 1 << 10

Kind = Literal["text", "csv", "tsv", "jsonl"]
_KINDS: dict[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}


class Source(NamedTuple):
    """One file, or standard input under the path `-`."""

    path: str

    @property
    def kind(self) -> Kind:
        """How its records are written, by the extension (that of a compressed file set aside)."""
        suffixes = [suffix.lower() for suffix in Path(self.path).suffixes]
        if suffixes and suffixes[-1] in _COMPRESSED:
            suffixes.pop()
        return _KINDS.get(suffixes[-1], "text") if suffixes else "text"


def find_sources(places: Sequence[str | Path]) -> list[Source]:
    """List the files that `places` name: files, folders, patterns such as `*.txt`, `-`.

    A folder gives every regular file in it and below, in the order of their paths, without hidden
    ones; a folder reached twice through links is read once. No place at all is standard input.
    Raises CorpusError for a place without a file.
    """
    found: list[Source] = []
    for place in [os.fspath(place) for place in places] or [STDIN]:
        if place == STDIN:
            found.append(Source(STDIN))
        elif not place:
            raise CorpusError("'': found no name; expected a file, a folder or a pattern")
        elif os.path.isdir(place):  # noqa: PTH112 - a name with a NUL byte must not raise
            found += _files_below(place)
        elif not os.path.lexists(place) and glob.has_magic(place):
            found += _matches(place)
        else:
            found.append(Source(place))
    if sum(source.path == STDIN for source in found) > 1:
        raise CorpusError("-: standard input is named twice; it can be read once")
    return found


def _matches(pattern: str) -> list[Source]:
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob wants a relative one
    if not matches:
        raise CorpusError(f"{pattern}: no file matches", hint="check the pattern and the folder")
    places: dict[tuple[str, str], Path] = {}
    for path in map(Path, sorted(matches, key=lambda match: (match.count(os.sep), match))):
        # A folder reached again through a link matches its files again.
        places.setdefault((os.path.realpath(path.parent), path.name), path)
    found: list[Source] = []
    for path in sorted(places.values(), key=lambda path: path.parts):
        if not path.is_dir():
            found.append(Source(str(path)))
        elif "**" not in pattern:
            found += _files_below(str(path))
    if not found:
        raise CorpusError(f"{pattern}: only folders match; expected files")
    return found


def _files_below(folder: str) -> list[Source]:
    found: list[Source] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: {error.strerror}; expected a readable folder")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place) / name
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                found.append(Source(str(path)))
    if not found:
        raise CorpusError(f"{folder}: a folder without files", hint="name a file or folder of text")
    return sorted(found, key=lambda source: Path(source.path).parts)


class Opened:
    """A source being read: its bytes as stored, counted and hashed while they pass."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.size = 0
        self._file = file
        self._hash = hashlib.sha256()
        self._before = os.fstat(file.fileno()) if _has_descriptor(file) else None
        if self._before is not None and not stat.S_ISREG(self._before.st_mode):
            self._before = None  # a pipe may change

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes as they are stored."""
        data = self._file.read(_READ if size < 0 else size)
        self._hash.update(data)
        self.size += len(data)
        if self._before is not None and 0 < self._before.st_size < self.size:
            self._refuse_change()  # or a file that grows as fast as it is read had no end
        return data

    def peek(self, size: int) -> bytes:
        """Read ahead: the first bytes, which the next `read` gives again."""
        head = b""
        while len(head) < size and (more := self._file.read(size - len(head))):
            head += more
        self._file = _Rejoined(head, self._file)  # type: ignore[assignment]
        return head

    def finish(self) -> str:
        """Read what is left and return the SHA-256; raises CorpusError if the file changed."""
        while self.read(_READ):
            pass
        if self._before is not None:
            before, after = self._before, os.fstat(self._file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or (
                self.size < before.st_size
            ):
                self._refuse_change()
        return self._hash.hexdigest()

    def _refuse_change(self) -> NoReturn:
        before = 0 if self._before is None else self._before.st_size
        after = os.fstat(self._file.fileno()).st_size
        raise CorpusError(
            f"{self.name}: changed while it was read, from {before:,} bytes to {after:,}",
            hint="train on a copy that nothing writes to",
        )


class _Rejoined:
    """A file and the bytes already taken from its beginning."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._file.read(size)

    def fileno(self) -> int:
        return self._file.fileno()


class _StandardInput:
    """Standard input as it comes, and not read again after its end.

    At a terminal every further reading would wait for one more Ctrl-D.
    """

    def __init__(self) -> None:
        self._file: Any = sys.stdin.buffer
        self._ended = False

    def read(self, size: int) -> bytes:
        data: bytes = b"" if self._ended else self._file.read1(size)
        self._ended = self._ended or (size > 0 and not data)
        return data

    def fileno(self) -> int:
        number: int = self._file.fileno()
        return number


def _has_descriptor(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except (OSError, AttributeError):
        return False
    return True


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn what goes wrong in reading `name` into one CorpusError."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise CorpusError(f"{name}: compressed data is damaged or cut off ({error})") from error
    except OSError as error:
        if error.errno is None:  # of bz2, about the data
            raise CorpusError(f"{name}: compressed data is damaged ({error})") from error
        raise CorpusError(f"{name}: {error.strerror}; expected a readable file") from error
    except ValueError as error:  # a NUL byte in the name
        raise CorpusError(f"{name!r}: {error}; expected the name of a file") from error


@contextmanager
def open_source(
    source: Source, max_expansion: int
) -> Iterator[tuple[Opened, Callable[[int], bytes]]]:
    """Open a source; yields it with a function that reads `size` bytes of its text, decompressed.

    The function returns fewer bytes only at the end. The compression is told by the first bytes
    (.gz, .bz2, .xz, .zst). Raises CorpusError if the file cannot be read, is damaged, or expands
    to more than `max_expansion` times its own size and more than `EXPANSION_FLOOR`.
    """
    name = "standard input" if source.path == STDIN else source.path
    with _refusing(name):
        file = _open(source.path)
    try:
        with _refusing(name):
            opened = Opened(file, name)
            read = _decompressed(opened)
        expanded = 0

        def read_fully(size: int) -> bytes:
            nonlocal expanded
            parts: list[bytes] = []
            with _refusing(name):
                while size and (data := read(min(size, _READ))):
                    parts.append(data)
                    size -= len(data)
                    expanded += len(data)
                    if expanded > max(EXPANSION_FLOOR, max_expansion * opened.size):
                        raise CorpusError(
                            f"{name}: expands to more than {max_expansion} times its size",
                            hint="if that is right, raise --max-expansion",
                        )
            return b"".join(parts)

        yield opened, read_fully
    finally:
        if source.path != STDIN:
            file.close()


def _open(path: str) -> BinaryIO:
    if path == STDIN:
        return _StandardInput()  # type: ignore[return-value]
    return open(path, "rb", buffering=0)  # noqa: PTH123 - closed by open_source


def _decompressed(opened: Opened) -> Callable[[int], bytes]:
    head = opened.peek(6)
    file: Any = opened
    if head.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=file, mode="rb").read
    if head.startswith(b"BZh") and head[3:4].isdigit():
        return bz2.BZ2File(file).read
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file).read
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstandard(opened)
    return opened.read


def _zstandard(opened: Opened) -> Callable[[int], bytes]:
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        raise CorpusError(
            f"{opened.name}: is compressed by zstandard, whose library is not installed",
            hint="pip install 'embedcli[zst]'",
        ) from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    frame, text = decompressor.decompressobj(), BytesIO()

    def read(size: int) -> bytes:
        nonlocal frame, text
        while not (data := text.read(size)):
            stored = frame.unused_data or opened.read(_FED)
            if not stored and frame.eof:
                break
            if not stored:  # the library's own reader takes this for an end
                raise EOFError("a frame ends before its end")
            if frame.eof:
                frame = decompressor.decompressobj()
            try:
                text = BytesIO(frame.decompress(stored))
            except zstandard.ZstdError as error:
                raise CorpusError(f"{opened.name}: compressed data is damaged ({error})") from error
        return data

    return read
