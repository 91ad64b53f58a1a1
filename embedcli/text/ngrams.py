"""n-grams of characters and of words, hashed as fastText hashes them.

A hash is 32-bit FNV-1a over UTF-8 bytes, each taken as a signed number (fastText
`Dictionary::hash`). Everything is computed for many texts at once: hashes of n-grams that begin at
the same characters grow by one character at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FNV_START = np.uint32(2166136261)
_FNV_PRIME = np.uint32(16777619)
_WORD_FACTOR = np.uint64(116049371)  # fastText `Dictionary::addWordNgrams`


class Ngrams(NamedTuple):
    """n-grams of one length: whose they are, their hashes and their bytes in the joined texts."""

    owners: NDArray[np.int64]  # (G,) the text of each, ascending
    hashes: NDArray[np.uint32]  # (G,)
    starts: NDArray[np.int64]  # (G,) first byte
    ends: NDArray[np.int64]  # (G,) byte after the last


def hash_texts(texts: Sequence[bytes]) -> NDArray[np.uint32]:
    """Return the hash of each text, (N,).

    >>> hash_texts([b"", b"a"]).tolist()
    [2166136261, 3826002220]
    """
    signed = _signed(b"".join(texts))
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))  # (N,)
    ends = np.cumsum(sizes)
    hashes = np.full(len(texts), _FNV_START)  # (N,)
    _add_bytes(hashes, signed, ends - sizes, ends)
    return hashes


def character_ngrams(
    texts: Sequence[bytes], shortest: int, longest: int, begins: NDArray[np.bool_] | None = None
) -> Iterator[Ngrams]:
    """Yield the n-grams of `shortest` to `longest` characters of texts, one length at a time.

    The texts are words with the marks `<` and `>` around them, or empty. A character is a byte and
    the UTF-8 continuation bytes after it; a mark alone is no n-gram (fastText
    `Dictionary::computeSubwords`). Or `begins` says at which bytes of the joined texts a character
    begins, so that it may be a cluster of several code points.

    >>> marked = b"<ab>"
    >>> [marked[start:end] for each in character_ngrams([marked], 1, 3)
    ...  for start, end in zip(each.starts, each.ends)]
    [b'a', b'b', b'<a', b'ab', b'b>', b'<ab', b'ab>']
    """
    text = b"".join(texts)
    signed = _signed(text)
    if begins is None:
        begins = np.frombuffer(text, np.uint8) & 0xC0 != 0x80  # (bytes,)
    starts = np.append(np.flatnonzero(begins), len(text))  # (C + 1,)
    owner = np.repeat(np.arange(len(texts)), [len(each) for each in texts])[starts[:-1]]  # (C,)
    edge = np.diff(owner, prepend=-1, append=-1) != 0  # (C + 1,)
    mark = edge[:-1] | edge[1:]  # (C,)
    first = np.arange(len(owner))  # (G,) first character of each n-gram
    hashes = np.full(len(owner), _FNV_START)  # (G,)
    for length in range(1, longest + 1):
        inside = first + length - 1 < len(owner)
        first, hashes = first[inside], hashes[inside]
        inside = owner[first] == owner[first + length - 1]
        first, hashes = first[inside], hashes[inside]
        if not len(first):
            break
        last = first + length - 1
        _add_bytes(hashes, signed, starts[last], starts[last + 1])
        if length >= shortest:
            kept = ~mark[first] if length == 1 else slice(None)
            at = first[kept]
            yield Ngrams(owner[at], hashes[kept], starts[at], starts[at + length])


def word_ngrams(
    hashes: NDArray[np.uint32], offsets: NDArray[np.int64], longest: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Yield for each length from 2 the texts of word n-grams, (G,), and their hashes, (G,).

    `hashes` (N,) are those of the words; text b is `hashes[offsets[b]:offsets[b + 1]]`. A bucket is
    the hash modulo the number of buckets.

    >>> owners, found = next(word_ngrams(hash_texts([b"a", b"b"]), np.array([0, 2]), 2))
    >>> owners.tolist(), found.tolist()
    ([0], [18392320971200152201])
    """
    words = hashes.view(np.int32).astype(np.int64).view(np.uint64)  # (N,)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))  # (N,)
    grams, owners = words, owner
    for length in range(2, longest + 1):
        size = max(len(words) - length + 1, 0)
        inside = np.flatnonzero(owner[:size] == owner[length - 1 :])
        if not len(inside):
            return
        # A text that has an n-gram at a place has the shorter one there too.
        grams = grams[:size] * _WORD_FACTOR + words[length - 1 :]
        owners = owner[inside]
        yield owners, grams[inside]


def _signed(text: bytes) -> NDArray[np.uint32]:
    """Return bytes as fastText adds them to a hash: sign-extended to 32 bits."""
    return np.frombuffer(text, np.int8).astype(np.int32).view(np.uint32)


def _add_bytes(
    hashes: NDArray[np.uint32],
    signed: NDArray[np.uint32],
    places: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Add the bytes from `places` to `ends` to each hash (G,), one of each at a time, in place."""
    left = np.flatnonzero(places < ends)
    places = places[left]
    while len(left):
        hashes[left] = (hashes[left] ^ signed[places]) * _FNV_PRIME
        places += 1
        more = places < ends[left]
        left, places = left[more], places[more]
