"""Files at addresses such as s3://bucket/corpus, by fsspec, whose libraries know many systems."""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from embedcli.errors import CorpusError

_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")

# Of GitHub and Git, what stands there is a repository and a branch.
_PASSWORD = re.compile(r"\b(?!git(?:hub)?:)([A-Za-z][A-Za-z0-9+.-]+)://([^/:@]*):[^/]+@")


def is_address(place: str) -> bool:
    """Return whether a name is an address, and not a path.

    >>> is_address("s3://bucket/a.txt"), is_address("C:/a.txt")
    (True, False)
    """
    return _ADDRESS.match(place) is not None


def files_at(address: str) -> list[str]:
    """Return the addresses of the files that one names: a file, a folder, or a pattern.

    A folder stands for all files in it and below, in the order of their names, without hidden ones.
    Raises OSError, or CorpusError where there is no file.
    """
    system, path = _system(address)
    with _errors():
        # A chain of systems is taken as it is. Any page of HTTP that has links is a folder too.
        if "::" in address or system.isfile(path):
            return [address]
        if system.isdir(path):
            root, found = address, {path: {"type": "directory"}}
        elif glob.has_magic(path):
            root, found = _folder_above(address), system.glob(path, detail=True)
        else:
            return [address]  # which is not there, as opening it will say
        above = _system(root)[1]
        names = {
            name
            for place, info in found.items()
            for name in ([place] if info["type"] == "file" else system.find(place))
            if not any(part.startswith(".") for part in name.removeprefix(above).split("/"))
        }
    if not names:
        raise CorpusError(f"{address}: no file there; expected some", "check the folder or pattern")
    root = root if root.endswith("/") else root + "/"
    return [
        root + name.removeprefix(above).lstrip("/")
        if name.startswith(above)
        else system.unstrip_protocol(name)  # a page of HTTP may link to files elsewhere
        for name in sorted(names, key=lambda name: name.split("/"))
    ]


def _folder_above(pattern: str) -> str:
    """Return the folder of an address that holds all that a pattern may match."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0] + "/"


class RemoteFile(io.RawIOBase):
    """A file at an address, open for reading; whatever its library raises becomes an OSError."""

    def __init__(self, address: str) -> None:
        """Open it; raises OSError, or CorpusError for an address that fsspec does not know."""
        self._system, self._path = _system(address)
        self._at = 0
        with _errors():
            self._file = self._system.open(self._path, "rb")

    def state(self) -> tuple[int, object] | None:
        """Return the size of the file, and a key that changes with it; None if it has no size."""
        with _errors():
            self._system.invalidate_cache()
            info = dict(self._system.info(self._path))
            if info.get("size") is None:
                return None
            key = self._system.ukey(self._path)
            if info.pop("time", None) is not None:  # of the last access, by SFTP and SMB
                key = str(info)
            return int(info["size"]), key

    def close(self) -> None:
        """Close the file of the library too; what that raises is of no interest after reading."""
        if not self.closed:
            super().close()
            with suppress(Exception):
                self._file.close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; a server that cannot start within a file raises OSError."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer; return how many."""
        with _errors():
            if self._file.tell() != self._at:  # in memory, all readers of a file share its place
                self._file.seek(self._at)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the file; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = offset + ((self.state() or (0,))[0] if base is None else base)
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at


def _system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises CorpusError for one with a password, which checkpoints and messages would repeat.
    """
    if secret := _PASSWORD.search(address):
        name, user = secret.groups()
        raise CorpusError(
            f"{name}://{user}:***@...: found a password; expected an address without one",
            f"{name}://{user}@..., with FSSPEC_{name.upper()}_PASSWORD in the environment, or "
            "what else its library reads",
        )
    try:
        import fsspec
    except ImportError:
        raise CorpusError(
            f"{address}: is an address, which needs fsspec; it is not installed",
            "pip install 'embedcli[fsspec]'",
        ) from None
    try:
        with _errors():
            system, path = fsspec.core.url_to_fs(address)
    except OSError as error:
        found, hint = f"{address}: {error}", "such as s3://, gs://, https:// or file://"
        if isinstance(error.__cause__, ImportError):
            raise CorpusError(f"{found}; expected the library", "install what it names") from error
        raise CorpusError(f"{found}; expected an address that fsspec knows", hint) from error
    return system, path


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what the library of a file system raises, which may be anything, into an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error
