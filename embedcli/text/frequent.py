"""Frequent pieces of text looked up by the thousand, as numbers in a table.

A dictionary wants a Python object for each word of a text. Most words of a text are among a few ten
thousand, and short: here they are compared as 8-byte numbers, many at once, against a table with
one slot for each hash. What is not found, because it is rare, long, or its slot is taken, is left
to a dictionary. The pieces themselves are compared, so that no two are ever taken for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Code of a piece that is not in the table.
MISSING = -3
_SLOTS_BITS = 18
_NUMBER = 8  # bytes
# Odd numbers whose bits are well mixed: the fractions of the golden ratio and of square roots.
_MIXERS = np.array(
    [0x9E3779B97F4A7C15, 0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B], np.uint64
)
# The bytes of a number that belong to a piece, by how many of them do.
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(_NUMBER + 1)], np.uint64)  # (9,)
_BLANK = ord(" ")


class FrequentPieces:
    """Codes (int32) of pieces of at most `longest` bytes."""

    def __init__(self, numbers: int) -> None:
        """Compare pieces as so many numbers of 8 bytes, 1 to 4; the last byte is the length."""
        self.longest = numbers * _NUMBER - 1
        self._keys = np.zeros((numbers, 1 << _SLOTS_BITS), np.uint64)  # (numbers, slots)
        self._codes = np.zeros(1 << _SLOTS_BITS, np.int32)  # (slots,)

    def find(self, text: bytes) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Return the codes of the pieces between the blanks of `text`, or `MISSING`: (pieces,).

        With them come the places where the missing pieces begin and end.
        """
        padded = np.frombuffer(b" " + text + b" " * (self.longest + 1), np.uint8)
        blank = padded == _BLANK
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # (2 · pieces,)
        starts, ends = edges[0::2], edges[1::2]
        keys, slots = self._keys_of(padded, starts, ends - starts)
        found = self._codes[slots]  # (pieces,)
        same = keys[0] == self._keys[0][slots]
        for key, known in zip(keys[1:], self._keys[1:], strict=True):
            same &= key == known[slots]
        found[~same] = MISSING
        missing = np.flatnonzero(~same)
        return found, starts[missing] - 1, ends[missing] - 1

    def add(self, pieces: Sequence[bytes], codes: NDArray[np.int32]) -> None:
        """Put pieces, none longer than `longest`, into the slots that are free."""
        padded = np.frombuffer(b"".join([*pieces, bytes(self.longest + 1)]), np.uint8)
        sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))  # (pieces,)
        keys, slots = self._keys_of(padded, np.cumsum(sizes) - sizes, sizes)
        # Of several pieces for one slot the last written stays; the first come are more frequent.
        free = np.flatnonzero(self._keys[-1][slots] == 0)[::-1]
        for key, known in zip(keys, self._keys, strict=True):
            known[slots[free]] = key[free]
        self._codes[slots[free]] = codes[free]

    def _keys_of(
        self, padded: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[list[NDArray[np.uint64]], NDArray[np.uint64]]:
        """Return pieces as numbers, with their length, and the slots these go to.

        A piece longer than `longest` gets a length that no slot has.
        """
        every = np.ndarray(
            len(padded) - _NUMBER + 1, np.dtype("<u8"), buffer=padded.data, strides=(1,)
        )
        keys = []
        hashes = np.zeros(len(starts), np.uint64)  # (pieces,)
        for number, mixer in zip(range(len(self._keys)), _MIXERS, strict=False):
            inside = np.clip(sizes - number * _NUMBER, 0, _NUMBER)  # (pieces,)
            key = every[starts + number * _NUMBER]
            key &= _MASKS[inside]
            if number == len(self._keys) - 1:
                key &= _MASKS[_NUMBER - 1]
                key |= np.minimum(sizes, 255).astype(np.uint64) << np.uint64(56)
            keys.append(key)
            hashes ^= key * mixer
        hashes *= _MIXERS[0]
        hashes >>= np.uint64(64 - _SLOTS_BITS)
        return keys, hashes
