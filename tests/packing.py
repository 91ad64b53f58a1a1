"""Ways to compress bytes, by suffix; zstandard where its library is installed."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
with suppress(ImportError):
    PACKERS[".zst"] = import_module(ZSTD).compress
