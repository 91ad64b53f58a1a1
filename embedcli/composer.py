"""Vectors of words that a model of character n-grams does not have.

The vector of a known word is the mean of its own row and those of its n-grams. An unknown word has
no row of its own, and its n-grams do not tell *recieve* from many others: so it is a weighted mean
of the words that are spelt like it (`text.similar`) and of the mean of its n-grams, which weighs
`NGRAMS_WEIGHT` (Nadaraya 1964; Watson 1964). Where no n-gram is known, these words have to weigh as
much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.storage.arrays import RowSource, sum_rows
from embedcli.table import Part
from embedcli.text.similar import SimilarWords
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary

NGRAMS_WEIGHT = 0.003


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
    """Composes words for a table of `vectors` (V, D); a `table.Composer`.

    `rows` (R, D) are those of the parts, which say which n-grams are known.
    """

    def __init__(
        self, vocabulary: Vocabulary, vectors: RowSource, parts: Parts, rows: NDArray[np.float32]
    ) -> None:
        self._vocabulary, self._vectors = vocabulary, vectors
        self._parts, self._rows = parts, rows
        self._sizes = parts.sizes(len(vocabulary))  # (R,)

    @cached_property
    def _similar(self) -> SimilarWords:
        return SimilarWords(self._vocabulary)

    def compose(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vector of each unknown word, (N, D), and whether it can be composed, (N,).

        A word without known n-grams and words spelt like it has a vector of zeros.
        """
        # 1. Average the rows of the known n-grams.
        owners, buckets = self._parts.subwords.hashed(words)  # (G,)
        rows = self._parts.find(buckets)  # (G,)
        owners, rows = owners[rows >= 0], rows[rows >= 0]
        distinct, ids = np.unique(rows[np.argsort(owners, kind="stable")], return_inverse=True)
        ngrams = self._rows[distinct] / self._sizes[distinct, None]
        counts = np.bincount(owners, minlength=len(words))  # (N,)
        vectors = sum_rows(ngrams, ids, np.append(0, np.cumsum(counts)))  # (N, D)
        vectors /= np.maximum(counts, 1).astype(np.float32)[:, None]
        # 2. Average that and the vectors of words spelt alike.
        composed = counts > 0
        for place, word in enumerate(words):
            ids, weights, rest = self._shares(word, ngrams=bool(composed[place]))
            composed[place] |= len(ids) > 0
            vectors[place] *= rest
            vectors[place] += weights @ self._vectors[ids]
        return vectors, composed

    def _shares(
        self, word: str, *, ngrams: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
        """Return words spelt like an unknown one, (n,) ids and shares of its vector; and the rest.

        The rest is the share of the mean of its known `ngrams`.
        """
        ids, weights = self._similar.weights(word)
        total = float(weights.sum())
        if not ngrams and total < NGRAMS_WEIGHT:
            return ids[:0], weights[:0], 0.0
        total += NGRAMS_WEIGHT * ngrams
        return ids, weights / np.float32(total), NGRAMS_WEIGHT * ngrams / total

    def parts(self, word: str) -> list[Part]:
        """Return the known n-grams of a word, after the word itself if the model has it."""
        index = self._vocabulary.get(word)
        ngrams = self._parts.subwords.spelled(word)
        rows = self._parts.find(np.array([bucket for _, bucket in ngrams], np.int64)).tolist()
        named = [(text, row) for (text, _), row in zip(ngrams, rows, strict=True) if row >= 0]
        weight = 1.0
        if index is not None:
            named.insert(0, (word, index))
        else:
            weight = self._shares(word, ngrams=bool(named))[2]
        return [
            Part(text, row, weight / len(named), self._rows[row] / self._sizes[row])
            for text, row in named
        ]

    def similar(self, word: str) -> list[Part]:
        """Return the words spelt like a word of which its vector is composed; none of a known."""
        if word in self._vocabulary:
            return []
        ids, weights, _ = self._shares(word, ngrams=bool(self.parts(word)))
        return [
            Part(self._vocabulary.token(index), index, weight, vector)
            for index, weight, vector in zip(
                ids.tolist(), weights.tolist(), self._vectors[ids], strict=True
            )
        ]
