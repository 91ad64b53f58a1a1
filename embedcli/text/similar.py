"""The words of a vocabulary that are spelt like another one, and how much each of them counts.

Of the `CANDIDATES` words that share most n-grams with a word, one weighs

    cosine³ · likeness⁸ · count / (count + 100)

where the cosine compares sets of n-grams, and the likeness is 1 - distance / characters of the
longer word. The distance alone finds words that look alike by chance, n-grams alone hardly any for
a word with two letters swapped; vectors of rare words are known less well. The powers were chosen
by the correlations in docs/benchmarks.md; others near them are as good.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embedcli.text.spelling import likeness
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary

CANDIDATES = 200  # words whose edit distance is computed
MOST = 20  # words that are returned
HALF_COUNT = 100  # of a word that weighs half of what a frequent one does
# Not graphemes: a short word of Devanagari has few of these, and a wrong vowel sign changes them.
NGRAMS = Subwords(3, 3, 1 << 31, "codepoint")


class SimilarWords:
    """An index of a vocabulary by n-grams of three characters."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        owners, buckets = NGRAMS.hashed(vocabulary.tokens(slice(None)))
        keys = np.unique(buckets << 32 | owners)  # (E,)
        self._buckets = keys >> 32  # (E,) ascending
        self._owners = (keys & 0xFFFFFFFF).astype(np.int32)  # (E,) ascending in each bucket
        self._sizes = np.bincount(self._owners, minlength=len(vocabulary))  # (V,) n-grams
        self.weights = lru_cache(1 << 14)(self._weights)

    def _weights(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids of words spelt like `word` and their weights, (n,) each, largest first.

        There are none where no word shares an n-gram and a character with it.
        """
        buckets = np.unique(NGRAMS.hashed([word])[1])
        starts, ends = (np.searchsorted(self._buckets, buckets, side) for side in ("left", "right"))
        owners = [self._owners[start:end] for start, end in zip(starts, ends, strict=True)]
        shared = np.bincount(np.concatenate([*owners, []]).astype(np.int64))
        ids = np.flatnonzero(shared)
        cosine = shared[ids] / np.sqrt(self._sizes[ids] * max(len(buckets), 1))
        best = np.argsort(-cosine, kind="stable")[:CANDIDATES]
        ids, cosine = ids[best], cosine[best]
        weights = cosine**3 * likeness(word, self._vocabulary.tokens(ids.tolist())) ** 8
        if self._vocabulary.counts is not None:
            counts = self._vocabulary.counts[ids]
            weights *= counts / (counts + HALF_COUNT)
        best = np.argsort(-weights, kind="stable")[: min(MOST, np.count_nonzero(weights))]
        return ids[best], weights[best].astype(np.float32)
