"""Bytes to blocks of whole lines, in bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import regex

from embedcli.config import TextSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.text.records import HANDLERS, Records, Row, undecodable
from embedcli.text.sources import Opened, Source, find_sources, open_source

# Bytes of text a block holds at most; a longer line is cut. Characters, which become more ids than
# words do, come in blocks of a quarter of that.
BLOCK = 1 << 20
# How far back from the end of a block of one line a place to cut it is looked for.
_CUT_WINDOW = 1 << 16
_NEWLINE = ord("\n")
# Beside these no token is cut in two: other scripts' blanks and punctuation, and each side of a
# character that is a word of its own.
_CUT = regex.compile(r"(?r)[^\p{L}\p{M}\p{N}\p{C}\p{P}]|[\p{Han}\p{Hiragana}\p{Katakana}]")
_UTF8 = {"utf-8", "utf-8-sig"}
# Text encodings to Python, but of no file.
_OF_NO_FILE = {"idna", "punycode", "unicode-escape", "raw-unicode-escape"}


class Block(NamedTuple):
    """UTF-8 text of whole lines, but that the last may go on in the next block."""

    name: str  # of the file, for errors
    line: int  # in the file, from 1, of the first line
    offset: int  # in the file, of the first byte
    data: bytes
    whole: bool  # whether the last line ends with the block
    rows: tuple[Row, ...] | None = None  # what goes with the lines that end here, given columns


class Corpus:
    """The text of some sources: a stream of blocks, and what was read once that is over."""

    def __init__(
        self, places: Sequence[str | Path], settings: TextSettings, *, labelled: bool = False
    ) -> None:
        self.sources = find_sources(places)
        self._settings = settings
        self._labelled = labelled
        self._encoding = _codec_name(settings.encoding)
        self._block = BLOCK // 4 if settings.tokenizer == "char" else BLOCK
        self._digests: list[tuple[int, str]] = []

    def blocks(self) -> Iterator[Block]:
        """Read the sources in turn; raises CorpusError for what cannot be read or decoded."""
        self._digests.clear()
        for source in self.sources:
            with open_source(source, self._settings.max_expansion) as (opened, read):
                read = self._as_utf8(opened, read)
                if source.kind == "text":
                    yield from _lines_in_blocks(opened.name, read, self._block)
                else:
                    yield from self._records_in_blocks(opened.name, source, read)
                self._digests.append((opened.size, opened.finish()))

    def _records_in_blocks(
        self, name: str, source: Source, read: Callable[[int], bytes]
    ) -> Iterator[Block]:
        records = Records(name, source.kind, read, self._settings, labelled=self._labelled)
        for block in _lines_in_blocks(name, records.read, self._block):
            ends = block.data.count(b"\n")
            rows = tuple(records.rows.popleft() for _ in range(ends))
            yield block._replace(rows=rows)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the files' bytes as they are stored, in their order, once all are read."""
        return fingerprint_of(self._digests)

    def _as_utf8(self, opened: Opened, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        if self._encoding in _UTF8:
            return read
        return _transcoded(opened, read, self._encoding, self._settings.errors)


def fingerprint_of(digests: Sequence[tuple[int, str]]) -> str:
    """One SHA-256 of the sizes and digests of several files, in their order."""
    return sha256("".join(f"{size} {digest}\n" for size, digest in digests).encode()).hexdigest()


def _codec_name(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
        known = info._is_text_encoding and info.name not in _OF_NO_FILE
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ConfigError(
            f"encoding: found {encoding!r}; expected the name of a text encoding",
            hint="such as utf-8, latin-1, cp1252, utf-16, shift_jis, gb18030",
        )
    return info.name


def _transcoded(
    opened: Opened, read: Callable[[int], bytes], encoding: str, errors: str
) -> Callable[[int], bytes]:
    """Return a function that reads text of another encoding as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)(HANDLERS[errors])
    taken = 0
    lines = 1
    ready = b""
    ended = False

    def decoded(data: bytes, final: bool) -> bytes:
        try:
            text = decoder.decode(data, final)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "ignore").count("\n")
            offset = taken - len(error.object) + error.start
            raise undecodable(opened.name, lines + before, offset, encoding, error) from None
        except UnicodeError as error:
            raise CorpusError(
                f"{opened.name}: {error}; expected {encoding.upper()}",
                hint="without that mark, name the order: --encoding utf-16-le or utf-16-be",
            ) from None
        return text.encode("utf-8", "replace")

    def read_utf8(size: int) -> bytes:
        nonlocal taken, lines, ready, ended
        while len(ready) < size and not ended:
            data = read(size)
            taken += len(data)
            ended = len(data) < size
            fresh = decoded(data, ended)
            lines += fresh.count(b"\n")
            ready += fresh
        result, ready = ready[:size], ready[size:]
        return result

    return read_utf8


def _lines_in_blocks(name: str, read: Callable[[int], bytes], size: int) -> Iterator[Block]:
    """Cut a file's text into blocks that end with a line, or inside a line longer than a block."""
    line, offset = 1, 0
    rest = b""
    while True:
        fresh = read(size - len(rest))
        data = rest + fresh
        if offset == 0 and data.startswith(codecs.BOM_UTF8):
            data, offset = data[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        if not data:
            return
        ended = len(fresh) < size - len(rest)
        end = len(data) if ended else data.rfind(b"\n") + 1 or _place_to_cut(data)
        block = data[:end]
        whole = ended or block.endswith(b"\n")
        yield Block(name, line, offset, block, whole)
        line += int(np.count_nonzero(np.frombuffer(block, np.uint8) == _NEWLINE))
        offset += len(block)
        if ended:
            return
        rest = data[end:]


def _place_to_cut(data: bytes) -> int:
    """Where to cut a block without a newline: before its last blank, or between two tokens.

    Text without a blank or the like for `_CUT_WINDOW` bytes is cut between two characters.
    """
    blank = max(data.rfind(b" "), data.rfind(b"\t"))
    if blank > 0:
        return blank
    tail = data[-_CUT_WINDOW:]
    while tail and tail[0] & 0xC0 == 0x80:
        tail = tail[1:]
    text = tail.decode("utf-8", "ignore")
    match = _CUT.search(text)
    if match is not None and match.start() > 0:
        return len(data) - len(tail) + len(text[: match.start()].encode())
    end = len(data) - 1
    while end > len(data) - 4 and data[end] & 0xC0 == 0x80:
        end -= 1
    return end
