"""A bundle: a folder of `.npy` arrays and small files, with a manifest of their sizes and digests.

The model folder, the checkpoint and the entries of the id cache are bundles. A bundle is written
whole or not at all, opened by reading its manifest alone, and its arrays are memory-mapped.

    manifest.json   {"kind", "format", "embed", facts …, "files": {name: {"bytes", "sha256"}},
                     "sha256": of all the entries before it}

Format 1 had no "kind": all its manifests are those of models.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.errors import (
    MALFORMED_DATA_ERRORS,
    ConfigError,
    StoreError,
    VocabularyError,
    describe_malformed,
)
from embedcli.storage import files
from embedcli.storage.arrays import map_npy, npy_chunks

FORMAT = 2
MANIFEST = "manifest.json"

# What a file of a bundle is made of: an array, bytes, chunks of bytes, or a file to link or copy.
Member: TypeAlias = NDArray[Any] | bytes | Path | Iterable[bytes | memoryview]

_RESERVED = ("kind", "format", "embed", "files", "sha256")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}")
# Reading JSON takes up to some thirty times the memory of its bytes.
_MAX_MANIFEST = 1 << 20
_MAX_NUMBER = 1 << 53
_KINDS: Mapping[type | UnionType, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    dict | None: "an object or null",
}


class File(NamedTuple):
    """What the manifest says of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle: its facts, and its files, which are read or mapped when asked for."""

    folder: Path
    kind: str
    format: int
    embed: str  # version of `embed` that wrote it
    facts: Mapping[str, Any]
    files: Mapping[str, File]
    hint: str  # what to do where the bundle is damaged

    def array(self, name: str) -> NDArray[Any]:
        """Memory-map the array in `NAME.npy`; raises StoreError."""
        with self.damage(f"{name}.npy"):
            return map_npy(self.path(f"{name}.npy"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Memory-map all arrays, by name; raises StoreError."""
        names = [name.removesuffix(".npy") for name in self.files if name.endswith(".npy")]
        return {name: self.array(name) for name in names}

    def path(self, name: str) -> Path:
        """Return the path of a file; raises KeyError for one that the manifest does not list."""
        if name not in self.files:
            raise KeyError(name)
        return self.folder / name

    def verify(self) -> None:
        """Compare every file with its digest, and the manifest with its own; raises StoreError."""
        with self.damage(MANIFEST):
            data = (self.folder / MANIFEST).read_bytes()
            body = json.loads(data)
            del body["sha256"]
            if data != _manifest_bytes(body):
                raise ValueError("its own digest does not match")
        for name, file in self.files.items():
            with self.damage(name):
                if files.sha256(self.folder / name) != file.sha256:
                    raise ValueError(f"its SHA-256 is not the one in {MANIFEST}")

    @contextmanager
    def damage(self, name: str) -> Iterator[None]:
        """Turn errors raised while the file `name` is read into a StoreError that names it."""
        with _damage(self.folder / name, self.hint):
            yield


def write_bundle(
    folder: Path,
    kind: str,
    members: Mapping[str, Member],
    facts: Mapping[str, Any],
    *,
    keep_previous: bool = False,
    durable: bool = True,
) -> dict[str, File]:
    """Write a bundle that replaces `folder` when it is whole; returns its files.

    `members` are the files' contents by name, `facts` entries of the manifest. The rest is as in
    `files.new_folder`, which raises StoreError.
    """
    written = {}
    with files.new_folder(folder, keep_previous=keep_previous, durable=durable) as new:
        for name, member in members.items():
            written[name] = _write_member(new / name, member)
        body = {
            "kind": kind,
            "format": FORMAT,
            "embed": __version__,
            **facts,
            "files": {name: file._asdict() for name, file in written.items()},
        }
        (new / MANIFEST).write_bytes(_manifest_bytes(body))
    return written


def open_bundle(folder: Path, kind: str, hint: str = "") -> Bundle:
    """Open a bundle: read its manifest and compare the size of every file with it.

    `hint` says what to do about damage. Raises StoreError for a bundle that is not there, damaged,
    of another kind or of a newer format.
    """
    path = folder / MANIFEST
    with _damage(path, hint):
        if files.regular_size(path, inside=folder) > _MAX_MANIFEST:
            raise ValueError("too large")
        body = json.loads(path.read_bytes())
        require_types(body, {"format": int, "embed": str, "files": dict})
        format_ = require_whole(body["format"])
        if format_ > FORMAT:
            raise StoreError(
                f"{folder}: of format version {format_}; this embed reads up to {FORMAT}",
                "update embed",
            )
        if format_ < 1 or (format_ > 1 and body["kind"] != kind):
            raise ValueError(f"not the manifest of a {kind}")
        listed = {
            name: File(require_whole(entry["bytes"]), str(entry["sha256"]))
            for name, entry in body["files"].items()
        }
        for name in listed:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"{name!r:.40} cannot be the name of a file")
    for name, file in listed.items():
        with _damage(folder / name, hint):
            found = files.regular_size(folder / name, inside=folder)
            if found != file.bytes:
                raise ValueError(f"{found} bytes; expected {file.bytes}")
    return Bundle(
        folder=folder,
        kind=kind,
        format=format_,
        embed=body["embed"],
        facts={name: value for name, value in body.items() if name not in _RESERVED},
        files=listed,
        hint=hint,
    )


def json_bytes(value: Any, **options: Any) -> bytes:
    """Return JSON as UTF-8, with escapes where a text is not valid Unicode (names of files)."""
    try:
        return json.dumps(value, ensure_ascii=False, **options).encode()
    except UnicodeEncodeError:
        return json.dumps(value, **options).encode()


def require_whole(value: Any) -> int:
    """Return a whole number from 0 to 2**53; raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError(f"found {as_json(value)}; expected a whole number")
    return value


def require_types(
    found: Mapping[str, Any], types: Mapping[str, type | UnionType], where: str = ""
) -> None:
    """Raise KeyError or ValueError for an entry of JSON that is missing or of another type."""
    for name, type_ in types.items():
        if name not in found:
            raise KeyError(name)
        value = found[name]
        # In Python, but not here, True is a whole number.
        if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
            raise ValueError(f"{where}{name}: found {as_json(value)}; expected {_KINDS[type_]}")


def as_json(value: Any) -> str:
    """Return a value as it stands in JSON, shortened for a message.

    >>> as_json(None), as_json("x")
    ('null', '"x"')
    """
    return json.dumps(value, ensure_ascii=False)[:40]


def _write_member(path: Path, member: Member) -> File:
    import hashlib  # slow to import, and not needed to open a bundle

    if isinstance(member, Path):
        try:
            os.link(member, path)
        except OSError:
            shutil.copyfile(member, path)
        return File(path.stat().st_size, files.sha256(path))
    if isinstance(member, np.ndarray):
        member = npy_chunks(member)
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for chunk in [member] if isinstance(member, bytes) else member:
            out.write(chunk)
            digest.update(chunk)
        return File(out.tell(), digest.hexdigest())


def _manifest_bytes(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a manifest: its entries, then the digest of them."""
    import hashlib

    digest = hashlib.sha256(json_bytes(body, sort_keys=True, indent=1)).hexdigest()
    return json_bytes({**body, "sha256": digest}, indent=1) + b"\n"


@contextmanager
def _damage(path: Path, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: damaged: {error.strerror or error}", hint or None) from error
    except MALFORMED_DATA_ERRORS as error:
        raise StoreError(f"{path}: damaged: {describe_malformed(error)}", hint or None) from error
    except (ConfigError, VocabularyError) as error:
        what = error.message.removeprefix(f"{path}: ").replace(f"{path}:", "line ", 1)
        raise StoreError(f"{path}: damaged: {what}", hint or None) from error
