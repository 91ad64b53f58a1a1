"""The words spelt most like a word: edit distances over a vocabulary, a block at a time."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Words whose exact distance is computed, at most, for each lower bound of it.
_MOST_CANDIDATES = 5000
# Longer spellings are compared by their beginning.
_LONGEST = 64
_WORDS_AT_ONCE = 1 << 14
_FARTHEST = np.iinfo(np.int16).max


def nearest_spellings(
    token: str,
    lines: bytes | mmap.mmap,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64] | None,
    limit: int,
) -> list[int]:
    """Return the ids of the `limit` words nearest to `token`, nearest first, then by count.

    `lines` is UTF-8, one word a line; `starts` (V + 1,) are the places where they begin. The
    distance is the optimal string alignment distance (Damerau, 1964): characters inserted, deleted,
    replaced, or two neighbours swapped. It is computed only for words with enough characters in
    common; a word with none is not returned.
    """
    if len(starts) < 2:
        return []
    query = np.frombuffer(token[:_LONGEST].encode("utf-32-le", "surrogatepass"), np.uint32)
    bound = np.empty(len(starts) - 1, np.int16)  # (V,)
    for first in range(0, len(bound), _WORDS_AT_ONCE):
        last = min(first + _WORDS_AT_ONCE, len(bound))
        block = _Spellings(lines[starts[first] : starts[last]])
        bound[first:last] = np.minimum(_least_distance(query, block), _FARTHEST)
    found: list[tuple[int, int, int]] = []
    for least in range(int(bound.max(initial=-1, where=bound < _FARTHEST)) + 1):
        candidates = np.flatnonzero(bound == least)
        if counts is not None and len(candidates) > _MOST_CANDIDATES:
            candidates = candidates[np.argsort(-counts[candidates], kind="stable")]
        candidates = candidates[:_MOST_CANDIDATES]
        spelt = b"".join(lines[starts[each] : starts[each + 1]] for each in candidates)
        distances = _distances(query, _Spellings(spelt))
        found += [
            (int(distance), 0 if counts is None else -int(counts[id_]), int(id_))
            for distance, id_ in zip(distances, candidates, strict=True)
        ]
        found = sorted(found)[:limit]
        if len(found) == limit and found[-1][0] <= least + 1:
            break
    return [id_ for _, _, id_ in found]


def likeness(token: str, words: Sequence[str]) -> NDArray[np.float64]:
    """Return how alike a word is spelt to n others: 1 - distance / characters of the longer, (n,).

    The distance is that of `nearest_spellings`.
    """
    query = np.frombuffer(token[:_LONGEST].encode("utf-32-le", "surrogatepass"), np.uint32)
    spelt = _Spellings("".join(f"{word}\n" for word in words).encode("utf-8", "replace"))
    longer = np.maximum(np.minimum(spelt.ends - spelt.begins, _LONGEST), len(query))  # (n,)
    alike: NDArray[np.float64] = 1 - _distances(query, spelt) / np.maximum(longer, 1)
    return alike


class _Spellings:
    """The characters of n words, and where each word begins and ends."""

    def __init__(self, lines: bytes) -> None:
        """Take UTF-8 lines that end with newlines; the characters are bytes if all are ASCII."""
        self.text: NDArray[Any] = np.frombuffer(lines, np.uint8)
        if not lines.isascii():
            characters = lines.decode("utf-8", "replace").encode("utf-32-le")
            self.text = np.frombuffer(characters, np.uint32)
        self.ends = np.flatnonzero(self.text == ord("\n"))  # (n,)
        self.begins = np.concatenate([[0], self.ends[:-1] + 1])  # (n,)


def _least_distance(query: NDArray[np.uint32], words: _Spellings) -> NDArray[np.int64]:
    """Return lower bounds (n,) of the distances: the longer length minus the characters in common.

    Without any in common it is `_FARTHEST`.
    """
    lengths = words.ends - words.begins  # (n,)
    number = len(lengths)
    common = np.zeros(number, np.int64)  # (n,)
    word_at = np.repeat(np.arange(number), lengths + 1)  # of each character
    for character, times in zip(*np.unique(query, return_counts=True), strict=True):
        found = word_at[words.text == int(character)]
        common += np.minimum(np.bincount(found, minlength=number), times)
    least: NDArray[np.int64] = np.maximum(lengths, len(query)) - common
    least[common == 0] = _FARTHEST
    return least


def _distances(query: NDArray[np.uint32], spelt: _Spellings) -> NDArray[np.int64]:
    """Return the optimal string alignment distances (n,) of `query` to n words, by columns."""
    number = len(spelt.ends)
    lengths = np.minimum(spelt.ends - spelt.begins, _LONGEST)  # (n,)
    width = int(lengths.max(initial=0))
    places = spelt.begins[:, None] + np.arange(width)  # (n, width)
    words = spelt.text[np.minimum(places, len(spelt.text) - 1)]  # (n, width)
    before_last = last = np.broadcast_to(np.arange(width + 1), (number, width + 1))
    for row, character in enumerate(query):
        current = np.empty((number, width + 1), np.int64)  # (n, width + 1)
        current[:, 0] = row + 1
        replaced = last[:, :-1] + (words != character)  # (n, width)
        for column in range(width):
            best = np.minimum(replaced[:, column], last[:, column + 1] + 1)
            np.minimum(best, current[:, column] + 1, out=best)
            if row and column:
                swapped = (words[:, column] == query[row - 1]) & (words[:, column - 1] == character)
                best = np.where(swapped, np.minimum(best, before_last[:, column - 1] + 1), best)
            current[:, column + 1] = best
        before_last, last = last, current
    found: NDArray[np.int64] = last[np.arange(number), lengths]  # (n,)
    return found
