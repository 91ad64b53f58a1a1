"""A cache of the ids of corpora, in the user's cache folder.

An entry is a bundle whose folder is named after everything that determines its content: a digest of
the relevant settings and of the versions of `embed`, `regex` and Unicode, and the size and SHA-256
of the text. It is verified when it is opened, and removed where it does not match. The least
recently used entries make room for new ones. No error here stops a run: the text is then read.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import unidata_version

import numpy as np
import regex
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.config import TextSettings
from embedcli.errors import StoreError
from embedcli.storage import files
from embedcli.storage.bundle import MANIFEST, Bundle, open_bundle, write_bundle
from embedcli.text.corpus import fingerprint_of
from embedcli.text.segmenters import PACKAGES
from embedcli.text.sources import STDIN, Source

LARGEST = 8 << 30  # bytes of all entries together
_MANIFESTS = (MANIFEST, "digests.json")  # the latter of entries that embed 0.1 wrote
# Settings that do not change the ids.
_IRRELEVANT = {"workers", "cache", "max_expansion", "stop_words"}
_RELEVANT = {field.name for field in fields(TextSettings)} - _IRRELEVANT


class Entry(NamedTuple):
    """An entry of the cache: its folder, its size in bytes, and when it was last used."""

    path: Path
    size: int
    used: float  # seconds since the epoch


def cache_folder() -> Path:
    """Return the folder of the cache: $EMBED_CACHE, else `embed` in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("EMBED_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "embed"


def entries() -> list[Entry]:
    """Return the entries, the most recently used first."""
    found = []
    with suppress(OSError):
        for path in cache_folder().iterdir():
            with suppress(OSError):
                if any((path / name).is_file() for name in _MANIFESTS):
                    size = sum(file.stat().st_size for file in path.iterdir())
                    found.append(Entry(path, size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def clear() -> int:
    """Remove every entry; returns how many bytes were freed."""
    freed = 0
    for entry in entries():
        remove(entry.path)
        freed += 0 if entry.path.exists() else entry.size
    files.sweep_folder(cache_folder())
    return freed


def remove(entry: Path) -> None:
    """Remove an entry."""
    shutil.rmtree(entry, ignore_errors=True)


class Cached:
    """The entry of one corpus read with some settings, which may not exist yet."""

    def __init__(self, sources: Sequence[Source], settings: TextSettings, more: object) -> None:
        """Name the corpus and the settings; `more` is what else determines the ids, for JSON."""
        self._sources = sources
        self._settings = settings
        self._more = more

    @cached_property
    def _key(self) -> str:
        """The digest of what determines the ids of a text; raises OSError or ValueError."""
        stop_words = ""
        if self._settings.stop_words is not None:
            path = Path(self._settings.stop_words)
            files.regular_size(path)  # raises for a pipe, which could be read only once
            stop_words = files.sha256(path)
        facts = [
            {name: value for name, value in asdict(self._settings).items() if name in _RELEVANT},
            stop_words,
            [source.kind for source in self._sources],
            [
                __version__,
                regex.__version__,
                unidata_version,
                version_of(self._settings.segmenter),
            ],
            self._more,
        ]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def find(self) -> Bundle | None:
        """Return the entry if it exists and is undamaged; a damaged one is removed."""
        try:
            sizes = [_regular_size(source) for source in self._sources]
            prefix = f"{self._key}-{sum(sizes)}-"
            if not any(cache_folder().glob(f"{prefix}*")):
                return None  # without hashing the text
            digests = [files.sha256(Path(source.path)) for source in self._sources]
            fingerprint = fingerprint_of(list(zip(sizes, digests, strict=True)))
        except (OSError, ValueError):
            return None
        entry = cache_folder() / f"{prefix}{fingerprint}"
        if not entry.is_dir():
            return None
        try:
            bundle = open_bundle(entry, "ids")
            bundle.verify()
        except StoreError:
            remove(entry)
            return None
        if bundle.facts.get("entry") != entry.name:
            remove(entry)
            return None
        with suppress(OSError):  # a cache that this user cannot write to
            os.utime(entry)
        return bundle

    def store(self, fingerprint: str, members: Mapping[str, Path | bytes | NDArray[Any]]) -> None:
        """Write the entry; files among the members are linked where that is possible."""
        with suppress(OSError, ValueError, StoreError):
            size = sum(_regular_size(source) for source in self._sources)
            entry = cache_folder() / f"{self._key}-{size}-{fingerprint}"
            needed = sum(
                member.stat().st_size
                if isinstance(member, Path)
                else member.nbytes
                if isinstance(member, np.ndarray)
                else len(member)
                for member in members.values()
            )
            if not entry.exists() and _make_room(needed):
                write_bundle(entry, "ids", members, {"entry": entry.name}, durable=False)


def version_of(segmenter: str | None) -> str:
    """Return the version of the library of a segmenter, or nothing."""
    if segmenter not in PACKAGES:
        return ""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGES[segmenter])
    except PackageNotFoundError:
        return ""


def _regular_size(source: Source) -> int:
    """Return the size of a source's file; raises ValueError for what can be read only once."""
    if source.path == STDIN:
        raise ValueError("standard input")
    status = Path(source.path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def _make_room(needed: int) -> bool:
    """Remove the least recently used entries; returns whether there is room then."""
    cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    files.sweep_folder(cache_folder())
    if needed > LARGEST:
        return False
    kept = entries()
    total = needed + sum(entry.size for entry in kept)
    while total > LARGEST and kept:
        oldest = kept.pop()
        remove(oldest.path)
        total -= oldest.size
    return needed < shutil.disk_usage(cache_folder()).free // 2
