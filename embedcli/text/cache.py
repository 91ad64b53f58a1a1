"""Ids of corpora that were read before, kept in the user's cache folder.

An entry is a folder named by what decides its content: a digest of the settings that matter and of
the versions of `embed`, `regex` and Unicode, the size of the text and its SHA-256. It is filled
beside its place and renamed, checked against its name and digests when it is read, and thrown away
if it does not match. The entries used longest ago make room for new ones. Nothing that goes wrong
here stops a run: the text is then read anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import unidata_version

import regex

from embedcli import __version__
from embedcli.config import TextSettings
from embedcli.errors import UNFIT, StoreError
from embedcli.storage import files
from embedcli.text.corpus import fingerprint_of
from embedcli.text.segmenters import PACKAGES
from embedcli.text.sources import STDIN, Source

# Bytes all entries may take together.
LARGEST = 8 << 30
_DIGESTS = "digests.json"
# These do not change what becomes of the text.
_IRRELEVANT = {"workers", "cache", "max_expansion", "stop_words"}


class Entry(NamedTuple):
    """An entry of the cache: its folder, its size in bytes, and when it was last used."""

    path: Path
    size: int
    used: float  # seconds since the epoch


def cache_folder() -> Path:
    """Return where ids are kept: $EMBED_CACHE, else `embed` in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("EMBED_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "embed"


def entries() -> list[Entry]:
    """List the entries, those used last first."""
    found = []
    with contextlib.suppress(OSError):
        for path in cache_folder().iterdir():
            with contextlib.suppress(OSError):
                if (path / _DIGESTS).is_file():
                    found.append(Entry(path, _size(path), path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def clear() -> int:
    """Remove every entry; returns how many bytes were freed."""
    freed = 0
    for entry in entries():
        _remove(entry.path)
        freed += 0 if entry.path.exists() else entry.size
    files.sweep_folder(cache_folder())
    return freed


class Cached:
    """The place in the cache of one corpus read with some settings."""

    def __init__(self, sources: Sequence[Source], settings: TextSettings, more: object) -> None:
        """Find the place; `more` is anything else, of JSON's types, that decides the ids."""
        self._sources = sources
        self._settings = settings
        self._more = more

    @cached_property
    def _key(self) -> str:
        return _key(self._sources, self._settings, self._more)

    def find(self) -> Path | None:
        """Return the entry's folder if it is there and whole."""
        try:
            entry = self._place()
        except (OSError, ValueError):
            return None
        if entry is None or not entry.is_dir():
            return None
        if not _is_whole(entry):
            self.throw_away(entry)
            return None
        with contextlib.suppress(OSError):  # a cache that others keep
            os.utime(entry)
        return entry

    def _place(self) -> Path | None:
        """Return where the entry lies, if any of the same size does; raises OSError, ValueError."""
        sizes = [_regular_size(source) for source in self._sources]
        prefix = f"{self._key}-{sum(sizes)}-"
        if not any(cache_folder().glob(f"{prefix}*")):
            return None
        digests = [files.sha256(Path(source.path)) for source in self._sources]
        return cache_folder() / (prefix + fingerprint_of(list(zip(sizes, digests, strict=True))))

    def throw_away(self, entry: Path) -> None:
        """Remove an entry that does not hold what it should."""
        _remove(entry)

    def store(self, fingerprint: str, content: Mapping[str, Path | bytes]) -> None:
        """Keep files, linked where that is possible, or bytes, under their names."""
        with contextlib.suppress(OSError, ValueError, StoreError):
            size = sum(_regular_size(source) for source in self._sources)
            target = cache_folder() / f"{self._key}-{size}-{fingerprint}"
            needed = sum(
                len(part) if isinstance(part, bytes) else part.stat().st_size
                for part in content.values()
            )
            if target.exists() or not _make_room(needed):
                return
            with files.working_folder(target) as partial:
                _fill(partial, target.name, content)
                partial.rename(target)


def _key(sources: Sequence[Source], settings: TextSettings, more: object) -> str:
    """Name what decides the ids; raises OSError or ValueError for stop words that are no file."""
    chosen = {name: value for name, value in asdict(settings).items() if name in _RELEVANT}
    stop_words = ""
    if settings.stop_words is not None:
        files.regular_size(Path(settings.stop_words))  # a pipe can be read once, and not here
        stop_words = files.sha256(Path(settings.stop_words))
    facts = [
        chosen,
        stop_words,
        [source.kind for source in sources],
        [__version__, regex.__version__, unidata_version, _version_of(settings.segmenter)],
        more,
    ]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


_RELEVANT = {field.name for field in fields(TextSettings)} - _IRRELEVANT


def _version_of(segmenter: str | None) -> str:
    if segmenter not in PACKAGES:
        return ""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGES[segmenter])
    except PackageNotFoundError:
        return ""


def _regular_size(source: Source) -> int:
    """Size of a source's file; raises ValueError for what can be read only once."""
    if source.path == STDIN:
        raise ValueError("standard input")
    status = Path(source.path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def _fill(folder: Path, entry: str, content: Mapping[str, Path | bytes]) -> None:
    digests: dict[str, list[int | str]] = {}
    for name, part in content.items():
        if isinstance(part, bytes):
            (folder / name).write_bytes(part)
        else:
            try:
                os.link(part, folder / name)
            except OSError:
                shutil.copyfile(part, folder / name)
        digests[name] = _digest(folder / name, folder)
    (folder / _DIGESTS).write_bytes(_sealed(entry, digests))


def _sealed(entry: str, digests: Mapping[str, Any]) -> bytes:
    """Write down an entry's name and the digests of its files, and the digest of that."""
    said = json.dumps({"entry": entry, "files": digests}).encode()
    return said + b"\n" + sha256(said).hexdigest().encode()


def _is_whole(entry: Path) -> bool:
    """Whether an entry holds the files it was filled with, and all of them."""
    try:
        files.regular_size(entry / _DIGESTS, inside=entry)
        data = (entry / _DIGESTS).read_bytes()
        digests = json.loads(data.partition(b"\n")[0])["files"]
        return data == _sealed(entry.name, digests) and all(
            _digest(entry / name, entry) == digest for name, digest in digests.items()
        )
    except (OSError, *UNFIT):
        return False


def _digest(path: Path, entry: Path) -> list[int | str]:
    """Size and SHA-256 of a file of an entry; raises ValueError for a link out of it."""
    return [files.regular_size(path, inside=entry), files.sha256(path)]


def _make_room(needed: int) -> bool:
    """Remove the entries used longest ago; returns whether there is room then."""
    cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    files.sweep_folder(cache_folder())
    if needed > LARGEST:
        return False
    kept = entries()
    total = needed + sum(entry.size for entry in kept)
    while total > LARGEST and kept:
        oldest = kept.pop()
        _remove(oldest.path)
        total -= oldest.size
    free = shutil.disk_usage(cache_folder()).free
    return needed < free // 2


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
