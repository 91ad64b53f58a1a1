"""Vectors of words that a model of character n-grams does not have.

A known word's vector is the mean of its own row and those of its n-grams. An unknown word has no
row of its own, and its n-grams do not tell *recieve* from many others. It is composed of the words
spelt like it (`text.similar`), as the weighted mean (Nadaraya 1964; Watson 1964) of

- the vectors of these words, as it may be one of them with a mistake: each weighs alike³ ·
  likeness⁸ · count / (count + RARE), where the likeness is 1 - edit distance / characters of the
  longer word;
- the prediction of a Gaussian process over spellings whose mean is the mean m of the table
  (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", equation 2.25), as it may
  be a word of its own. It weighs PREDICTION, and is

      m + w (T - m),   w = (K + N)⁻¹ k

  for the vectors T (n, D) of the words. k and K are the squares of how alike they and the unknown
  word, and they among each other, are. N is diagonal: NOISE · (1 + RARE / count).

The constants were chosen by the figures in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.storage.arrays import RowSource
from embedcli.table import EmbeddingTable, Part
from embedcli.text.similar import SimilarWords
from embedcli.text.spelling import likeness
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary

NOISE = 0.5  # variance of a frequent word's vector, where that of the process is 1
RARE = 30  # count of a word that is trusted half as much as a frequent one
PREDICTION = 0.2  # what it weighs, where a frequent word spelt just so would weigh 1
_REMEMBERED = 1 << 13  # unknown words, of 3 kB each


@dataclass(frozen=True, eq=False)
class Parts:
    """Which row of parts each n-gram of a model's words has, by its bucket."""

    subwords: Subwords
    buckets: NDArray[np.int32]  # (B,) ascending
    rows: NDArray[np.int32]  # (B,)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a model folder that hold them."""
        return {"parts.buckets": self.buckets, "parts.rows": self.rows}

    def sizes(self, words: int) -> NDArray[np.float32]:
        """Return how many n-grams, and words, share each row, (R,)."""
        sizes = np.bincount(self.rows, minlength=words)
        sizes[:words] += 1
        return sizes.astype(np.float32)

    def find(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of buckets (N,), (N,); -1 for one that has none."""
        if not len(self.buckets):
            return np.full(len(buckets), -1)
        places = np.minimum(np.searchsorted(self.buckets, buckets), len(self.buckets) - 1)
        return np.where(self.buckets[places] == buckets, self.rows[places], -1).astype(np.int64)


class SubwordComposer:
    """Composes words for a table of `vectors` (V, D); a `table.Composer`."""

    def __init__(self, vocabulary: Vocabulary, vectors: RowSource, parts: Parts) -> None:
        self._vocabulary, self._vectors, self._parts = vocabulary, vectors, parts
        self._weights = lru_cache(_REMEMBERED)(self._weigh)

    @cached_property
    def _similar(self) -> SimilarWords:
        return SimilarWords(self._vocabulary)

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        """The mean vector of the table, (D,)."""
        blocks = EmbeddingTable(self._vocabulary, self._vectors).blocks()
        total = sum(block.sum(axis=0, dtype=np.float64) for _, block in blocks)
        return np.asarray(total / len(self._vectors), np.float32)

    @np.errstate(all="ignore")  # rows may hold numbers that are not finite
    def compose(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vector of each unknown word, (N, D), and whether it can be composed, (N,).

        A word that shares no n-gram with a known one has a vector of zeros.
        """
        vectors = np.zeros((len(words), self._vectors.shape[1]), np.float32)  # (N, D)
        composed = np.zeros(len(words), bool)  # (N,)
        with _one_thread():
            for place, word in enumerate(words):
                ids, weights = self._weights(word)
                if len(ids):
                    composed[place] = True
                    rest = (1 - weights.sum()) * self._mean
                    vectors[place] = weights @ self._vectors[ids] + rest
        return vectors, composed

    def _weigh(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids of words spelt like an unknown one, and their weights, (n,) each.

        The mean of the table has the weight that is left to 1.
        """
        ids, words, alike, kernel = self._similar.find(word)
        trust = np.ones(len(ids))  # (n,)
        if self._vocabulary.counts is not None:
            counts = self._vocabulary.counts[ids]
            trust = counts / (counts + RARE)
        # With the root of N⁻¹ on both sides the matrix is K + 1, and a count may be 0.
        root = np.sqrt(trust / NOISE)  # (n,)
        matrix = root[:, None] * kernel**2 * root + np.eye(len(ids))  # (n, n)
        predicted = root * np.linalg.solve(matrix, root * alike**2)  # (n,)
        meant = alike**3 * likeness(word, words) ** 8 * trust  # (n,)
        weights = (meant + PREDICTION * predicted) / (meant.sum() + PREDICTION)
        return ids, weights.astype(np.float32)

    def parts(self, word: str) -> list[Part]:
        """Return what the vector of a word is a weighted sum of.

        A known word is composed of itself and its n-grams, with rows of the table of parts; an
        unknown one of known words, largest weights first, with rows of the table itself. Where
        their weights do not add up to 1, the mean of the table has the rest.
        """
        index = self._vocabulary.get(word)
        if index is None:
            with _one_thread():
                ids, weights = self._weights(word)
            order = np.argsort(-np.abs(weights), kind="stable")
            ids, weights = ids[order], weights[order]
            texts = self._vocabulary.tokens(ids.tolist())
            return list(map(Part, texts, ids.tolist(), weights.tolist()))
        ngrams = self._parts.subwords.spelled(word)
        rows = self._parts.find(np.array([bucket for _, bucket in ngrams], np.int64)).tolist()
        named = [(text, row) for (text, _), row in zip(ngrams, rows, strict=True) if row >= 0]
        named.insert(0, (word, index))
        return [Part(text, row, 1 / len(named)) for text, row in named]


def _one_thread() -> Any:
    """Return a context in which BLAS has one thread; more are slower, and round otherwise."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(1, user_api="blas")
