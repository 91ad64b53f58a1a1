"""Tables beside each other: the words that they have in common, and the rotation between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.table import EmbeddingTable, unit

Rows = NDArray[np.floating[Any]]

_BLOCK = 1 << 14  # rows that are converted to float64 at once


def common_words(tables: Sequence[EmbeddingTable], min_count: int = 1) -> NDArray[np.int64]:
    """Return the ids of the words that all tables have, (T, W): a row for each table.

    A word comes the earlier the more frequent it is: by the mean of the logarithms of its shares of
    the tables' corpora; where no table has counts, in the order of the first table. Words with a
    count below `min_count` in any table are left out.
    """
    first = tables[0].vocabulary
    tokens = first.tokens(slice(None))
    ids = np.stack(
        [
            np.arange(len(first)) if each is tables[0] else each.vocabulary.ids_of(tokens, -1)
            for each in tables
        ]
    ).astype(np.int64)  # (T, V)
    ids = ids[:, (ids >= 0).all(axis=0)]  # (T, W)
    frequency = np.zeros(ids.shape[1])  # (W,)
    kept = np.ones(ids.shape[1], bool)  # (W,)
    for table, row in zip(tables, ids, strict=True):
        if table.vocabulary.counts is not None:
            counts = np.asarray(table.vocabulary.counts)  # (V,)
            kept &= counts[row] >= min_count
            frequency += np.log(np.maximum(counts[row], 1) / max(int(counts.sum()), 1))
    order = np.argsort(-frequency, kind="stable")
    return ids[:, order[kept[order]]]


def unit_rows(table: EmbeddingTable, ids: NDArray[np.int64], center: bool = False) -> Rows:
    """Return the rows of ids scaled to length 1, (W, D) float32; NaN and infinity become zeros.

    With `center` the mean of these rows is subtracted, and what is left scaled to length 1 again
    (Artetxe, Labaka & Agirre 2016, "Learning principled bilingual mappings", §2.3).
    """
    rows = unit(table.rows(ids))  # (W, D)
    rows[~np.isfinite(rows).all(axis=1)] = 0
    if center:
        rows = unit(rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32))
    return rows


def procrustes(one: Rows, two: Rows) -> NDArray[np.float64]:
    """Return the orthogonal matrix R (D, D) that brings `one @ R` closest to `two`, both (N, D).

    Of all rotations and reflections it has the least sum of squared distances between the rows;
    for rows of length 1 that is the largest sum of cosines. R is U Vᵀ, where U S Vᵀ is the singular
    value decomposition of oneᵀ two (Schönemann 1966, "A generalized solution of the orthogonal
    Procrustes problem"). It is computed in float64 and by one thread, so that it is the same for
    any number of processors.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, user_api="blas"):
        product = np.zeros((one.shape[1], two.shape[1]))  # (D, D)
        for start in range(0, len(one), _BLOCK):
            part = slice(start, start + _BLOCK)
            product += one[part].astype(np.float64).T @ two[part].astype(np.float64)
        left, _, right = np.linalg.svd(product)
        rotation: NDArray[np.float64] = left @ right
    return rotation
