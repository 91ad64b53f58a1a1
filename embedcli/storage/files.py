"""Atomic writes of files and folders, locks, and checks of files before they are read.

A temporary file or folder lies beside its target as `.NAME.<16 hex digits>.tmp` and is locked by
the process that fills it. One whose lock is free was left by a dead process; `sweep` removes it.
Windows has no locks on folders: there what a dead process left stays.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar

from embedcli.errors import EmbedError, StoreError

if sys.platform == "win32":
    import msvcrt

    def _lock_for_process(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _lock_file(descriptor: int, *, wait: bool) -> None:
        """Do nothing: a file that is open cannot be removed there anyway."""
else:
    import fcntl

    def _lock_for_process(descriptor: int) -> None:
        # lockf locks for this process; flock locks the open file, which forked workers share,
        # and would hold for a moment after this process has died.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_file(descriptor: int, *, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


_HINTS = {
    errno.ENOSPC: "free some room, or write to another disk",
    errno.EDQUOT: "free some of your quota, or write to another disk",
    errno.EROFS: "choose a place that is not read-only",
    errno.EACCES: "choose a place you may write to",
    errno.EPERM: "choose a place you may write to",
}
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_MAX_WHOLE = 1 << 28
# Flags that Windows does not have.
_NO_FOLLOW, _FOLDER = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_DIRECTORY", 0)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an OSError raised while `path` is written into a StoreError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0)
        raise StoreError(f"{path}: cannot be written: {reason}", hint) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Write a file that replaces `path` when the block has ended and the data is on the disk.

    Pipes, devices and streams that are already open (/dev/stdout) are appended to directly. Raises
    StoreError for a full disk, a missing permission and the like; `path` is then as before.
    """
    target = Path(os.path.realpath(path))
    with storing(path):
        if path.exists() and (_is_open_already(path) or not path.is_file()):
            with path.open("ab") as stream:  # by this name, as /dev/stdout may have no other
                yield stream
            return
        sweep(target)
        temporary, descriptor = _locked_temporary(target, folder=False)
        try:
            # Opened by name, so that a library that wants one can write to `out.name`.
            with open(temporary, "wb", 1 << 20, opener=lambda *_: descriptor) as out:
                if target.exists():
                    temporary.chmod(stat.S_IMODE(target.stat().st_mode))
                yield out
                out.flush()
                os.fsync(descriptor)
                if sys.platform != "win32":  # where the lock has to last until then
                    temporary.replace(target)
            if sys.platform == "win32":  # where an open file cannot be renamed
                temporary.replace(target)
        except BaseException:
            with suppress(OSError):  # the next `sweep` removes it
                temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)


def _is_open_already(path: Path) -> bool:
    """Return whether `path` names a stream of this process, which may be redirected to a file."""
    folder = os.path.realpath(path.parent)
    return folder in ("/dev", "/dev/fd") or bool(re.fullmatch(r"/proc/\d+/fd", folder))


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and force their names to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)


@contextmanager
def new_folder(target: Path, *, keep_previous: bool = True, durable: bool = True) -> Iterator[Path]:
    """Fill a temporary folder beside `target` that replaces it when the block has ended.

    What was at `target` is kept as `previous(target)`, or removed. Without `durable` the files are
    not forced to the disk. Raises StoreError; `target` is then as before.
    """
    target = Path(os.path.realpath(target))
    with storing(target):
        make_folder(target.parent)
        folder, descriptor = _locked_temporary(target, folder=True)
        try:
            yield folder
            if durable:
                for entry in folder.iterdir():
                    _sync(entry)
                _sync(folder)
            replace_folder(folder, target, keep_previous=keep_previous)
            if durable:
                _sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside `target` and remove it after the block; raises StoreError.

    If this process dies meanwhile, the next `sweep` of `target` removes it.
    """
    target = Path(os.path.realpath(target))
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder, descriptor = _locked_temporary(target, folder=True)
    _working_folder_locks.add(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _working_folder_locks.discard(descriptor)
        os.close(descriptor)


# Descriptors that hold the locks of working folders. Forked processes close them: otherwise the
# folder of a dead parent would count as in use for as long as the fork lives.
_working_folder_locks: set[int] = set()


def _close_working_folder_locks() -> None:
    while _working_folder_locks:
        os.close(_working_folder_locks.pop())


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_working_folder_locks)


def beside(target: Path, suffix: str) -> Path:
    """Return the path of `target`, links resolved, with `suffix` added to its name."""
    if target.is_symlink() or target.name in ("", ".."):
        target = Path(os.path.realpath(target))
    return target.parent / f"{target.name}{suffix}"


def previous(target: Path) -> Path:
    """Return where the previous generation of the folder `target` is kept."""
    return beside(target, ".previous")


def replace_folder(new: Path, target: Path, *, keep_previous: bool = True) -> None:
    """Rename folder `new` to `target`; what was at `target` becomes `previous(target)`.

    It is one call where the system can exchange two names. Elsewhere it is two renames, and
    `current_path` and `sweep` handle the gap between them. The old folder never has a name that
    `sweep` would remove. Afterwards `new` does not exist, or holds what the caller may remove.
    """
    kept = previous(target)
    if not os.path.lexists(target) or not any(target.iterdir()):
        if sys.platform == "win32" and target.is_dir():  # where nothing may have the new name
            target.rmdir()
        new.rename(target)
    elif not (_replace_keeping(new, target, kept) if keep_previous else _exchange(new, target)):
        aside = _aside(target)
        target.rename(aside)
        new.rename(target)
        _clear_aside(aside, kept if keep_previous else None)


def _replace_keeping(new: Path, target: Path, kept: Path) -> bool:
    """Move `new` to `kept`, then exchange it with `target`, which leaves the old folder at `kept`.

    Returns False where the system cannot exchange names. All is as before then, and after an error.
    """
    made = not os.path.lexists(kept)
    if made:
        kept.mkdir()
    done = moved = False
    try:
        moved = _exchange(new, kept)
        done = moved and _exchange(kept, target)
    finally:
        if not done:
            if moved:
                _exchange(new, kept)
            if made:
                with suppress(OSError):
                    kept.rmdir()
    return done


def remove_folder(folder: Path) -> None:
    """Remove a folder, all at once for every reader: it is renamed first."""
    gone = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}.tmp")
    folder.rename(gone)
    shutil.rmtree(gone)


def current_path(target: Path) -> Path:
    """Return where the folder `target` can be read, also between the two renames of a replacement.

    See `replace_folder`.
    """
    return target if os.path.lexists(target) or not _aside(target).is_dir() else _aside(target)


def sweep(target: Path, *, keep_previous: bool = True) -> None:
    """Remove what dead processes left beside `target`, and finish a replacement they began."""
    if not target.parent.is_dir():
        return
    sweep_folder(target.parent, target.name)
    aside = _aside(target)
    if aside.is_dir() and not aside.is_symlink():
        if os.path.lexists(target):
            _clear_aside(aside, previous(target) if keep_previous else None)
        else:
            aside.rename(target)


def sweep_folder(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes left in a folder for the target `name`, or for any target."""
    target = ".+" if name is None else re.escape(name)
    pattern = re.compile(rf"\.{target}\.[0-9a-f]{{16}}\.tmp")
    if folder.is_dir():
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name) and not entry.is_symlink():
                _remove_if_dead(Path(entry.path))


class Lock:
    """Lock a folder against other writers until the block ends or this process dies.

    The lock belongs to this process alone; workers forked from it do not hold it. Entering sweeps
    what dead processes left. Raises StoreError where another process holds the lock.
    """

    _held: ClassVar[set[Path]] = set()

    def __init__(self, target: Path) -> None:
        self._target = Path(os.path.realpath(target))
        self._path = self._target.with_name(f".{self._target.name}.lock")
        self._owner = 0
        self._descriptor = -1

    def __enter__(self) -> Lock:
        if self._path in Lock._held:
            raise self._refusal(os.getpid())
        with storing(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            while not self._take():
                pass
        self._owner = os.getpid()
        Lock._held.add(self._path)
        try:
            with storing(self._target):
                sweep(self._target)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:
            with suppress(OSError):  # the next owner takes the file over, and removes it
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            Lock._held.discard(self._path)

    def _take(self) -> bool:
        """Lock the file; return False where its last owner removed it meanwhile."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
        try:
            _lock_for_process(descriptor)
        except OSError as error:
            holder = b"" if sys.platform == "win32" else os.read(descriptor, 20)
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise self._refusal(int(holder) if holder.isdigit() else None) from None
        try:
            if not _same_file(descriptor, self._path):
                os.close(descriptor)
                return False
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        except OSError:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _refusal(self, holder: int | None) -> StoreError:
        who = f"process {holder}" if holder else "another process"
        return StoreError(
            f"{self._target}: {who} is writing here",
            "wait until it has ended, or choose another --out",
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_space(path: Path) -> int:
    """Return the bytes free on the disk that `path` lies on, or will lie on."""
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(path: Path, needed: int, what: str) -> None:
    """Raise StoreError unless the disk that `path` will lie on has `needed` bytes free."""
    free = free_space(path)
    if needed > free:
        raise StoreError(
            f"{path}: {what} needs {readable(needed)}, and {readable(free)} are free there",
            _HINTS[errno.ENOSPC],
        )


def readable(size: float) -> str:
    """Return a number of bytes in a unit that people read easily.

    >>> readable(1536)
    '1.5 KiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def read_whole(path: Path) -> bytes:
    """Read a file of up to 256 MiB into memory; raises OSError, also for a larger one."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_WHOLE + 1)
    except ValueError as error:  # a NUL byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if len(data) > _MAX_WHOLE:
        raise OSError(errno.EFBIG, f"larger than {readable(_MAX_WHOLE)}", str(path))
    return data


def read_text(path: Path, kind: type[EmbedError], what: str, content: str) -> str:
    """Read UTF-8 text as `read_whole`; raises `kind` with `what` or `content` as expected."""
    try:
        return read_whole(path).decode("utf-8-sig")
    except OSError as error:
        raise kind(f"{path}: {error.strerror}; expected {what}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path}: byte {error.start} is not UTF-8; expected {content}") from None


def regular_size(path: Path, inside: Path | None = None) -> int:
    """Return the bytes of a regular file; with `inside`, a link may not lead out of that folder.

    Raises ValueError for a folder, pipe, device or forbidden link, OSError where there is none.
    """
    if inside is not None and path.is_symlink():
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(inside)):
            raise ValueError("a link that leads out of the folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def _locked_temporary(target: Path, *, folder: bool) -> tuple[Path, int]:
    """Make and lock a temporary file or folder beside `target`; return its path and descriptor."""
    if sys.platform == "win32":
        path = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
        if folder:
            path.mkdir()
        place = os.devnull if folder else path
        return path, os.open(place, os.O_RDWR if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL)
    while True:
        path = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
        descriptor = -1
        try:
            if folder:
                path.mkdir()
                flags = os.O_RDONLY | _FOLDER
            else:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = os.open(path, flags, 0o666)
            _lock_file(descriptor, wait=True)
            # Another process may have swept it before it was locked.
            if _same_file(descriptor, path):
                return path, descriptor
        except OSError:
            with suppress(OSError):
                path.rmdir() if folder else path.unlink()
            if descriptor >= 0:
                os.close(descriptor)
            raise
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_if_dead(path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        _lock_file(descriptor, wait=False)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return  # its owner lives
    finally:
        os.close(descriptor)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _clear_aside(aside: Path, kept: Path | None) -> None:
    """Move a replaced folder to `kept`, whose content is removed; without `kept` remove it."""
    if kept is None or (os.path.lexists(kept) and _exchange(aside, kept)):
        shutil.rmtree(aside)
        return
    if os.path.lexists(kept):
        shutil.rmtree(kept)
    aside.rename(kept)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one call; return False where the system cannot."""
    if sys.platform == "win32":
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _sync(path: Path) -> None:
    if sys.platform == "win32":  # which cannot open a folder, nor sync a file opened to be read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
