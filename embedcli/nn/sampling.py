"""Negative sampling: the losses of skip-gram and CBOW, on the tape and as fused kernels.

Consecutive centres are scored at once with all words around them and with negative samples that
they share: a few products of small matrices, some of whose entries have weight 0. Each objective
is given twice. `scores` states it with primitives of the tape: that is the version to read, and
the reference of the kernel's test. `kernel` computes the same loss and gradients from arrays to
arrays, a chunk of the batch at a time: the rows of a whole batch do not fit a core's cache, and
one operation after the other would move them through memory some twenty times.

Neither knows tables or vocabularies: `inner` and `outer` are matrices of rows, `bias` (V, 1) is
added to each score of an outer row, and the ids of the tiles index them. The bias has no gradient.

Axes: g tiles of b bands of S centres, n = g·b·S in all; w words of halo; M = S + 2w words around a
band; K negative samples a tile; D numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from embedcli.autodiff import ops
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Tensor

CHUNK = 250_000  # numbers of a chunk's hidden vectors; with all that belongs to them, some 3 MB


class Tiles(NamedTuple):
    """Consecutive centres, the words around them, and negative samples.

    `context_weights` holds the weight of each word around each centre: entry j of a centre in the
    i-th of all bands belongs to `words[i·S + j]`, so that j = 0 is w positions before the first
    centre of the band. It is 0 for words more than w positions away.
    """

    words: Array  # (n + 2w,) ids of the centres, and of w words on either side
    context_weights: Array  # (g, b, S, M)
    negatives: Array  # (g, K) ids
    negative_weights: Array  # (g, b, S), of each negative sample of a centre

    @property
    def halo(self) -> int:
        """Words on either side, w."""
        band, around = self.context_weights.shape[2:]
        return int(around - band) // 2

    @property
    def centres(self) -> Array:
        """Ids of the centres, (n,)."""
        return self.words[self.halo : len(self.words) - self.halo]

    def windows(self, rows: Array) -> Array:
        """View what belongs to the words (n + 2w, ...) by band: (g, b, M, ...)."""
        count, bands, band, around = self.context_weights.shape
        step = band * rows.strides[0]
        shape = (count, bands, around, *rows.shape[1:])
        return as_strided(rows, shape, (bands * step, step, *rows.strides), writeable=False)

    def chunks(self, dim: int) -> Iterator[Tiles]:
        """Cut into chunks of about as many tiles each, small enough for the cache."""
        tiles, bands, band = self.negative_weights.shape
        centres = bands * band  # of a tile
        count = chunk_count(tiles, centres, dim)
        for first, last in pairwise(tiles * number // count for number in range(count + 1)):
            yield Tiles(
                self.words[first * centres : last * centres + 2 * self.halo],
                self.context_weights[first:last],
                self.negatives[first:last],
                self.negative_weights[first:last],
            )


def chunk_count(tiles: int, centres: int, dim: int) -> int:
    """Return how many chunks so many tiles, of so many centres each, are cut into."""
    at_once = max(CHUNK // (centres * dim), 1)  # tiles
    return -(-tiles // at_once)


class Objective(NamedTuple):
    """What is scored with what, in two versions that give the same loss."""

    ids: Callable[[Tiles], tuple[Array, Array]]  # rows that are looked up, inner and outer
    scores: Callable[[Tensor, Tensor, Tensor, Tiles], tuple[Tensor, Tensor]]  # positive, negative
    positive_weights: Callable[[Tiles], Array]
    kernel: Callable[[Array, Array, Array, Tiles, RowGrad, RowGrad, slice | None], float]


def negative_sampling_loss(
    objective: Objective, inner: Tensor, outer: Tensor, bias: Tensor, tiles: Tiles
) -> Tensor:
    """Return the loss of a batch on the tape, one number.

    Each positive score x costs -log σ(x), each negative one -log σ(-x), times its weight (Mikolov
    et al. 2013, "Distributed representations of words and phrases", §2.2).
    """
    positive, negative = objective.scores(inner, outer, bias, tiles)
    weights = tiles.negative_weights[..., None]
    return ops.sigmoid_cross_entropy(
        positive, 1.0, objective.positive_weights(tiles)
    ) + ops.sigmoid_cross_entropy(negative, 0.0, weights)


def negative_sampling_gradients(
    objective: Objective,
    inner: Array,
    outer: Array,
    bias: Array,
    tiles: Tiles,
    gradient_rows: Callable[[Array, Array], tuple[RowGrad, RowGrad]],
    every: int = 1,
) -> float:
    """Return the loss of a batch, and write its gradients with the objective's kernel.

    `gradient_rows` is called once with the ids of the inner and outer rows that the batch looks
    up, (N,) each, and returns the gradients to fill. With `every` the loss is an estimate from
    every so many tiles, which takes less time; the gradient is always that of the whole loss.
    """
    chunks = list(tiles.chunks(inner.shape[1]))
    ids = [objective.ids(chunk) for chunk in chunks]
    inner_ids, outer_ids = (np.concatenate(side) for side in zip(*ids, strict=True))
    totals = gradient_rows(inner_ids, outer_ids)
    loss, done, ends = 0.0, 0, [0, 0]
    for chunk, looked_up in zip(chunks, ids, strict=True):
        parts = []
        for side, total in enumerate(totals):
            part = slice(ends[side], ends[side] + len(looked_up[side]))
            ends[side] = part.stop
            rows, curvature = total.rows[part], total.curvature[part]
            parts.append(RowGrad(total.ids[part], rows, total.shape, curvature))
        first = -done % every
        measured = slice(first, None, every) if first < len(chunk.negatives) else None
        loss += objective.kernel(inner, outer, bias, chunk, parts[0], parts[1], measured)
        done += len(chunk.negatives)
    return loss * done / len(range(0, done, every))


def _skip_gram_ids(tiles: Tiles) -> tuple[Array, Array]:
    return tiles.centres, np.concatenate((tiles.words, tiles.negatives.reshape(-1)))


def _skip_gram_scores(
    inner: Tensor, outer: Tensor, bias: Tensor, tiles: Tiles
) -> tuple[Tensor, Tensor]:
    """Score each centre's own row with the words around it, (g, b, S, M), and with the samples."""
    hidden = ops.gather(inner, tiles.centres.reshape(tiles.negative_weights.shape))  # (g, b, S, D)
    context = ops.gather(outer, tiles.windows(tiles.words))  # (g, b, M, D)
    negatives = ops.gather(outer, tiles.negatives[:, None])  # (g, 1, K, D)
    of_context = ops.gather(bias, tiles.windows(tiles.words))  # (g, b, M, 1)
    of_negatives = ops.gather(bias, tiles.negatives[:, None])  # (g, 1, K, 1)
    return hidden @ context.mT + of_context.mT, hidden @ negatives.mT + of_negatives.mT


def _skip_gram_kernel(
    inner: Array,
    outer: Array,
    bias: Array,
    tiles: Tiles,
    inner_gradient: RowGrad,
    outer_gradient: RowGrad,
    measured: slice | None,
) -> float:
    weights, negative_weights = tiles.context_weights, tiles.negative_weights[..., None]
    size = len(tiles.words)
    # 1. Look up the rows.
    hidden = np.take(inner, inner_gradient.ids, axis=0)  # (n, D)
    hidden = hidden.reshape(*tiles.negative_weights.shape, -1)  # (g, b, S, D)
    rows = np.take(outer, outer_gradient.ids, axis=0)  # (n + 2w + g·K, D)
    words, negatives = rows[:size], _by_tile(rows[size:], tiles)
    context = tiles.windows(words)  # (g, b, M, D)
    # 2. Score them.
    positive = np.matmul(hidden, context.mT)  # (g, b, S, M)
    positive += tiles.windows(bias[tiles.words]).mT
    negative = np.matmul(hidden, negatives.mT)  # (g, b, S, K)
    negative += bias[tiles.negatives[:, None]].mT
    loss = _loss(positive, weights, negative, negative_weights, measured)
    # 3. Turn scores into the slopes of the loss along them.
    _slopes(positive, 1.0, weights)
    _slopes(negative, 0.0, negative_weights)
    # 4. Write the gradients of the rows.
    hidden_gradient = inner_gradient.rows.reshape(hidden.shape)
    np.matmul(positive, context, out=hidden_gradient)
    _negatives_back(negative, hidden, negatives, hidden_gradient, outer_gradient.rows[size:])
    sum_by_word(positive, hidden, outer_gradient.rows[:size])
    # 5. Write their curvature: the squared length of each partner, times the pair's weight.
    lengths = square_lengths(hidden)  # (g, b, S)
    around = tiles.windows(square_lengths(words))  # (g, b, M)
    curvature = np.matmul(weights, around[..., None])[..., 0]  # (g, b, S)
    curvature += _negatives_length(negatives, tiles)
    inner_gradient.curvature[:] = curvature.reshape(-1)
    sum_by_word(weights, lengths[..., None], outer_gradient.curvature[:size, None])
    outer_gradient.curvature[size:] = _negatives_curvature(lengths, tiles)
    return loss


def _cbow_ids(tiles: Tiles) -> tuple[Array, Array]:
    return tiles.words, np.concatenate((tiles.centres, tiles.negatives.reshape(-1)))


def _cbow_scores(inner: Tensor, outer: Tensor, bias: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Score the weighted sum of the rows around each centre with it, (g, b, S), and the samples."""
    context = ops.gather(inner, tiles.windows(tiles.words))  # (g, b, M, D)
    hidden = tiles.context_weights @ context  # (g, b, S, D)
    asked = tiles.centres.reshape(tiles.negative_weights.shape)  # (g, b, S)
    centres = ops.gather(outer, asked)  # (g, b, S, D)
    negatives = ops.gather(outer, tiles.negatives[:, None])  # (g, 1, K, D)
    of_centres = ops.gather(bias, asked).sum(axis=3)  # (g, b, S)
    of_negatives = ops.gather(bias, tiles.negatives[:, None])  # (g, 1, K, 1)
    return (hidden * centres).sum(axis=3) + of_centres, hidden @ negatives.mT + of_negatives.mT


def _cbow_weights(tiles: Tiles) -> Array:
    """Weigh the centres 1, (g, b, S); those without words around them 0."""
    return (tiles.negative_weights > 0).astype(tiles.context_weights.dtype)


def _cbow_kernel(
    inner: Array,
    outer: Array,
    bias: Array,
    tiles: Tiles,
    inner_gradient: RowGrad,
    outer_gradient: RowGrad,
    measured: slice | None,
) -> float:
    weights, negative_weights = tiles.context_weights, tiles.negative_weights[..., None]
    positive_weights = _cbow_weights(tiles)  # (g, b, S)
    size = len(tiles.centres)
    # 1. Look up the rows, and sum those around each centre.
    hidden = np.matmul(weights, tiles.windows(np.take(inner, inner_gradient.ids, axis=0)))
    rows = np.take(outer, outer_gradient.ids, axis=0)  # (n + g·K, D)
    centres, negatives = rows[:size].reshape(hidden.shape), _by_tile(rows[size:], tiles)
    # 2. Score them.
    negative = np.matmul(hidden, negatives.mT)  # (g, b, S, K)
    negative += bias[tiles.negatives[:, None]].mT
    positive = np.vecdot(hidden, centres)  # (g, b, S)
    positive += bias[tiles.centres].reshape(positive.shape)
    loss = _loss(positive, positive_weights, negative, negative_weights, measured)
    # 3. Turn scores into the slopes of the loss along them.
    _slopes(positive, 1.0, positive_weights)
    _slopes(negative, 0.0, negative_weights)
    # 4. Write the gradients of the rows.
    slopes = positive[..., None]
    hidden_gradient = slopes * centres  # (g, b, S, D)
    np.multiply(slopes, hidden, out=outer_gradient.rows[:size].reshape(hidden.shape))
    _negatives_back(negative, hidden, negatives, hidden_gradient, outer_gradient.rows[size:])
    sum_by_word(weights, hidden_gradient, inner_gradient.rows)
    # 5. Write their curvature.
    lengths = square_lengths(hidden)  # (g, b, S)
    curvature = positive_weights * square_lengths(centres)  # (g, b, S)
    curvature += _negatives_length(negatives, tiles)
    sum_by_word(weights * weights, curvature[..., None], inner_gradient.curvature[:, None])
    outer_gradient.curvature[:size] = (positive_weights * lengths).reshape(-1)
    outer_gradient.curvature[size:] = _negatives_curvature(lengths, tiles)
    return loss


# Centres, whose own rows are scored with the rows of the words around them.
# Mikolov et al. 2013, "Distributed representations of words and phrases", §2.
SKIP_GRAM = Objective(
    _skip_gram_ids, _skip_gram_scores, lambda tiles: tiles.context_weights, _skip_gram_kernel
)
# Words around a centre, the sum of whose rows is scored with the row of the centre.
# Mikolov et al. 2013, "Efficient estimation of word representations in vector space", §3.1.
CBOW = Objective(_cbow_ids, _cbow_scores, _cbow_weights, _cbow_kernel)


def _by_tile(rows: Array, tiles: Tiles) -> Array:
    """View the rows of negative samples (g·K, D) as (g, 1, K, D)."""
    return rows.reshape(len(tiles.negatives), 1, -1, rows.shape[1])


def _loss(
    positive: Array,
    positive_weights: Array,
    negative: Array,
    negative_weights: Array,
    measured: slice | None,
) -> float:
    """Return the loss of the scores of some tiles; 0 for none."""
    if measured is None:
        return 0.0
    ones, _ = ops.sigmoid_losses(positive[measured], 1.0)
    zeros, _ = ops.sigmoid_losses(negative[measured], 0.0)
    ones *= positive_weights[measured]
    zeros *= negative_weights[measured]
    return float(ones.sum() + zeros.sum())


def _slopes(scores: Array, label: float, weights: Array) -> None:
    """Replace scores by the slopes of the loss along them."""
    scores *= 0.5
    np.tanh(scores, out=scores)
    ops.sigmoid_slopes(scores, label, weights)


def _negatives_back(
    slopes: Array, hidden: Array, negatives: Array, hidden_gradient: Array, rows: Array
) -> None:
    """Add to the gradient of the hidden vectors; write that of the samples, (g·K, D)."""
    tiles, _, size, dim = negatives.shape
    hidden_gradient += np.matmul(slopes, negatives)
    by_tile = slopes.reshape(tiles, -1, size)  # (g, b·S, K)
    np.matmul(by_tile.mT, hidden.reshape(tiles, -1, dim), out=rows.reshape(tiles, size, dim))


def _negatives_length(negatives: Array, tiles: Tiles) -> Array:
    """Return the weighted squared lengths of each centre's samples, (g, b, S)."""
    lengths = square_lengths(negatives).sum(2, keepdims=True)  # (g, 1, 1)
    return np.asarray(tiles.negative_weights * lengths)


def _negatives_curvature(lengths: Array, tiles: Tiles) -> Array:
    """Return the curvature of the samples' rows, (g·K,), given the hidden vectors' lengths."""
    of_tile = (tiles.negative_weights * lengths).sum((1, 2))  # (g,)
    return np.repeat(of_tile, tiles.negatives.shape[1])


def square_lengths(rows: Array) -> Array:
    """Return the squared length of each row: (..., D) gives (...)."""
    return np.asarray(np.vecdot(rows, rows))


def sum_by_word(weights: Array, vectors: Array, out: Array) -> None:
    """Write for each word the weighted sum of the vectors of the centres around it: (n + 2w, D).

    For weights (g, b, S, M) and vectors (g, b, S, D) this is the transpose of `weights @
    windows(rows)`. It goes by bands of words, not of centres, so that each row is written once.
    """
    band, around = weights.shape[2:]
    vectors = vectors.reshape(-1, vectors.shape[3])  # (n, D)
    turned = _weights_by_word(weights, -(-len(out) // band))  # (t, S, M)
    first = band - around  # centre beside the first band of words, 2w before its first word
    start = -(first // band)  # from here to `stop` bands have centres all around
    stop = max(len(vectors) // band, start)
    if start < stop:
        onto = out[start * band : stop * band].reshape(stop - start, band, -1)
        shape = (len(onto), around, vectors.shape[1])
        strides = (band * vectors.strides[0], *vectors.strides)
        np.matmul(
            turned[start:stop],
            as_strided(vectors[start * band + first :], shape, strides),
            out=onto,
        )
    for number in (*range(start), *range(stop, len(turned))):
        onto = out[number * band : (number + 1) * band]
        skipped = max(-(number * band + first), 0)
        beside = vectors[number * band + first + skipped : number * band + first + around]
        columns = slice(skipped, skipped + len(beside))
        np.matmul(turned[number, : len(onto), columns], beside, out=onto)


def _weights_by_word(weights: Array, bands: int) -> Array:
    """Turn the weights of words around centres (g, b, S, M) into those of centres around words.

    Centre m of a band of words is 2w - m positions before its first word: (bands, S, M).
    """
    band, around = weights.shape[2:]
    wide = around - band + 1  # 2w + 1 words around a centre
    turned = np.zeros((bands, band, around), weights.dtype)
    line = np.zeros((bands * band + wide - 1, wide), weights.dtype)  # centres, after 2w of none
    row, number = line.strides
    of_band, of_row, _ = turned.strides
    count = weights.shape[0] * weights.shape[1]
    by_centre = as_strided(weights, (count, band, wide), (of_band, of_row + number, number))
    line[wide - 1 : wide - 1 + count * band] = by_centre.reshape(-1, wide)
    by_word = as_strided(line[0, wide - 1 :], (bands, band, wide), (band * row, row, row - number))
    as_strided(turned, by_word.shape, (of_band, of_row + number, number))[...] = by_word
    return turned
