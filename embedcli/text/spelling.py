"""The words spelt most like a word: edit distances over a whole vocabulary at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Words whose exact distance is computed, for each lower bound of it.
_MOST_CANDIDATES = 5000
# Longer spellings are compared by their beginning.
_LONGEST = 64


def nearest_spellings(
    token: str,
    lines: bytes,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64] | None,
    limit: int,
) -> list[int]:
    """Return the ids of the `limit` words nearest to `token`, nearest first, then by count.

    `lines` is UTF-8, one word a line; `starts` (V + 1,) says where each begins. The distance is
    the optimal string alignment distance (Damerau, 1964): characters inserted, left out, replaced,
    or two neighbours swapped. It is computed only for words that share enough characters.
    """
    if len(starts) < 2:
        return []
    text = np.frombuffer(lines.decode("utf-8", "replace").encode("utf-32-le"), np.uint32)
    ends = np.flatnonzero(text == ord("\n"))  # (V,)
    begins = np.concatenate([[0], ends[:-1] + 1])  # (V,)
    query = np.frombuffer(token[:_LONGEST].encode("utf-32-le", "surrogatepass"), np.uint32)
    bound = _least_distance(query, text, begins, ends)  # (V,)
    found: list[tuple[int, int, int]] = []
    for least in range(int(bound.max()) + 1):
        candidates = np.flatnonzero(bound == least)
        if counts is not None and len(candidates) > _MOST_CANDIDATES:
            candidates = candidates[np.argsort(-counts[candidates], kind="stable")]
        candidates = candidates[:_MOST_CANDIDATES]
        distances = _distances(query, text, begins[candidates], ends[candidates])
        found += [
            (int(distance), 0 if counts is None else -int(counts[id_]), int(id_))
            for distance, id_ in zip(distances, candidates, strict=True)
        ]
        found = sorted(found)[:limit]
        if len(found) == limit and found[-1][0] <= least + 1:
            break
    return [id_ for _, _, id_ in found]


def _least_distance(
    query: NDArray[np.uint32],
    text: NDArray[np.uint32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Lower bounds (V,) of the distances: the longer length less the characters in common."""
    lengths = ends - begins  # (V,)
    common = np.zeros(len(begins), np.int64)  # (V,)
    for character, times in zip(*np.unique(query, return_counts=True), strict=True):
        places = np.flatnonzero(text == character)
        words = np.searchsorted(ends, places)
        common += np.minimum(np.bincount(words, minlength=len(begins)), times)
    least: NDArray[np.int64] = np.maximum(lengths, len(query)) - common
    return least


def _distances(
    query: NDArray[np.uint32],
    text: NDArray[np.uint32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Optimal string alignment distances (n,) of `query` to n words, a column at a time."""
    lengths = np.minimum(ends - begins, _LONGEST)  # (n,)
    width = int(lengths.max(initial=0))
    places = np.minimum(begins[:, None] + np.arange(width), len(text) - 1)  # (n, width)
    words = text[places]  # (n, width)
    before_last = last = np.broadcast_to(np.arange(width + 1), (len(begins), width + 1))
    for row, character in enumerate(query):
        current = np.empty((len(begins), width + 1), np.int64)  # (n, width + 1)
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
    found: NDArray[np.int64] = last[np.arange(len(begins)), lengths]  # (n,)
    return found
