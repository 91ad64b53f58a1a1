"""Compressed data to bytes and back: gzip, bzip2, xz and zstandard."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, NamedTuple

_INPUT = 1 << 16  # bytes of compressed data that are read at once
_OUTPUT = 1 << 18  # bytes that are expanded at once: few bytes of input may ask for gigabytes
# Bytes a decoder may allocate: `xz -9` needs 65 MB, and a header alone could ask for 4 GB.
_DECODER_MEMORY = 1 << 28
_LARGEST_ZSTD_WINDOW = 27  # 128 MB, as a power of two


class DamagedDataError(Exception):
    """Compressed data is damaged or cut off."""


class _GzipDecoder:
    """Expands gzip, as `bz2.BZ2Decompressor` does bzip2."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)  # with gzip's header and checksum
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(found) < max_length and not self._zlib.unconsumed_tail
        return found


class Compression(NamedTuple):
    """One way to compress files."""

    magic: re.Pattern[bytes]  # how the data begins
    # Expands one stream: `decompress(data, max_length)`, `needs_input`, `eof` and `unused_data`.
    decoder: Callable[[], Any]
    writer: Callable[[BinaryIO], AbstractContextManager[Any]]  # opens a file to be written


def _zstd() -> Any:
    """Return the library of zstandard; raises ImportError if it is not installed."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name)


def _zstd_decoder() -> Any:
    zstd = _zstd()
    limit = {zstd.DecompressionParameter.window_log_max: _LARGEST_ZSTD_WINDOW}
    return zstd.ZstdDecompressor(options=limit)


# By the suffix of a file's name. A new compression is one line here.
COMPRESSIONS: dict[str, Compression] = {
    ".gz": Compression(
        re.compile(rb"\x1f\x8b\x08"),
        _GzipDecoder,
        lambda file: gzip.GzipFile("", "wb", 6, file, mtime=0),
    ),
    ".bz2": Compression(
        re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor, lambda file: bz2.BZ2File(file, "wb")
    ),
    ".xz": Compression(
        re.compile(rb"\xfd7zXZ\0"),
        lambda: lzma.LZMADecompressor(memlimit=_DECODER_MEMORY),
        lambda file: lzma.LZMAFile(file, "wb"),  # noqa: SIM115 - closed by who uses it
    ),
    ".zst": Compression(
        re.compile(rb"\x28\xb5\x2f\xfd"), _zstd_decoder, lambda file: _zstd().ZstdFile(file, "wb")
    ),
}


def decompress(read: Callable[[int], bytes], compression: Compression) -> Iterator[bytes]:
    """Yield what the compressed data that `read(size)` returns expands to, a piece at a time.

    Several streams may follow each other, with zeros between. Raises DamagedDataError.
    """
    decoder, data = compression.decoder(), b""
    while True:
        try:
            piece = decoder.decompress(data, _OUTPUT)
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            raise DamagedDataError(str(error)) from error
        yield piece
        data = b""
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0")
            while not data:
                if not (more := read(_INPUT)):
                    return
                data = more.lstrip(b"\0")
            decoder = compression.decoder()
        elif decoder.needs_input and not (data := read(_INPUT)):
            raise DamagedDataError("a stream ends before its end")
