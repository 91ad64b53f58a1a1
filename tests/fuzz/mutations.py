"""Ways to spoil bytes, JSON values and arrays."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

WHOLE = (0, 1, 2, 127, 128, 255, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62)
EDGES = (*WHOLE, 2**63 - 1, 2**63, 2**64 - 1, 10**19, 10**400)
# What means something to one of the readers, or to a terminal, a page or a spreadsheet.
PIECES = [
    b"\x00", b"\r", b"\n", b"\r\n", b"\n\n\n", b"\t", b"\t\t", b" ", b"  ", b'"', b'""', b"'", b",",
    b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xc3", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xe2\x81\xa6", b"\xe2\x80\x8d", b"\xe2\x80\x8c",
    b"\xc2\x85", b"\xc2\xa0", b"\xef\xbf\xbf", b"\x1b[31m", b"\x1b]0;x\x07", b"\x9b31m", b"\x7f",
    b"\x0c", b"\x1a", b"<script>", b"&amp;", b"[red]", b"=1+1", b"@x", b"+1", b"-", b"__label__",
    b"__label__1.5", b"nan", b"inf", b"-inf", b"NaN", b"1e999", b"-0", b"1e-999", b"0x10", b"1_0",
    b".", b"e", b"\xd9\xa1", b": ", b"- ", b"# ", b"&a ", b"*a", b"!!python/object:os.system ",
    b"!!binary ", b"{", b"}", b"[", b"]", b"[[[[[[[[", b"? ", b"|\n", b">\n", b"%YAML 9.9\n---\n",
    b"---\n", b"...\n", b"null", b"true", b"auto", b"none", b"\\u0000", b"\\ud800", b"../", b"/",
    b"a" * 300, "नमस्ते".encode(), "東京".encode(), "e\u0301".encode() * 3, b"PK\x03\x04", b"NUMPY",
]  # fmt: skip
NUMBER = re.compile(rb"\d+")


def spoil(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Change bytes in a few places."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 1, 2, 2, 3, 9))):
        random.choice(WAYS)(random, changed)
    if others and random.random() < 0.1:
        other = random.choice(others)
        cut = random.randrange(len(other) + 1)
        changed[_place(random, changed) :] = other[cut:]
    return bytes(changed)


def _place(random: Random, data: bytearray) -> int:
    return (
        random.randrange(min(len(data), 4096) + 1)
        if random.random() < 0.5
        else (random.randrange(len(data) + 1))
    )


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[_place(random, data) - 1] ^= 1 << random.randrange(8)


def _byte(random: Random, data: bytearray) -> None:
    if data:
        data[_place(random, data) - 1] = random.randrange(256)


def _cut(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    del data[start : start + random.choice((1, 1, 2, 4, 8, 30, 1000))]


def _end(random: Random, data: bytearray) -> None:
    del data[_place(random, data) :]


def _double(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    piece = data[start : start + random.choice((1, 4, 20, 300))]
    data[start:start] = piece * random.choice((1, 1, 2, 50))


def _piece(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    piece = random.choice(PIECES)
    data[start : start + random.choice((0, 0, 1, len(piece)))] = piece


def _junk(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    data[start:start] = random.randbytes(random.choice((1, 2, 4, 16)))


def _binary_number(random: Random, data: bytearray) -> None:
    size, letter = random.choice(((2, "H"), (4, "I"), (8, "Q")))
    start = _place(random, data)
    order = random.choice("<>")
    data[start : start + size] = struct.pack(
        order + letter, random.choice(EDGES) % (1 << (8 * size))
    )


def _written_number(random: Random, data: bytearray) -> None:
    found = list(NUMBER.finditer(data[:4096]))
    if found:
        chosen = random.choice(found)
        data[chosen.start() : chosen.end()] = str(random.choice(EDGES)).encode()


def _lines(random: Random, data: bytearray) -> None:
    lines = bytes(data).split(b"\n")
    one, other = (random.randrange(len(lines)) for _ in range(2))
    lines[one], lines[other] = lines[other], random.choice((lines[one], lines[one], b""))
    data[:] = b"\n".join(lines)


WAYS: list[Callable[[Random, bytearray], None]] = [
    _flip, _byte, _cut, _end, _double, _piece, _piece, _piece, _junk, _binary_number,
    _written_number, _written_number, _lines,
]  # fmt: skip


def odd_value(random: Random) -> Any:
    """Return a JSON value where another was expected."""
    return random.choice(
        (
            None, True, False, -1, 0.5, 1e308, float("nan"), float("inf"), "", "x", "1", [], {},
            [1], {"a": 1}, "\x1b[31m", "\u202e", "\ud800", [[[]]], "../x", random.choice(EDGES),
            -random.choice(EDGES),
        )
    )  # fmt: skip


def spoil_json(random: Random, value: Any) -> Any:
    """Change a JSON value in one place."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return odd_value(random)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = random.choice(keys)
    changed = value.copy()
    how = random.random()
    if how < 0.1:
        del changed[key]
    elif how < 0.15 and isinstance(changed, dict):
        changed[random.choice(("x", "", "../x", "shape", "a" * 99))] = changed.pop(key)
    else:
        changed[key] = spoil_json(random, changed[key])
    return changed


def spoil_json_lines(random: Random, data: bytes) -> bytes:
    """Change one line of JSON in one place."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    try:
        value = json.loads(lines[place])
    except ValueError:
        value = {}
    lines[place] = as_json(spoil_json(random, value))
    return b"\n".join(lines)


def as_json(value: Any) -> bytes:
    """Write JSON; a number of 400 digits too."""
    return json.dumps(value).encode()


def spoil_npy(random: Random, data: bytes) -> bytes:
    """Change an array: its numbers, its shape, its type, or what its header says."""
    array = np.load(io.BytesIO(data))
    how = random.randrange(6)
    if how == 0 and array.size:
        array = array.copy()
        with np.errstate(all="ignore"):
            odd = random.choice((-1, 0, np.nan, np.inf, -np.inf, 1e38, 2**62, -(2**63)))
            spread = random.choice((slice(None), random.randrange(array.size)))
            array.reshape(-1)[spread] = np.float64(odd).astype(array.dtype)
    elif how == 1:
        array = array.reshape(random.choice(((-1,), (1, -1), (-1, 1), array.shape[::-1])))
    elif how == 2:
        kinds = ("<f2", "<f8", ">f4", "<i4", "<i8", "<u1", "?", "<c8", "S3", "<U2", "<M8[s]")
        with np.errstate(all="ignore"):
            array = np.resize(array, array.shape).astype("f8").view("V8").astype("V8")
            array = np.zeros(array.shape, random.choice(kinds))
    elif how == 3:
        array = array[: random.choice((0, 1, -1))]
    elif how == 4:
        array = np.asfortranarray(array)
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue() if how < 5 else lying_npy(random, out.getvalue())


def lying_npy(random: Random, data: bytes) -> bytes:
    """Put another header before an array's bytes."""
    length = int.from_bytes(data[8:10], "little")
    shape = tuple(random.choice((*EDGES[:-1], -1, -(2**63), 3)) for _ in range(random.randrange(4)))
    kind = random.choice(("<f4", "<f8", "|O", "<i8", ">f4", "V0", "<U0", "S0", "<f16", "", "x"))
    said = f"{{'descr': {kind!r}, 'fortran_order': {random.choice((True, False, 1))}, "
    said += f"'shape': {shape}}}" if random.random() < 0.9 else f"'shape': {shape * 500}}}"
    header = said.encode()
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\xff\x00"))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header) % 65536)
    return b"\x93NUMPY" + version + size + header + data[10 + length :]
