"""A vocabulary and its vectors: look-up, similarity and exact nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedcli.text.vocabulary import Vocabulary

Metric = Literal["cosine", "dot", "euclidean"]
Method = Literal["3cosadd", "3cosmul"]

Score = Callable[[NDArray[np.float32], slice], NDArray[np.float32]]

_BLOCK_BYTES = 1 << 21  # of the table at a time: it and its scores stay in the cache
_QUERIES = 256  # scored at a time
_FEW_QUERIES = 64
_MUL_EPSILON = 1e-6  # of 3CosMul; Levy and Goldberg 2014 use .001, gensim 1e-6


@dataclass(frozen=True)
class Neighbors:
    """What a search found: `ids` int64 and `scores` float32, both (Q, k), the best first.

    Where fewer than k rows could be found, the ids that are left are -1 and the scores NaN.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class EmbeddingTable:
    """A vocabulary of V words and their vectors (V, D), in memory or memory-mapped.

    `table["king"]` is the vector of a word, (D,) float32; raises VocabularyError for a word that
    is not there.
    """

    def __init__(self, vocabulary: Vocabulary, vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or len(vectors) != len(vocabulary):
            raise ValueError(f"{vectors.shape} vectors for {len(vocabulary)} words")
        self.vocabulary = vocabulary
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __contains__(self, word: str) -> bool:
        return word in self.vocabulary

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.rows([self.vocabulary.id_of(word)])[0]  # (D,)
        return row

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return int(self.vectors.shape[1])

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Vectors of ids: a copy, (N, D)."""
        return _in_float32(self.vectors[np.asarray(ids, np.int64)])  # (N, D)

    def vectors_of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of words, (N, D); raises VocabularyError for one that is not there."""
        return self.rows([self.vocabulary.id_of(word) for word in words])

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Go through the table in blocks of `size` bytes (2 MiB): first id and rows of each."""
        step = max(1, (size or _BLOCK_BYTES) // (4 * max(1, self.dim)))
        for start in range(0, len(self.vectors), step):
            yield start, _in_float32(self.vectors[start : start + step])

    def norms(self) -> NDArray[np.float32]:
        """Euclidean length of every vector, (V,)."""
        norms = np.empty(len(self), np.float32)  # (V,)
        for start, block in self.blocks():
            norms[start : start + len(block)] = _lengths(block)
        return norms

    def similarity(self, word: str, other: str, metric: Metric = "cosine") -> float:
        """Cosine, dot product or negative distance of two words."""
        return float(self.similarities([word], [other], metric)[0])

    def similarities(
        self, words: Sequence[str], others: Sequence[str], metric: Metric = "cosine"
    ) -> NDArray[np.float32]:
        """Compare each word with the word at the same place in `others`, (N,)."""
        return compare(self.vectors_of(words), self.vectors_of(others), metric)

    def nearest(
        self,
        queries: ArrayLike,
        k: int = 10,
        metric: Metric = "cosine",
        exclude: Sequence[Sequence[int]] | None = None,
    ) -> Neighbors:
        """Find the k rows nearest to each query vector, exactly.

        `queries` is (Q, D); `exclude` names for each query the ids that may not be found. Scores
        are cosines, dot products or negative Euclidean distances; equal ones are ordered by id.
        The table is read in blocks, so that memory does not grow with V.
        """
        wanted = np.atleast_2d(np.asarray(queries, np.float32))  # (Q, D)
        if metric == "cosine":
            wanted = unit(wanted)
        return self._best(
            lambda block, part: _scores(block, wanted[part], metric), len(wanted), k, exclude
        )

    def neighbors(self, words: Sequence[str], k: int = 10, metric: Metric = "cosine") -> Neighbors:
        """Find the k words nearest to each of `words`, itself left out."""
        ids = [self.vocabulary.id_of(word) for word in words]
        return self.nearest(self.rows(ids), k, metric, [[each] for each in ids])

    def analogy(
        self,
        positive: Sequence[str],
        negative: Sequence[str],
        k: int = 10,
        method: Method = "3cosadd",
    ) -> Neighbors:
        """Find words close to all of `positive` and far from `negative`, which are left out.

        `analogy(["woman", "king"], ["man"])` asks what is to woman as king is to man. 3CosAdd is
        the cosine with the mean of the unit vectors, 3CosMul the product of shifted cosines
        (Levy and Goldberg 2014, "Linguistic regularities"; gensim `most_similar[_cosmul]`).
        """
        plus = [self.vocabulary.id_of(word) for word in positive]
        minus = [self.vocabulary.id_of(word) for word in negative]
        signs = np.repeat(np.array([1, -1], np.float32), [len(plus), len(minus)])  # (N,)
        return self.analogies(np.array([plus + minus]), signs, k, method)

    def analogies(
        self, ids: NDArray[np.int64], signs: NDArray[np.float32], k: int, method: Method
    ) -> Neighbors:
        """Answer Q questions at once: words `ids` (Q, N), wanted or not by `signs` (N,)."""
        words = unit(self.rows(ids.ravel())).reshape(*ids.shape, self.dim)  # (Q, N, D)
        exclude = ids.tolist()
        if method == "3cosadd":
            means = np.einsum("n,qnd->qd", signs, words) / ids.shape[1]  # (Q, D)
            return self.nearest(means, k, "cosine", exclude)

        def products(block: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
            asked = words[part]  # (Q, N, D)
            cosines = _scores(block, asked.reshape(-1, self.dim), "cosine")  # (Q·N, B)
            shifted = ((1 + cosines) / 2).reshape(*asked.shape[:2], -1)  # (Q, N, B)
            far = shifted[:, signs < 0].prod(axis=1)  # (Q, B)
            near: NDArray[np.float32] = shifted[:, signs > 0].prod(axis=1)  # (Q, B)
            near /= far + np.float32(_MUL_EPSILON)
            return near

        return self._best(products, len(ids), k, exclude)

    def odd_one_out(self, words: Sequence[str]) -> list[tuple[int, float]]:
        """Order words by how little they fit: (place in `words`, cosine with the mean).

        The mean is that of the unit vectors, as in gensim's `doesnt_match`.
        """
        return odd_first(self.vectors_of(words))

    def _best(
        self, score: Score, queries: int, k: int, exclude: Sequence[Sequence[int]] | None
    ) -> Neighbors:
        """Keep the k best of the scores (Q, B) of every block."""
        k = min(k, len(self))
        ids = np.full((queries, k), -1, np.int64)  # (Q, k)
        best = np.full((queries, k), -np.inf, np.float32)  # (Q, k)
        banned = _pairs(exclude or [])  # (P, 2)
        with np.errstate(all="ignore"), _few_threads(queries):  # of rows that are not finite
            for first in range(0, queries if k else 0, _QUERIES):
                part = slice(first, first + _QUERIES)
                for start, block in self.blocks():
                    scores = score(block, part)  # (Q, B)
                    scores[np.isnan(scores)] = -np.inf
                    _forbid(scores, banned, first, start)
                    _merge(ids[part], best[part], scores, start)
        found = np.isfinite(best)
        ids[~found], best[~found] = -1, np.nan
        return Neighbors(ids, best)


def _few_threads(queries: int) -> AbstractContextManager[object]:
    """Keep the products of few queries to one thread.

    They wait for memory, which more threads make little faster; and on a busy machine the threads
    wait for each other at every block: a search then took seven times as long.
    """
    if queries > _FEW_QUERIES:
        return nullcontext()
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def odd_first(rows: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Order rows (N, D) by how little they fit: (place, cosine with the mean of the unit rows)."""
    rows = unit(rows)  # (N, D)
    fits = rows @ unit(rows.mean(axis=0, keepdims=True))[0]  # (N,)
    return [(int(place), float(fits[place])) for place in np.argsort(fits, kind="stable")]


@np.errstate(over="ignore")  # what float32 cannot hold is not finite in it
def _in_float32(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(rows, np.float32)


@np.errstate(all="ignore")  # of rows that are not finite
def compare(
    one: NDArray[np.float32], two: NDArray[np.float32], metric: Metric = "cosine"
) -> NDArray[np.float32]:
    """Compare each row (N, D) with the row at the same place in another array, (N,)."""
    if metric == "cosine":
        one, two = unit(one), unit(two)
    if metric == "euclidean":
        return 0 - _lengths(one - two)  # no -0 for the same vectors
    products: NDArray[np.float32] = np.einsum("nd,nd->n", one, two)  # (N,)
    return products


@np.errstate(all="ignore")  # of rows that are not finite
def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (N, D) to length 1; a row of zeros stays as it is."""
    lengths = _lengths(rows)  # (N,)
    lengths[lengths == 0] = 1
    return rows / lengths[:, None]  # (N, D)


@np.errstate(all="ignore")
def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", rows, rows))  # (N,)
    return lengths


def _scores(
    block: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Score rows (B, D) for queries (Q, D), unit ones for the cosine: (Q, B)."""
    if metric == "euclidean":
        # In float64: the difference of squares would lose small distances in float32.
        rows, asked = block.astype(np.float64), queries.astype(np.float64)
        squares = (asked**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)  # (Q, B)
        distances = np.sqrt(np.maximum(squares - 2 * asked @ rows.T, 0))  # (Q, B)
        nearness: NDArray[np.float32] = (0 - distances).astype(np.float32)
        return nearness
    products: NDArray[np.float32] = queries @ block.T  # (Q, B)
    if metric == "cosine":
        lengths = _lengths(block)  # (B,)
        products /= np.where(lengths > 0, lengths, np.inf).astype(np.float32)
    return products


def _forbid(scores: NDArray[np.float32], banned: NDArray[np.int64], query: int, start: int) -> None:
    """Strike out the banned (query, id) pairs of scores (Q, B) from `query` and `start` on."""
    places = banned - (query, start)  # (P, 2)
    inside = ((places >= 0) & (places < scores.shape)).all(axis=1)
    scores[tuple(places[inside].T)] = -np.inf


def _merge(
    ids: NDArray[np.int64], best: NDArray[np.float32], scores: NDArray[np.float32], start: int
) -> None:
    """Take into the k best (Q, k) the scores (Q, B) of the rows from `start` on."""
    k = best.shape[1]
    for query in np.flatnonzero(scores.max(axis=1) > best[:, -1]):
        row = scores[query]
        near = _largest(row, np.flatnonzero(row > best[query, -1]), k)
        every = np.concatenate([ids[query], near + start])
        values = np.concatenate([best[query], row[near]])
        order = np.lexsort((every, -values))[:k]
        ids[query], best[query] = every[order], values[order]


def _largest(scores: NDArray[np.float32], places: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Choose the `places` of the k largest scores (B,); of equal ones at the edge, the first."""
    if len(places) <= k:
        return places
    values = scores[places]
    edge = np.partition(values, -k)[-k]
    above = places[values > edge]
    return np.concatenate([above, places[values == edge][: k - len(above)]])


def _pairs(exclude: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Every (query, id) that may not be found, (P, 2)."""
    pairs = [(query, int(each)) for query, ids in enumerate(exclude) for each in ids]
    return np.array(pairs, np.int64).reshape(-1, 2)
