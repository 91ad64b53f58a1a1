"""Where text comes from: files, folders, patterns, addresses and standard input."""

from __future__ import annotations

import codecs
import glob
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from embedcli.errors import MALFORMED_DATA_ERRORS, CorpusError
from embedcli.text import addresses
from embedcli.text.compression import COMPRESSIONS, DamagedDataError, decompress

STDIN = "-"
# A compressed file may expand to this many bytes whatever its own size.
EXPANSION_FLOOR = 4 << 20
READ = 1 << 18  # bytes that are read at once
_LARGEST_STATE = 16 << 20  # bytes of a dataset's list of files

Kind = Literal["plain", "csv", "tsv", "jsonl", "parquet", "arrow"]
_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}


class Source(NamedTuple):
    """A file, or standard input under the path `-`; or some lines of plain text in a file."""

    path: str
    start: int = 0  # of the first byte
    end: int | None = None  # of the last one; None: that of the file
    line: int = 1  # number of the first line, for errors

    @property
    def kind(self) -> Kind:
        """The kind of file by its extension, before that of a compressed file."""
        suffixes = [suffix.lower() for suffix in Path(self.path).suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return _KINDS.get(suffixes[-1], "plain") if suffixes else "plain"


def find_sources(places: Sequence[str | Path | Source]) -> list[Source]:
    """List the files that `places` name: files, folders, patterns such as `*.txt`, `-`.

    Addresses of fsspec name files, folders and patterns too; a `Source` stands for itself.

    A folder stands for every regular file in it and below, in the order of their paths, without
    hidden ones; a folder reached twice through links is read once. A folder that Hugging Face
    `datasets` saved stands for its files of data. No place at all is standard input. Raises
    CorpusError for a place without a file.
    """
    found: list[Source] = []
    for place in places or [STDIN]:
        if isinstance(place, Source):
            found.append(place)
            continue
        place = os.fspath(place)
        if place == STDIN:
            found.append(Source(STDIN))
        elif addresses.is_address(place):
            with _read_errors(place):
                found += map(Source, addresses.files_at(place))
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
        if (saved := _files_of_dataset(Path(place), files)) is not None:
            found += saved
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place) / name
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                found.append(Source(str(path)))
    if not found:
        raise CorpusError(f"{folder}: a folder without files", hint="name a file or folder of text")
    return sorted(found, key=lambda source: Path(source.path).parts)


def _files_of_dataset(folder: Path, names: Sequence[str]) -> list[Source] | None:
    """List the data files of a folder that `datasets` saved; None for another folder.

    Raises CorpusError for a damaged one, and for several splits, of which one has to be chosen.
    """
    if "dataset_dict.json" in names:
        splits = [part.parent for part in sorted(folder.glob("*/state.json"))]
        found = ", ".join(split.name for split in splits)
        raise CorpusError(
            f"{folder}: a dataset of several splits ({found}); expected one of them",
            f"name it: {splits[0] if splits else folder / 'train'}",
        )
    if not {"state.json", "dataset_info.json"} <= set(names):
        return None
    try:
        data = json.loads((folder / "state.json").read_bytes()[:_LARGEST_STATE])
        files = [str(each["filename"]) for each in data["_data_files"]]
    except (OSError, *MALFORMED_DATA_ERRORS) as error:
        raise CorpusError(f"{folder / 'state.json'}: damaged; expected a list of files") from error
    for name in files:
        if name not in names:
            raise CorpusError(f"{folder / 'state.json'}: names {name!r}, which is not beside it")
    return [Source(str(folder / name)) for name in files]


class Chunks:
    """Bytes that an iterator yields in chunks of any size, read in sizes of one's own."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ready = b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without taking them; fewer only at the end."""
        parts, length = [self._ready], len(self._ready)
        while length < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            length += len(chunk)
        self._ready = b"".join(parts)
        return self._ready[:size]

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        data = self.peek(size)
        self._ready = self._ready[size:]
        return data


class Opened:
    """A source as it is stored, counted and hashed while it is read."""

    def __init__(self, source: Source) -> None:
        """Open it; raises OSError or ValueError."""
        path = source.path
        self.source = source
        self.name = "standard input" if path == STDIN else path
        self.size = 0  # bytes that were read
        self.compressed = False  # known once content is read
        self._file: Any = sys.stdin.buffer if path == STDIN else _open(path)
        # Standard input is read as it comes: a terminal's line, what a pipe holds.
        self._read = getattr(self._file, "read1", self._file.read)
        self._ended = False
        self._hash = hashlib.sha256()
        self._before = self._state()
        self.expected = 0  # bytes to be read; 0: not known
        if self._before is not None:
            self.expected = (source.end or self._before[0]) - source.start
        if source.start:
            self._file.seek(source.start)

    def _state(self) -> tuple[int, object] | None:
        """Return the size of the file and what changes with it; None for a pipe, which may grow."""
        if isinstance(self._file, addresses.RemoteFile):
            return self._file.state()
        try:
            found = os.fstat(self._file.fileno())
        except (OSError, AttributeError):
            return None
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def reopened(self) -> Any:
        """Open the same file again, to read it in any order; raises CorpusError for a pipe."""
        if self._before is None or self._file is sys.stdin.buffer:
            raise CorpusError(
                f"{self.name}: is a Parquet file, which is not read from a pipe; expected its name",
                "save it to a file, and name that",
            )
        file = _open(self.name)
        if not isinstance(file, addresses.RemoteFile) and not os.path.samestat(
            os.fstat(file.fileno()), os.fstat(self._file.fileno())
        ):
            file.close()
            self._refuse_change()
        return file

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; raises CorpusError for a file that grew meanwhile."""
        if self.source.end is not None:
            size = min(size, self.expected - self.size)
        # A terminal would wait for another Ctrl-D if it were read again after its end.
        data: bytes = b"" if self._ended or not size else self._read(size)
        self._ended = not data
        self._hash.update(data)
        self.size += len(data)
        if 0 < self.expected < self.size:
            self._refuse_change()  # a file that grows as fast as it is read would have no end
        return data

    def at(self, place: int, size: int) -> bytes:
        """Return up to `size` bytes from a place on, which are neither counted nor hashed."""
        with _read_errors(self.name):
            self._file.seek(place)
            return bytes(self._file.read(size))

    def finish(self) -> str:
        """Read what is left and return the SHA-256.

        Raises CorpusError if the file changed, or cannot be read any more.
        """
        with _read_errors(self.name):
            while self.read(READ):
                pass
            if self._before is not None and (
                self._state() != self._before or self.size < self.expected
            ):
                self._refuse_change()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close a file; standard input stays open."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def _refuse_change(self) -> NoReturn:
        before, after = (0 if each is None else each[0] for each in (self._before, self._state()))
        raise CorpusError(
            f"{self.name}: changed while it was read, from {before:,} bytes to {after:,}",
            hint="train on a copy that nothing writes to",
        )


def _open(path: str) -> Any:
    if addresses.is_address(path):
        return addresses.RemoteFile(path)
    return open(path, "rb", buffering=0)  # noqa: PTH123 - closed by `Opened`


def size_and_time(path: str) -> tuple[int, int]:
    """Return the size of a file, and when it was changed in ns, or 0; raises OSError."""
    if addresses.is_address(path):
        with addresses.RemoteFile(path) as file:
            return (file.state() or (0,))[0], 0
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


@contextmanager
def open_source(source: Source, max_expansion: int) -> Iterator[tuple[Opened, Chunks]]:
    """Open a source; yields it as it is stored, and its content, decompressed.

    The compression is recognised by the first bytes. Raises CorpusError, at once or while the
    content is read, if the file cannot be read, is damaged, or expands to more than
    `max_expansion` times its own size and more than `EXPANSION_FLOOR`.
    """
    name = "standard input" if source.path == STDIN else source.path
    with _read_errors(name):
        opened = Opened(source)
    try:
        yield opened, Chunks(_expanded(opened, max_expansion))
    finally:
        opened.close()


def _expanded(opened: Opened, max_expansion: int) -> Iterator[bytes]:
    """Yield the content of a file, decompressed."""
    with _read_errors(opened.name):
        stored = Chunks(iter(lambda: opened.read(READ), b""))
        head = stored.peek(6)
        pieces = iter(lambda: stored.read(READ), b"")
        for compression in COMPRESSIONS.values():
            if compression.magic.match(head) and not opened.source.start:
                pieces = decompress(stored.read, compression)
                opened.compressed = True
        expanded = 0
        for piece in pieces:
            expanded += len(piece)
            if expanded > max(EXPANSION_FLOOR, max_expansion * opened.size):
                raise CorpusError(
                    f"{opened.name}: expands to more than {max_expansion} times its size",
                    hint="if that is right, raise --max-expansion",
                )
            yield piece


# How files begin that are no text, what they are, and what to do with them.
_NOT_TEXT = [
    (rb"PK\x03\x04", "a zip archive, or a document that is one", "unpack it, or save it as text"),
    (rb".{257}ustar", "a tar archive", "unpack it: tar -xf FILE"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive", "unpack it"),
    (rb"%PDF-", "a PDF document", "extract its text: pdftotext FILE"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document", "save it as text or CSV"),
    (rb"PAR1[\0-\x1f]", "a Parquet file", "decompress it, or leave out --input-format"),
    (rb"\x93NUMPY|\x89HDF|SQLite format 3\0", "a file of data", "save its text as CSV"),
    (rb"\x89PNG\r|\xff\xd8\xff|GIF8[79]a", "a picture", "name files of text only"),
    (
        rb"version https://git-lfs\.github\.com/",
        "a pointer of Git LFS, not the file itself",
        "fetch the file: git lfs pull",
    ),
    (
        rb"(?i)\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html)\b",
        "an HTML page",
        "is it an error page of a download? else extract its text first",
    ),
    *((each.magic.pattern, "compressed twice", "decompress it") for each in COMPRESSIONS.values()),
]


def identify(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that is no text, by its first bytes, and what to do with it."""
    for pattern, what, hint in _NOT_TEXT:
        if re.match(pattern, head, re.DOTALL):
            return what, hint
    return None


def require_text(name: str, head: bytes, encoding: str) -> None:
    """Raise CorpusError, with what to do, if the first bytes of a file are not those of text."""
    if found := identify(head):
        raise CorpusError(f"{name}: is {found[0]}; expected text", hint=found[1])
    if encoding == "utf-8" and (guess := guess_utf16(head, surely=True)):
        raise CorpusError(
            f"{name}: looks like UTF-16 without a byte order mark; expected UTF-8",
            hint=f"name its encoding: --encoding {guess}",
        )


def guess_utf16(head: bytes, *, surely: bool) -> str | None:
    """Return the encoding of text that may be UTF-16, as its blanks have a byte of zeros.

    The zeros are always in the same of a character's two bytes. With `surely`, almost all of these
    bytes have to be control characters, as they are in text of the alphabets below U+2000.
    """
    halves = {"utf-16-be": head[0::2], "utf-16-le": head[1::2]}
    found = [encoding for encoding, half in halves.items() if b"\0" in half]
    if len(head) < 4 or len(found) != 1 or head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return None
    half = halves[found[0]]
    if surely and sum(map(half.count, range(32))) < 0.9 * len(half):
        return None
    return found[0]


@contextmanager
def _read_errors(name: str) -> Iterator[None]:
    """Turn the errors of reading the file `name` into CorpusErrors."""
    try:
        yield
    except DamagedDataError as error:
        raise CorpusError(f"{name}: compressed data is damaged or cut off ({error})") from error
    except OSError as error:
        reason = error.strerror or (
            "No such file" if isinstance(error, FileNotFoundError) else error
        )
        raise CorpusError(f"{name}: {reason}; expected a readable file") from error
    except ValueError as error:  # a NUL byte in the name
        raise CorpusError(f"{name!r}: {error}; expected the name of a file") from error
    except ImportError as error:
        raise CorpusError(
            f"{name}: is compressed by zstandard, whose library is not installed",
            hint="pip install 'embedcli[zst]'",
        ) from error
