"""Files that are whole or absent: atomic writes, folders exchanged in one call, locks, digests.

A temporary file or folder lies beside its target as `.NAME.<16 hex digits>.tmp` and is locked by
the process that fills it; one whose lock is free belonged to a dead process and is swept away.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import EmbedError, StoreError

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
_MAX_NPY_HEADER = 10_000
_MAX_WHOLE = 1 << 28


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the system says while writing `path` into one `StoreError`."""
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
    """Write a file that is either as before or whole, and on the disk once the block has ended.

    A pipe or device is written straight, and so is what is open already, as /dev/stdout is: to its
    end. Raises StoreError for a full disk, a missing permission and the like; nothing is left
    behind then.
    """
    target = Path(os.path.realpath(path))
    with storing(path):
        if path.exists() and (_is_open_already(path) or not path.is_file()):
            with path.open("ab") as stream:  # by its own name: /dev/stdout may have no other
                yield stream
            return
        sweep(target)
        temporary, descriptor = _locked_temporary(target, folder=False)
        try:
            # Opened by name, so that a library that wants one can write to `out.name`.
            with open(temporary, "wb", 1 << 20, opener=lambda *_: descriptor) as out:
                if target.exists():
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
                yield out
                out.flush()
                os.fsync(descriptor)
                temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)


def _is_open_already(path: Path) -> bool:
    """Whether a name is that of one of the process's streams, be it redirected to a file."""
    folder = os.path.realpath(path.parent)
    return folder in ("/dev", "/dev/fd") or bool(re.fullmatch(r"/proc/\d+/fd", folder))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, that are there after a power cut too."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside `target`, which takes its place when the block has ended.

    What was at `target` is kept as `previous(target)`. Raises StoreError; nothing is left behind
    then, and `target` is as before.
    """
    target = Path(os.path.realpath(target))
    with storing(target):
        make_folder(target.parent)
        folder, descriptor = _locked_temporary(target, folder=True)
        try:
            yield folder
            for entry in folder.iterdir():
                _sync(entry)
            _sync(folder)
            replace_folder(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside `target` for the time of the block; raises StoreError.

    If this process dies meanwhile, the next `sweep` of `target` removes it.
    """
    target = Path(os.path.realpath(target))
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder, descriptor = _locked_temporary(target, folder=True)
    _ours_alone.add(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _ours_alone.discard(descriptor)
        os.close(descriptor)


# Descriptors that hold the locks of working folders: a forked process lets go of them, or the
# folder of a dead parent would seem in use for as long as the fork lives.
_ours_alone: set[int] = set()


def _let_go() -> None:
    while _ours_alone:
        os.close(_ours_alone.pop())


os.register_at_fork(after_in_child=_let_go)


def beside(target: Path, suffix: str) -> Path:
    """Return the path with a suffix, beside what `target` is or links to."""
    if target.is_symlink() or target.name in ("", ".."):
        target = Path(os.path.realpath(target))
    return target.parent / f"{target.name}{suffix}"


def previous(target: Path) -> Path:
    """Where the folder that `target` replaced is kept."""
    return beside(target, ".previous")


def replace_folder(new: Path, target: Path) -> None:
    """Put folder `new` in the place of `target`, and `target` in the place of `previous(target)`.

    One call where the system can exchange two names; else two renames, whose gap `settled` and
    `sweep` close. What `target` was is at no moment under a name that is swept. Afterwards `new`
    is gone, or holds what `previous(target)` was.
    """
    kept = previous(target)
    if not os.path.lexists(target) or not any(target.iterdir()):
        new.rename(target)
    elif not _replace_in_one_call(new, target, kept):
        aside = _aside(target)
        target.rename(aside)
        new.rename(target)
        _keep(aside, kept)
    _sync(target.parent)


def _replace_in_one_call(new: Path, target: Path, kept: Path) -> bool:
    """Have `new` wait in the place of `kept`, and exchange it with `target` there.

    False where the system cannot exchange names; all is as before then, and if it fails.
    """
    made = not os.path.lexists(kept)
    if made:
        kept.mkdir()
    if not _exchange(new, kept):
        if made:
            kept.rmdir()
        return False
    done = False
    try:
        done = _exchange(kept, target)
    finally:
        if not done:
            _exchange(new, kept)
    return done


def settled(target: Path) -> Path:
    """Where the folder `target` can be read, also in the gap of a replacement by two renames."""
    return target if os.path.lexists(target) or not _aside(target).is_dir() else _aside(target)


def sweep(target: Path) -> None:
    """Remove what dead processes left beside `target`, and close the gap one of them left."""
    if not target.parent.is_dir():
        return
    sweep_folder(target.parent, target.name)
    aside = _aside(target)
    if aside.is_dir() and not aside.is_symlink():
        if os.path.lexists(target):
            _keep(aside, previous(target))
        else:
            aside.rename(target)


def sweep_folder(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes left in a folder: of the target `name`, or of any."""
    target = ".+" if name is None else re.escape(name)
    pattern = re.compile(rf"\.{target}\.[0-9a-f]{{16}}\.tmp")
    if folder.is_dir():
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name) and not entry.is_symlink():
                _remove_if_dead(Path(entry.path))


class Lock:
    """Keep a second writer away from a folder, for as long as this process lives.

    The lock belongs to the process alone: workers forked from it do not prolong it. Entering it
    sweeps what dead processes left. Raises StoreError where another process holds it.
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
        with storing(self._target):
            sweep(self._target)
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            Lock._held.discard(self._path)

    def _take(self) -> bool:
        """Lock the file; False where its last owner removed it meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o666)
        try:
            # A lock of the process (lockf), not of the open file (flock): a worker forked
            # meanwhile shares the latter and would keep it for a moment after our death.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0)
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise self._refusal(int(holder) if holder.isdigit() else None) from None
        if not _same_file(descriptor, self._path):
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor
        return True

    def _refusal(self, holder: int | None) -> StoreError:
        who = f"process {holder}" if holder else "another process"
        return StoreError(
            f"{self._target}: {who} is writing here",
            "wait until it has ended, or choose another --out",
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_space(path: Path) -> int:
    """Bytes free on the disk that `path` lies on, or will lie on."""
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    system = os.statvfs(place)
    return system.f_bavail * system.f_frsize


def require_space(path: Path, needed: int, what: str) -> None:
    """Raise StoreError unless the disk that `path` will lie on has `needed` bytes free."""
    free = free_space(path)
    if needed > free:
        raise StoreError(
            f"{path}: {what} needs {readable(needed)}, and {readable(free)} are free there",
            _HINTS[errno.ENOSPC],
        )


def readable(size: float) -> str:
    """Say a number of bytes for people.

    >>> readable(1536)
    '1.5 KiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def read_whole(path: Path) -> bytes:
    """Read a file of lines that is kept in memory; raises OSError, also for one without an end."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_WHOLE + 1)
    except ValueError as error:  # a NUL byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if len(data) > _MAX_WHOLE:
        raise OSError(errno.EFBIG, f"larger than {readable(_MAX_WHOLE)}", str(path))
    return data


def read_text(path: Path, kind: type[EmbedError], what: str, content: str) -> str:
    """Read UTF-8 text as `read_whole`; raises `kind`, saying what file or content it expected."""
    try:
        return read_whole(path).decode("utf-8-sig")
    except OSError as error:
        raise kind(f"{path}: {error.strerror}; expected {what}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path}: byte {error.start} is not UTF-8; expected {content}") from None


def regular_size(path: Path, inside: Path | None = None) -> int:
    """Size of a regular file in bytes; with `inside`, a link may not lead out of that folder.

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


def map_npy(path: Path) -> NDArray[Any]:
    """Memory-map an array of plain numbers from a `.npy` file, read-only.

    Raises ValueError for anything but a whole file, in time and memory that its header cannot
    choose; OSError where there is none.
    """
    size = regular_size(path)
    with path.open("rb") as file:
        return _map_array(path, file, 0, size)


def map_npz(path: Path, *, check: bool = False) -> dict[str, NDArray[Any]]:
    """Memory-map the arrays of an uncompressed `.npz` file, read-only; raises as `map_npy`.

    With `check`, every array is read and compared with its CRC-32.
    """
    import struct
    import zipfile

    regular_size(path)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                    raise ValueError(f"member {member.filename!r} is compressed or encrypted")
                start = _member_start(file, member.header_offset, member.orig_filename)
                if check and _crc32(file, start, member.file_size) != member.CRC:
                    raise ValueError(f"the checksum of {member.filename} is another")
                name = member.filename.removesuffix(".npy")
                arrays[name] = _map_array(path, file, start, start + member.file_size)
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
        raise ValueError(str(error)) from error
    return arrays


def write_npz(out: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as an uncompressed `.npz`, the same bytes for the same arrays."""
    import zipfile

    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def let_go(array: NDArray[Any]) -> None:
    """Give back the memory of the pages that were read of a memory-mapped file.

    They stay in the system's cache, but no longer count as this process's.
    """
    memory: Any = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if isinstance(memory, mmap.mmap) and hasattr(memory, "madvise"):
        memory.madvise(mmap.MADV_DONTNEED)


def _map_array(path: Path, file: BinaryIO, start: int, end: int) -> NDArray[Any]:
    """Map the array whose `.npy` header begins at byte `start` and whose data ends at `end`."""
    file.seek(start)
    shape, fortran, dtype = _npy_header(file)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}; expected plain numbers")
    needed = dtype.itemsize
    for length in shape:
        needed *= length
    found = end - file.tell()
    if needed != found or min(shape, default=0) < 0 or max(shape, default=0) >= 1 << 60:
        raise ValueError(f"an array of {shape} {dtype}, {needed} bytes, in {found} bytes")
    order: Any = "F" if fortran else "C"
    if needed == 0:
        return np.zeros(shape, dtype, order)
    return np.memmap(path, dtype, "r", file.tell(), shape, order).view(np.ndarray)


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, Fortran order and dtype; raises ValueError."""
    import warnings

    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers by Python 2
        try:
            read = readers[np.lib.format.read_magic(file)]
            shape, fortran, dtype = read(file, max_header_size=_MAX_NPY_HEADER)
            return tuple(map(int, shape)), fortran, dtype
        except Exception as error:  # the header is parsed as Python, which raises all sorts
            raise ValueError("a header that is not of a .npy file") from error


def _member_start(file: BinaryIO, header: int, name: str) -> int:
    """Where the data of an archive's member `name` begins, whose local header is at `header`."""
    file.seek(header)
    local = file.read(30)
    lengths = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
    found = file.read(lengths[0]).decode("utf-8", "replace")
    if len(local) < 30 or local[:4] != b"PK\x03\x04" or found != name:
        raise ValueError(f"an archive without the header of {name!r}")
    return header + 30 + sum(lengths)


def _crc32(file: BinaryIO, start: int, size: int) -> int:
    import zlib

    file.seek(start)
    found = 0
    while size and (data := file.read(min(size, 1 << 20))):
        found = zlib.crc32(data, found)
        size -= len(data)
    return found


def _locked_temporary(target: Path, *, folder: bool) -> tuple[Path, int]:
    """Make a temporary file or folder beside `target` and lock it; its path and descriptor."""
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        if folder:
            path.mkdir()
            flags = os.O_RDONLY | os.O_DIRECTORY
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another process may have swept it between its making and its locking.
        if _same_file(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_if_dead(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _keep(folder: Path, kept: Path) -> None:
    """Move `folder` to `kept`; what was there is removed."""
    if os.path.lexists(kept) and not _exchange(folder, kept):
        shutil.rmtree(kept)
    if not os.path.lexists(kept):
        folder.rename(kept)
    else:
        shutil.rmtree(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one call; False where the system cannot."""
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
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
