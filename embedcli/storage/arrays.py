"""Arrays in `.npy` files, written in chunks and memory-mapped; and sums of rows by their ids."""

from __future__ import annotations

import mmap
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embedcli.storage import files

_CHUNK = 1 << 20
_MAX_HEADER = 10_000
_FEW_TEXTS = 8  # so many longest texts are summed one by one
_ROWS_AT_ONCE = 1 << 15  # of a long text
_FEW_NUMBERS = 16  # of a row, so that sums of slices are fast
_FEW_ROWS = 1 << 17  # so that all may be copied
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class RowSource(Protocol):
    """Rows (V, D) that are read by their ids: an array, or what decodes or composes them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows and that of the numbers of each, (V, D)."""

    def __len__(self) -> int:
        """Return V."""

    def __getitem__(self, ids: Any, /) -> NDArray[Any]:
        """Return the rows of an array or a slice of ids, (N, D)."""


def sum_rows(rows: RowSource, ids: NDArray[Any], offsets: NDArray[Any]) -> NDArray[np.float32]:
    """Sum the rows of each text's ids, (B, D), without a tape.

    The first rows of all texts are added at once, then the second of all that have so many, and so
    on: each row costs a gather and an addition, where `np.add.reduceat` over the first axis costs
    ten times that. Of rows of a few numbers it costs a tenth.

    >>> sum_rows(np.float32([[1], [2], [4]]), np.array([0, 2, 1]), np.array([0, 2, 2, 3])).tolist()
    [[5.0], [0.0], [2.0]]
    """
    lengths = np.diff(offsets)  # (B,)
    if rows.shape[1] <= _FEW_NUMBERS and offsets[-1] <= _FEW_ROWS:
        sums = np.zeros((len(lengths), rows.shape[1]), np.float32)  # (B, D)
        filled = np.flatnonzero(lengths)
        if len(filled):
            taken = rows[ids[: offsets[-1]]]  # (N, D)
            sums[filled] = np.add.reduceat(taken, offsets[filled], axis=0)
        return sums
    # 1. Order the texts by their lengths, the longest first.
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = offsets[:-1][order], lengths[order]
    sums = np.zeros((len(order), rows.shape[1]), np.float32)  # (B, D)
    # 2. Add the i-th row of every text that is longer than i.
    longer = np.searchsorted(-lengths, -np.arange(lengths.max(initial=0)))  # (L,) texts
    many = int(np.count_nonzero(longer >= _FEW_TEXTS))
    for place, texts in enumerate(longer[:many].tolist()):
        sums[:texts] += rows[ids[starts[:texts] + place]]
    # 3. Add the rest of the longest texts.
    for text in range(longer[many] if many < len(longer) else 0):
        end = starts[text] + lengths[text]
        for start in range(starts[text] + many, end, _ROWS_AT_ONCE):
            sums[text] += rows[ids[start : min(start + _ROWS_AT_ONCE, end)]].sum(axis=0)
    ordered = np.empty_like(sums)
    ordered[order] = sums
    return ordered


def npy_header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    """Return the header of a `.npy` file whose data follows in C order."""
    from io import BytesIO

    out = BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def npy_chunks(array: NDArray[Any]) -> Iterator[bytes | memoryview]:
    """Return an array as the bytes of a `.npy` file, in chunks of up to 1 MiB.

    `np.save` hands the data of a file to C's stdio, which ignores an error of its last flush: on
    a full disk the end of the array was missing, and nothing said so.
    """
    array = np.asarray(array, order="C")
    yield npy_header(array.shape, array.dtype)
    data = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]


def map_npy(path: Path) -> NDArray[Any]:
    """Memory-map an array of plain numbers from a `.npy` file, read-only.

    Raises ValueError for anything but a whole file, in time and memory that do not depend on what
    the header claims; OSError where there is no file.
    """
    size = files.regular_size(path)
    with path.open("rb") as file:
        return _map_array(path, file, 0, size)


def npz_chunks(
    arrays: Mapping[str, tuple[tuple[int, ...], DTypeLike, Iterable[NDArray[Any]]]],
) -> Iterator[bytes]:
    """Return arrays as the bytes of an uncompressed `.npz` file, in chunks.

    Each is given by its shape, its dtype and the parts, in C order, that it is made of.
    """
    import zipfile

    class Sink:
        """Collects what the archive writes."""

        def __init__(self) -> None:
            self.chunks: list[bytes] = []

        def write(self, data: bytes) -> int:
            self.chunks.append(bytes(data))
            return len(data)

        def flush(self) -> None:
            pass

        def taken(self) -> Iterator[bytes]:
            chunks, self.chunks = self.chunks, []
            yield from chunks

    sink = Sink()
    with zipfile.ZipFile(cast(BinaryIO, sink), "w") as archive:
        for name, (shape, dtype, parts) in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                member.write(npy_header(shape, dtype))
                for part in parts:
                    data = np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data
                    for start in range(0, len(data), _CHUNK):
                        member.write(data[start : start + _CHUNK])
                        yield from sink.taken()
    yield from sink.taken()


def map_npz(path: Path, only: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Memory-map the arrays of an uncompressed `.npz` file, or some `only`, read-only.

    Model folders of format 1, and counts, hold such files. Raises as `map_npy`, and KeyError for
    a name that is not there.
    """
    import struct
    import zipfile  # slow to import, and not needed for other models

    files.regular_size(path)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = [archive.getinfo(f"{name}.npy") for name in only] or archive.infolist()
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                    raise ValueError(f"member {member.filename!r} is compressed or encrypted")
                # The data follows the member's local header, which repeats the name.
                file.seek(max(member.header_offset, 0))  # a damaged archive gives negative ones
                local = file.read(30)
                sizes = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:], "little")
                name = file.read(sizes[0]).decode("utf-8", "replace")
                found = local[:4] == b"PK\x03\x04" and name == member.orig_filename
                if member.header_offset < 0 or len(local) < 30 or not found:
                    raise ValueError(f"no local header of {member.orig_filename!r}")
                start = member.header_offset + 30 + sum(sizes)
                array = _map_array(path, file, start, start + member.file_size)
                arrays[member.filename.removesuffix(".npy")] = array
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
        raise ValueError(str(error)) from error
    return arrays


def require_array(array: NDArray[Any], shape: tuple[int, ...] | None, dtype: str) -> None:
    """Raise ValueError for an array of another dtype, or another shape where one is given."""
    if array.dtype != np.dtype(dtype) or shape not in (None, array.shape):
        expected = np.dtype(dtype) if shape is None else f"{shape} {np.dtype(dtype)}"
        raise ValueError(f"found {array.shape} {array.dtype}; expected {expected}")


def drop_pages(array: RowSource) -> None:
    """Release the pages of a memory-mapped file that were read.

    They stay in the system's cache, but no longer count as memory of this process.
    """
    memory: Any = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if sys.platform != "win32" and isinstance(memory, mmap.mmap) and hasattr(memory, "madvise"):
        memory.madvise(mmap.MADV_DONTNEED)


def _map_array(path: Path, file: BinaryIO, start: int, end: int) -> NDArray[Any]:
    """Map the array whose `.npy` header begins at byte `start` and whose data ends at `end`."""
    file.seek(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers written by Python 2
        try:
            read = _HEADER_READERS[np.lib.format.read_magic(file)]
            shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
            shape = tuple(map(int, shape))
        except Exception as error:  # the header is parsed as Python, which raises all sorts
            raise ValueError("not the header of a .npy file") from error
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
