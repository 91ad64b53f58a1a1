"""The matrix of pointwise mutual information of co-occurrence counts, and its truncated SVD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedcli.autodiff.rows import run_starts, sum_runs
from embedcli.autodiff.tensor import Array
from embedcli.cooccurrences import totals_of
from embedcli.counting import Cells, rows_between
from embedcli.parallel import Team, shared_array
from embedcli.storage.arrays import drop_pages

OVERSAMPLING = 20  # vectors beside the D that are wanted
ITERATIONS = 4  # of the subspace; 2 more change the singular values by less than .1 %
CHUNK = 512  # rows of the matrix that are multiplied at once
FREQUENT = 4096  # columns that are multiplied as a dense matrix
TERMS = 1 << 15  # cells of other columns that are multiplied at once
AT_ONCE = 1024  # chunks given to the team


class PMI:
    """The matrix of shifted positive PMI (V, V) of counts, never made whole.

    A cell is max(0, log(X · T / (row's total · smoothed column's total)) - log shift); the totals
    of context words are raised to `context_power` (Levy, Goldberg & Dagan 2015, "Improving
    distributional similarity with lessons learned from word embeddings", §3 and §7).
    """

    def __init__(
        self,
        parts: Sequence[Cells],
        words: int,
        *,
        context_power: float = 1.0,
        shift: float = 1.0,
        workers: int = 1,
    ) -> None:
        self._parts, self._workers, self.words = parts, workers, words
        totals = totals_of(parts, words)  # (V,)
        smoothed = totals**context_power
        with np.errstate(divide="ignore"):  # a word that stands alone in all its lines
            self._row_logs = np.log(totals)  # (V,)
            self._column_logs = np.log(smoothed / smoothed.sum() * shift)  # (V,)
        frequent = np.argsort(-totals, kind="stable")[:FREQUENT]
        self._frequent = np.sort(frequent)  # (F,)
        self._code = np.full(self.words, -1, np.int32)  # (V,)
        self._code[self._frequent] = np.arange(len(self._frequent))

    def product(self, vectors: Array, *, transposed: bool = False) -> Array:
        """Multiply the matrix, or its transpose, with vectors (V, k) float32: (V, k) float32.

        As the counts are symmetric, a row of the transpose has the same cells with the roles of
        row and column exchanged. Each chunk of rows is computed by one process.
        """
        shared = shared_array(vectors.shape, np.float32)
        shared[...] = vectors
        result = shared_array(vectors.shape, np.float32)
        dense = shared[self._frequent]  # (F, k)
        rows_logs, column_logs = self._row_logs, self._column_logs
        if transposed:
            rows_logs, column_logs = column_logs, rows_logs

        def multiply(member: int, command: bytes, task: int) -> None:
            del member
            start = (int(command) + task) * CHUNK
            stop = min(start + CHUNK, self.words)
            rows, columns, counts = rows_between(self._parts, start, stop)
            values = np.log(counts) - rows_logs[rows] - column_logs[columns]  # (n,)
            kept = np.flatnonzero(values > 0)
            rows, columns = rows[kept] - start, columns[kept]
            values = values[kept].astype(np.float32)
            # 1. Columns of frequent words as a dense matrix.
            codes = self._code[columns]
            often = codes >= 0
            matrix = np.zeros((stop - start, len(dense)), np.float32)
            matrix[rows[often], codes[often]] = values[often]
            sums = matrix @ dense  # (rows, k)
            # 2. All others one by one; the cells come in order of their rows.
            every = np.flatnonzero(~often)
            for first in range(0, len(every), TERMS):
                rare = every[first : first + TERMS]  # (m,)
                starts = run_starts(rows[rare])
                terms = shared[columns[rare]]  # (m, k)
                terms *= values[rare, None]
                sums[rows[rare][starts]] += sum_runs(terms, starts)
            result[start:stop] = sums
            for part in self._parts:
                for array in part:
                    drop_pages(array)

        tasks = -(-self.words // CHUNK)
        team = Team(min(self._workers, tasks), multiply)
        try:
            for first in range(0, tasks, AT_ONCE):
                team.run(b"%d" % first, min(AT_ONCE, tasks - first))
        finally:
            team.close()
        return result


def truncated_svd(matrix: PMI, dim: int, seed: int) -> tuple[Array, Array, Array]:
    """Return the D largest singular values (D,) and their vectors, (V, D) left and right.

    Randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4) in float32, with
    orthogonal bases in float64; the largest number of each left vector is positive. Float64; on a
    matrix of 2,000 words the values were those of LAPACK to 1e-4 of the largest.
    """
    size = min(dim + OVERSAMPLING, matrix.words)
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((matrix.words, size), np.float32)  # (V, k)
    for _ in range(ITERATIONS):
        left = _orthonormal(matrix.product(basis))
        basis = _orthonormal(matrix.product(left, transposed=True))
    left = np.linalg.qr(matrix.product(basis).astype(np.float64)).Q  # (V, k)
    projected = matrix.product(left.astype(np.float32), transposed=True).astype(np.float64)
    right, triangle = np.linalg.qr(projected)  # (V, k), (k, k): left.T @ matrix = triangle.T @ …
    rotation, values, mixed = np.linalg.svd(triangle.T)
    left, right = left @ rotation, right @ mixed.T
    largest = np.abs(left).argmax(axis=0)
    signs = np.sign(left[largest, np.arange(size)])
    return (left * signs)[:, :dim], values[:dim], (right * signs)[:, :dim]


def _orthonormal(vectors: Array) -> Array:
    return np.linalg.qr(vectors.astype(np.float64)).Q.astype(np.float32)
