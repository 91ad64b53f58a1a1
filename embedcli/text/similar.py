"""The words of a vocabulary that are spelt most like another one, and how alike they all are.

How alike two words are is the cosine of their sets of n-grams of two and three characters, in which
an n-gram that n words of the vocabulary have counts n^(-1/4). The characters of an n-gram are
sorted: two that are swapped leave most n-grams as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.text.vocabulary import Vocabulary

CANDIDATES = 200  # words that are returned, at most
NGRAMS = (2, 3)
COMMON = 0.25  # the power of how many words have an n-gram, by which it counts less
_BITS = 21  # of a code point, so that three of them fit an int64
_WORDS_AT_ONCE = 1 << 14


class Similar(NamedTuple):
    """The ids of n words spelt like another one, and how alike they are, from 0 to 1."""

    ids: NDArray[np.int64]  # (n,) most alike first, then by id
    words: Sequence[str]
    alike: NDArray[np.float64]  # (n,) each and the other word
    kernel: NDArray[np.float64]  # (n, n) each and each


class SimilarWords:
    """An index of a vocabulary by sorted n-grams."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        owners, keys = _sorted_ngrams(vocabulary.tokens(slice(None)))  # (G,)
        self._keys, ids = np.unique(keys, return_inverse=True)  # (F,) ascending
        pairs = np.sort(ids << 32 | owners)  # by n-gram, then by word
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]  # (E,) once each
        self._owners = (pairs & 0xFFFFFFFF).astype(np.int32)  # (E,)
        sizes = np.bincount(pairs >> 32)  # (F,) words
        self._ends = np.cumsum(sizes)  # (F,) of the words of each n-gram
        self._weights = sizes**-COMMON  # (F,)
        squares = np.bincount(self._owners, np.repeat(self._weights, sizes), len(vocabulary))
        self._lengths = np.sqrt(squares)  # (V,)

    def find(self, word: str) -> Similar:
        """Return the words spelt most like `word`; none where no word shares an n-gram with it."""
        # 1. Add up what the n-grams count that each word shares.
        keys = np.unique(_sorted_ngrams([word])[1])
        places, ends = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        places = places[ends > places]  # of the known n-grams
        if not len(places):
            return Similar(np.zeros(0, np.int64), [], np.zeros(0), np.zeros((0, 0)))
        weights = self._weights[places]
        length = np.sqrt(weights.sum() + len(keys) - len(places))
        starts, ends = np.append(0, self._ends)[places], self._ends[places]
        found = [self._owners[start:end] for start, end in zip(starts, ends, strict=True)]
        weights = np.repeat(weights, ends - starts)
        shared = np.bincount(np.concatenate(found), weights, len(self._lengths))  # (V,)
        # 2. Choose the largest cosines.
        alike = shared / (length * self._lengths)  # (V,)
        last = min(CANDIDATES, len(alike)) - 1
        least = -np.partition(-alike, last)[last]
        ids = np.flatnonzero((alike >= least) & (alike > 0))
        ids = ids[np.argsort(-alike[ids], kind="stable")][:CANDIDATES]  # (n,)
        # 3. Compare these words with each other.
        words = self._vocabulary.tokens(ids.tolist())
        owners, keys = _sorted_ngrams(words)
        places, columns = np.unique(np.searchsorted(self._keys, keys), return_inverse=True)
        features = np.zeros((len(ids), len(places)))  # (n, f)
        features[owners, columns] = np.sqrt(self._weights[places])[columns]
        features /= self._lengths[ids, None]
        return Similar(ids, words, alike[ids], features @ features.T)


def _sorted_ngrams(words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the word and the sorted characters, as one number, of each n-gram of words, (G,)."""
    owners, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(words), _WORDS_AT_ONCE):
        marked = [f"<{word}>" for word in words[start : start + _WORDS_AT_ONCE]]
        encoded = "".join(marked).encode("utf-32-le", "surrogatepass")
        text = np.frombuffer(encoded, np.uint32).astype(np.int64)  # (C,)
        owner = np.repeat(np.arange(start, start + len(marked)), [*map(len, marked)])  # (C,)
        for n in NGRAMS:
            size = max(len(text) - n + 1, 0)
            inside = owner[:size] == owner[len(owner) - size :]
            ngrams = np.stack([text[i : i + size][inside] for i in range(n)])  # (n, G)
            ngrams.sort(axis=0)
            owners.append(owner[:size][inside])
            keys.append(sum(row << _BITS * i for i, row in enumerate(ngrams)))
    return np.concatenate(owners), np.concatenate(keys)
