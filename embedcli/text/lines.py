"""Bytes to blocks of whole lines, in bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

import regex

from embedcli.errors import CorpusError
from embedcli.text.sources import READ, Chunks, guess_utf16

# Python's names for how undecodable bytes are handled.
HANDLERS = {"strict": "strict", "replace": "replace", "skip": "ignore"}
# How many bytes before the end of a block without a newline are searched for a place to cut it.
_CUT_WINDOW = 1 << 16
# A cut before one of these splits no token: blanks and punctuation of other scripts than Latin, and
# characters that are words of their own.
_CUT = regex.compile(
    r"(?r)[^\p{L}\p{M}\p{N}\p{C}\p{P}\p{So}\p{Sk}\u2044]|[\p{Han}\p{Hiragana}\p{Katakana}]"
    r"|(?<!\u200d)\p{Extended_Pictographic}"
)


class Row(NamedTuple):
    """What a record holds beside its text: its labels, and the line of the file it ends on."""

    line: int
    labels: tuple[str, ...]


class Block(NamedTuple):
    """Lines of a text, UTF-8; the last may go on in the next block."""

    name: str  # of the file, for errors
    line: int  # number in the file, from 1, of the first line
    offset: int  # in the file, of the first byte
    data: bytes
    whole: bool  # whether the last line ends with the block
    rows: tuple[Row, ...] | None = None  # of each line that ends here, if the file has columns


def split_lines(
    name: str, content: Chunks, size: int, line: int = 1, offset: int = 0
) -> Iterator[Block]:
    """Yield a file in blocks of at most `size` bytes that end with a line, or inside a longer one.

    A byte order mark is removed. `line` and `offset` say where in the file the content begins.
    """
    if not offset and content.peek(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        offset = len(content.read(len(codecs.BOM_UTF8)))
    while data := content.peek(size):
        end = len(data)
        ended = len(data) < size
        if not ended:
            end = data.rfind(b"\n") + 1 or _place_to_cut(data)
        data = content.read(end)
        yield Block(name, line, offset, data, ended or data.endswith(b"\n"))
        line += data.count(b"\n")
        offset += len(data)


def _place_to_cut(data: bytes) -> int:
    """Return where to cut a block without a newline: before its last blank, or between two tokens.

    Text without either in its last `_CUT_WINDOW` bytes is cut between two characters.
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


def valid_utf8(block: Block, errors: str) -> bytes:
    """Return the block's bytes with undecodable ones handled; raises CorpusError if `strict`."""
    if block.data.isascii():
        return block.data
    try:
        block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        if errors == "strict":
            line = block.line + block.data.count(b"\n", 0, error.start)
            raise undecodable(block.name, line, block.offset, "utf-8", error) from None
        return block.data.decode("utf-8", HANDLERS[errors]).encode("utf-8")
    return block.data


def newlines(content: Chunks) -> Iterator[bytes]:
    """Yield text whose lines end with carriage returns, as on old Macs, with newlines instead."""
    rest = b""
    while data := rest + content.read(READ):
        rest = b"\r" if data.endswith(b"\r") and data != rest else b""  # a newline may follow
        data = data[: len(data) - len(rest)]
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def transcoded(name: str, content: Chunks, encoding: str, errors: str) -> Iterator[bytes]:
    """Yield text of another encoding as UTF-8; raises CorpusError for undecodable bytes."""
    decoder = codecs.getincrementaldecoder(encoding)(HANDLERS[errors])
    line, offset = 1, 0  # of the data
    while True:
        data = content.read(READ)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The decoder may have kept bytes of a character that the data before began.
            offset -= len(error.object) - len(data)
            line += error.object[: error.start].decode(encoding, "ignore").count("\n")
            raise undecodable(name, line, offset, encoding, error) from None
        except UnicodeError as error:  # UTF-16 or UTF-32 without a byte order mark
            raise CorpusError(
                f"{name}: {error}; expected {encoding.upper()}",
                hint="without that mark, name the order: --encoding utf-16-le or utf-16-be",
            ) from None
        yield text.encode("utf-8", "replace")
        if not data:
            return
        line += text.count("\n")
        offset += len(data)


def undecodable(
    name: str, line: int, offset: int, encoding: str, error: UnicodeDecodeError
) -> CorpusError:
    """Return the error for undecodable bytes of data that begins at `offset` of a file."""
    found = error.object[error.start : error.start + 1].hex()
    place = offset + error.start
    hint = "name the text's own with --encoding, or pass --errors replace or skip"
    if place < 2 and error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
        hint = "this looks like UTF-16: --encoding utf-16"
    elif offset == 0 and (guess := guess_utf16(error.object, surely=False)):
        hint = f"this looks like UTF-16 without a byte order mark: --encoding {guess}"
    return CorpusError(
        f"{name}:{line}: byte 0x{found} at offset {place} is not {encoding.upper()}"
        f" ({error.reason})",
        hint=hint,
    )
