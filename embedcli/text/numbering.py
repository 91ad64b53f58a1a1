"""Byte strings to numbers, thousands at once.

A dictionary needs a Python object for each word of a text. Here strings are looked up as 8-byte
integers, many at once, in a hash table with open addressing (quadratic probing). The strings
themselves are compared, so that no two are taken for one. The few that are too long for that are
kept in a dictionary.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# The number of a string that was not numbered.
MISSING = -1
# Bytes after the last string of a text, so that the last can be read as integers too.
PADDING = 32
_NEWLINE = ord("\n")
_INTEGER = 8  # bytes
_FIRST_BITS = 14
# Strings looked up at once: few enough for their arrays to stay in the processor's cache.
_LOOKED_UP_AT_ONCE = 1 << 13
# Strings added at once: few enough not to enlarge the table for many that are equal.
_ADDED_AT_ONCE = 1 << 16
# Slots per string, at least: chains of taken slots stay short.
_SLOTS_A_STRING = 1.5
# Odd numbers, random in each process: nobody can write a text whose strings collide (Dietzfelbinger
# et al. 1997, "A reliable randomized algorithm for the closest-pair problem", on hashing by
# multiplication). The number of a string does not depend on them.
_MIXERS = np.frombuffer(os.urandom(4 * _INTEGER), np.uint64) | np.uint64(1)


class GrowingArray:
    """Numbers (n,) to which more are appended; memory is allocated ahead, so few are copied."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._buffer = np.empty(0, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """The numbers (n,): a view, valid until more are appended."""
        return self._buffer[: self._size]

    def extend(self, values: NDArray[Any]) -> None:
        """Append numbers (m,)."""
        size = self._size + len(values)
        if size > len(self._buffer):
            buffer = np.empty(size + size // 2, self._buffer.dtype)
            buffer[: self._size] = self.values
            self._buffer = buffer
        self._buffer[self._size : size] = values
        self._size = size


@dataclass(frozen=True)
class Strings:
    """Byte strings within a text; none is empty or contains a newline."""

    text: NDArray[np.uint8]  # (bytes,), `PADDING` of them after the last string
    starts: NDArray[np.int64]  # (n,)
    sizes: NDArray[np.int64]  # (n,)

    @classmethod
    def of_lines(cls, *lines: bytes) -> Strings:
        """Return the lines of some bytes, of which each ends with a newline."""
        text = np.frombuffer(b"".join([*lines, bytes(PADDING)]), np.uint8)
        ends = np.flatnonzero(text == _NEWLINE)  # (n,)
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1] + 1
        return cls(text, starts, ends - starts)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> Strings:
        return Strings(self.text, self.starts[places], self.sizes[places])

    def lines(self) -> bytes:
        """Return the strings as bytes, each ended by a newline."""
        ends = np.cumsum(self.sizes + 1)  # (n,)
        starts = ends - self.sizes - 1
        lines = np.arange(ends[-1] if len(ends) else 0)  # (bytes,) the place of each in the text
        lines += np.repeat(self.starts - starts, self.sizes + 1)
        bytes_ = self.text[lines]
        bytes_[ends - 1] = _NEWLINE
        return bytes_.tobytes()

    def listed(self) -> list[bytes]:
        """Return the strings as a list."""
        return self.lines().split(b"\n")[:-1]


class Numbering:
    """Numbers strings by first appearance."""

    def __init__(self, integers: int) -> None:
        """Compare strings as so many integers of 8 bytes: 1, 2 or 4."""
        self.longest = integers * _INTEGER
        self._integers = integers
        self._size = 0
        self._long: dict[bytes, int] = {}
        self._padding = _padding(self.longest)
        self._all_equal = np.ones(integers, bool).view(f"u{integers}")[0]
        self._clear(_FIRST_BITS)

    @classmethod
    def for_text(cls, sample: bytes) -> Numbering:
        """Return a numbering for the strings of such a text; they are longer beyond ASCII."""
        beyond = np.count_nonzero(np.frombuffer(sample, np.uint8) >= 128)
        return cls(4 if beyond > len(sample) // 4 else 2)

    def __len__(self) -> int:
        return self._size

    def _clear(self, bits: int) -> None:
        self._bits = bits
        self._keys = np.empty(1 << bits, f"V{self.longest}")  # (slots,) of those with numbers
        self._numbers = np.full(1 << bits, MISSING, np.int32)  # (slots,)

    def number(self, strings: Strings) -> NDArray[np.int32]:
        """Return the numbers of strings, after numbering the new ones: (n,)."""
        numbers = np.empty(len(strings), np.int32)  # (n,)
        for first in range(0, len(strings), _LOOKED_UP_AT_ONCE):
            some = slice(first, first + _LOOKED_UP_AT_ONCE)
            numbers[some] = self._in_first_slot(strings[some])
        missing = np.flatnonzero(numbers == MISSING)
        for first in range(0, len(missing), _ADDED_AT_ONCE):
            places = missing[first : first + _ADDED_AT_ONCE]
            numbers[places] = self._add(strings[places])
        return numbers

    def _in_first_slot(self, strings: Strings) -> NDArray[np.int32]:
        """Return the numbers of strings in their first slot, or `MISSING`: (n,).

        Most are there, above all those that were numbered first.
        """
        keys = self._keys_of(strings)
        slots = self._slots_of(keys)
        found = self._numbers.take(slots, mode="clip")  # (n,)
        same = self._have(slots, keys)
        same &= strings.sizes <= self.longest
        found[~same] = MISSING
        return found

    def lookup(self, strings: Strings) -> NDArray[np.int32]:
        """Return the numbers of strings, or `MISSING`: (n,)."""
        numbers = self._numbers[self._slots_with(self._keys_of(strings))]  # (n,)
        for place, name in self._long_in(strings):
            numbers[place] = self._long.get(name, MISSING)
        return numbers

    def _add(self, strings: Strings) -> NDArray[np.int32]:
        """Return the numbers of strings in any slot, after numbering the new ones: (n,)."""
        size = self._size
        self._enlarge(len(strings))
        places = np.arange(len(strings), dtype=np.int32)
        short = np.flatnonzero(strings.sizes <= self.longest)
        slots = self._slots_with(self._keys_of(strings[short]), places[short] + size)
        numbers = np.empty_like(places)  # (n,) of a new string: `size` and its first place
        numbers[short] = self._numbers[slots]
        long = self._long_in(strings)
        for place, name in long:
            numbers[place] = self._long.setdefault(name, size + place)
        new = numbers == places + size
        closed = np.cumsum(new, dtype=np.int32) + (size - 1)  # (n,)
        others = numbers >= size
        numbers[others] = closed[numbers[others] - size]
        self._numbers[slots] = numbers[short]
        self._long.update((name, int(numbers[place])) for place, name in long)
        self._size += int(np.count_nonzero(new))
        return numbers

    def _long_in(self, strings: Strings) -> list[tuple[int, bytes]]:
        """Return the strings that are too long for the table, and their places."""
        places = np.flatnonzero(strings.sizes > self.longest)
        return list(zip(places.tolist(), strings[places].listed(), strict=True))

    def _enlarge(self, more: int) -> None:
        """Enlarge the table if it has too few slots for so many more strings."""
        slots = int(_SLOTS_A_STRING * (self._size + more))
        if slots <= len(self._numbers):
            return
        taken = np.flatnonzero(self._numbers != MISSING)
        taken = taken[np.argsort(self._numbers[taken])]  # the first are found soonest
        keys, numbers = self._keys[taken], self._numbers[taken]
        self._clear((slots - 1).bit_length())
        self._slots_with(keys, numbers)

    def _slots_with(
        self, keys: NDArray[np.void], numbers: NDArray[np.int32] | None = None
    ) -> NDArray[np.int64]:
        """Return the slot of each key, or the free one where the search for it ends: (n,).

        With `numbers` (n,), a key without a slot takes a free one, with the first of its numbers.
        """
        slots = self._slots_of(keys)
        places = np.arange(len(keys))
        step = 0
        while len(places):
            tried, wanted = slots[places], keys[places]
            done = self._numbers[tried] == MISSING  # (places,)
            if numbers is not None:
                free = np.flatnonzero(done)[::-1]  # of several for one slot the last stays
                self._keys[tried[free]] = wanted[free]
                self._numbers[tried[free]] = numbers[places[free]]
                done[:] = False
            done |= self._have(tried, wanted)
            places = places[~done]
            step += 1
            slots[places] = (slots[places] + step) & (len(self._numbers) - 1)
        return slots

    def _have(self, slots: NDArray[np.int64], keys: NDArray[np.void]) -> NDArray[np.bool_]:
        """Return whether each slot has the key: (n,)."""
        held = self._keys.take(slots, mode="clip")  # (n,)
        equal = self._integers_of(held) == self._integers_of(keys)  # (n, integers)
        # Comparing a row's booleans as one integer is faster than a reduction along short rows.
        rows = equal.view(f"u{self._integers}").ravel()
        same: NDArray[np.bool_] = rows == self._all_equal
        return same

    def _keys_of(self, strings: Strings) -> NDArray[np.void]:
        """Return the first `longest` bytes of strings: (n,).

        A shorter string is padded with a byte that UTF-8 does not use.
        """
        everywhere = np.ndarray(
            len(strings.text) - self.longest + 1,
            self._keys.dtype,
            buffer=strings.text.data,
            strides=(1,),
        )
        keys = everywhere[strings.starts]
        integers = self._integers_of(keys)
        integers |= self._integers_of(self._padding.take(strings.sizes, mode="clip"))
        return keys

    def _integers_of(self, keys: NDArray[np.void]) -> NDArray[np.uint64]:
        return keys.view("<u8").reshape(-1, self._integers)  # (n, integers)

    def _slots_of(self, keys: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the first slot of each key, by its hash: (n,)."""
        integers = self._integers_of(keys)
        hashes = integers[:, 0] * _MIXERS[0]  # (n,)
        for column in range(1, self._integers):
            hashes ^= integers[:, column] * _MIXERS[column]
        hashes >>= np.uint64(64 - self._bits)
        slots: NDArray[np.int64] = hashes.view(np.int64)
        return slots


def first_places(numbers: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Return where each number from `size` on first is, if they rise by first appearance: (v,)."""
    new = np.flatnonzero(numbers >= size)
    highest = np.maximum.accumulate(numbers[new]) if len(new) else new
    return new[np.flatnonzero(np.diff(highest, prepend=size - 1))]


def _padding(longest: int) -> NDArray[np.void]:
    """Return the padding of a string, by its size: (longest + 1,)."""
    beyond = np.arange(longest) >= np.arange(longest + 1)[:, None]  # (longest + 1, longest)
    return (beyond * np.uint8(255)).view(f"V{longest}").ravel()
