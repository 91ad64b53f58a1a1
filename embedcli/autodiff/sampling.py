"""The losses of skip-gram and CBOW with negative sampling, each one primitive.

Words that follow each other are scored at once with all that stand around them, and with noise
words that they share: a few products of small matrices, some of whose numbers weigh nothing. With a
primitive an operation, the rows of a batch, which no core's cache holds, would go through memory
some twenty times. Here a piece of the batch goes all the way from its look-ups to its gradients
before the next is taken up; so these are there as soon as the loss is.

Axes: g tiles of b bands of S centres, n = g·b·S of them; M = S + 2w words around a band; K noise
words a tile; D numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import as_strided

from embedcli.autodiff import ops
from embedcli.autodiff.rows import RowGrad, rows_for
from embedcli.autodiff.tensor import PRIMITIVES, Array, Primitive, Tensor, apply

PIECE = 250_000  # numbers of a piece's hidden vectors; with all that belongs to them, some 3 MB


class Tiles(NamedTuple):
    """Centres that follow each other, the words around them, and noise words.

    `near` weighs the words around each centre: number j of a centre in the i-th of all bands is
    `words[i·S + j]`, so that 0 stands w places before the first centre of the band. It is 0 for
    words more than w places away.
    """

    words: Array  # (n + 2w,) ids of the centres, and of w words on either side
    near: Array  # (g, b, S, M)
    noise: Array  # (g, K) ids
    noise_weights: Array  # (g, b, S), of each noise word beside a centre

    @property
    def halo(self) -> int:
        """Words on either side, w."""
        band, around = self.near.shape[2:]
        return int(around - band) // 2

    @property
    def centres(self) -> Array:
        """Ids of the centres, (n,)."""
        return self.words[self.halo : len(self.words) - self.halo]

    def pieces(self, dim: int) -> Iterator[Tiles]:
        """Cut into pieces of about as many tiles each."""
        tiles, bands, band = self.noise_weights.shape
        centres = bands * band  # of a tile
        count = pieces_of(tiles, centres, dim)
        for first, last in pairwise(tiles * number // count for number in range(count + 1)):
            yield Tiles(
                self.words[first * centres : last * centres + 2 * self.halo],
                self.near[first:last],
                self.noise[first:last],
                self.noise_weights[first:last],
            )


def pieces_of(tiles: int, centres: int, dim: int) -> int:
    """Return how many pieces so many tiles, of so many centres each, are cut into."""
    at_once = max(PIECE // (centres * dim), 1)  # tiles
    return -(-tiles // at_once)


def sampled_loss(
    kind: type[Piece], table: Tensor, output: Tensor, tiles: Tiles, *, every: int = 1
) -> Tensor:
    """Return Σ -log σ(h·c) over each centre and its right words, with noise: one number.

    h is the centre's hidden vector and c a right word's, as `kind` says; a noise word n adds
    -log σ(-h·n). All weigh as the tiles say (Mikolov et al. 2013, "Distributed representations of
    words and phrases", §2.2). `table` and `output` are (V, D). With `every` the number is an
    estimate from every so many tiles, which takes less time; the gradient is always that of the
    whole sum. Gradients are RowGrads: a row met the squared length of each row that it is scored
    with, times what the pair weighs.
    """
    return apply(kind.primitive, table, output, tiles=tiles, every=every)


class Piece:
    """Some tiles, with the scores of what they look up: right words, and noise words (far)."""

    primitive: ClassVar[str]
    hidden: Array  # (g, b, S, D)
    noise: Array  # (g, 1, K, D)
    right: Array  # (g, b, ...)
    right_weights: Array  # of the same shape
    far: Array  # (g, b, S, K)
    far_weights: Array  # (g, b, S, 1)

    def __init__(self, tiles: Tiles, hidden: Array, noise: Array) -> None:
        self.tiles = tiles
        self.hidden = hidden.reshape(*tiles.noise_weights.shape, -1)
        self.noise = noise.reshape(len(tiles.noise), 1, -1, noise.shape[1])
        self.far = np.matmul(self.hidden, self.noise.mT)
        self.far_weights = tiles.noise_weights[..., None]

    @classmethod
    def of(cls, table: Array, output: Array, tiles: Tiles) -> Self:
        """Look up the rows of tiles, and score them."""
        inner, outer = cls.ids(tiles)
        return cls(tiles, np.take(table, inner, axis=0), np.take(output, outer, axis=0))

    @staticmethod
    def ids(tiles: Tiles) -> tuple[Array, Array]:
        """Return the ids of the rows that tiles look up, in the table and in the output."""
        raise NotImplementedError

    def back(self, table: Array, output: Array) -> None:
        """Write the gradients of the rows, (N, D) each; uses the scores up."""
        raise NotImplementedError

    def meet(self, table: Array, output: Array) -> None:
        """Write what the rows met, (N,) each."""
        raise NotImplementedError

    def loss(self, tiles: slice) -> float:
        """Return the loss of some of the tiles."""
        loss = PRIMITIVES["sigmoid_cross_entropy"].forward
        right, _ = loss(self.right[tiles], 1.0, self.right_weights[tiles])
        noise, _ = loss(self.far[tiles], 0.0, self.far_weights[tiles])
        return float(right + noise)

    def _errors(self) -> tuple[Array, Array]:
        """Turn the scores of right words and of noise into the slopes of the loss along them."""
        for scores, label, weights in (
            (self.right, 1.0, self.right_weights),
            (self.far, 0.0, self.far_weights),
        ):
            scores *= 0.5
            np.tanh(scores, out=scores)
            ops.sigmoid_errors(scores, label, weights)
        return self.right, self.far

    def _from_noise(self, errors: Array, hidden: Array, noise: Array) -> None:
        """Add to the gradient of the hidden vectors; write that of the noise words, (g·K, D)."""
        tiles, _, size, dim = self.noise.shape
        hidden += np.matmul(errors, self.noise)
        of_tile = self.hidden.reshape(tiles, -1, dim)  # (g, b·S, D)
        errors = errors.reshape(tiles, -1, size)  # (g, b·S, K)
        np.matmul(errors.mT, of_tile, out=noise.reshape(tiles, size, dim))

    def _met_of_noise(self) -> Array:
        """Return what the hidden vectors meet of noise words, (g, b, S)."""
        lengths = square_lengths(self.noise).sum(2, keepdims=True)  # (g, 1, 1)
        return np.asarray(self.tiles.noise_weights * lengths)

    def _met_by_noise(self, lengths: Array) -> Array:
        """Return what the noise words meet, given the hidden vectors' squared lengths: (g·K,)."""
        met = (self.tiles.noise_weights * lengths).sum((1, 2))  # (g,)
        return np.repeat(met, self.noise.shape[2])


class SkipGramPiece(Piece):
    """Centres, their own rows being the hidden vectors; right are the words around.

    Mikolov et al. 2013, "Distributed representations of words and phrases", §2.
    """

    primitive = "skip_gram_loss"

    def __init__(self, tiles: Tiles, table: Array, output: Array) -> None:
        size = len(tiles.words)
        self.around = output[:size]  # (n + 2w, D)
        super().__init__(tiles, table, output[size:])
        self.windows = overlapping(self.around, tiles)  # (g, b, M, D)
        self.right = np.matmul(self.hidden, self.windows.mT)  # (g, b, S, M)
        self.right_weights = tiles.near

    @staticmethod
    def ids(tiles: Tiles) -> tuple[Array, Array]:
        """Return the ids of the rows that tiles look up, (n,) and (n + 2w + g·K,)."""
        return tiles.centres, np.concatenate((tiles.words, tiles.noise.reshape(-1)))

    def back(self, table: Array, output: Array) -> None:
        """Write the gradients of the rows."""
        size = len(self.around)
        right, far = self._errors()
        hidden = table.reshape(self.hidden.shape)
        np.matmul(right, self.windows, out=hidden)
        self._from_noise(far, hidden, output[size:])
        onto_words(right, self.hidden, output[:size])

    def meet(self, table: Array, output: Array) -> None:
        """Write what the rows met."""
        size, near = len(self.around), self.tiles.near
        lengths = square_lengths(self.hidden)  # (g, b, S)
        around = overlapping(square_lengths(self.around), self.tiles)  # (g, b, M)
        met = np.matmul(near, around[..., None])[..., 0]  # (g, b, S)
        met += self._met_of_noise()
        table[:] = met.reshape(-1)
        onto_words(near, lengths[..., None], output[:size, None])
        output[size:] = self._met_by_noise(lengths)


class CBOWPiece(Piece):
    """Centres, the rows around them added up being the hidden vectors; right is the centre.

    Mikolov et al. 2013, "Efficient estimation of word representations in vector space", §3.1. A
    centre whose noise words weigh nothing is left out.
    """

    primitive = "cbow_loss"

    def __init__(self, tiles: Tiles, table: Array, output: Array) -> None:
        size = len(tiles.centres)
        hidden = np.matmul(tiles.near, overlapping(table, tiles))  # (g, b, S, D)
        super().__init__(tiles, hidden.reshape(size, -1), output[size:])
        self.centres = output[:size].reshape(self.hidden.shape)
        self.right = np.vecdot(self.hidden, self.centres)  # (g, b, S)
        self.right_weights = (tiles.noise_weights > 0).astype(table.dtype)

    @staticmethod
    def ids(tiles: Tiles) -> tuple[Array, Array]:
        """Return the ids of the rows that tiles look up, (n + 2w,) and (n + g·K,)."""
        return tiles.words, np.concatenate((tiles.centres, tiles.noise.reshape(-1)))

    def back(self, table: Array, output: Array) -> None:
        """Write the gradients of the rows."""
        size, near = self.right.size, self.tiles.near
        right, far = self._errors()
        right = right[..., None]
        hidden = right * self.centres  # (g, b, S, D)
        np.multiply(right, self.hidden, out=output[:size].reshape(hidden.shape))
        self._from_noise(far, hidden, output[size:])
        onto_words(near, hidden, table)

    def meet(self, table: Array, output: Array) -> None:
        """Write what the rows met."""
        size, near = self.right.size, self.tiles.near
        lengths = square_lengths(self.hidden)  # (g, b, S)
        met = self.right_weights * square_lengths(self.centres)  # (g, b, S)
        met += self._met_of_noise()
        onto_words(near * near, met[..., None], table[:, None])
        output[:size] = (self.right_weights * lengths).reshape(-1)
        output[size:] = self._met_by_noise(lengths)


def overlapping(rows: Array, tiles: Tiles) -> Array:
    """Cut rows of words (n + 2w, ...) into those around each band, a view: (g, b, M, ...)."""
    count, bands, band, around = tiles.near.shape
    step = band * rows.strides[0]
    shape, strides = (count, bands, around, *rows.shape[1:]), (bands * step, step, *rows.strides)
    return as_strided(rows, shape, strides, writeable=False)


def onto_words(weights: Array, vectors: Array, rows: Array) -> None:
    """Write for each word the sum of the vectors of the centres beside it, weighed: (n + 2w, D).

    For weights (g, b, S, M) and vectors (g, b, S, D) this is the way back of `weights @
    overlapping(rows)`. It goes by bands of words, not of centres, so that a row is written once.
    """
    band, around = weights.shape[2:]
    vectors = vectors.reshape(-1, vectors.shape[3])  # (n, D)
    turned = _beside_words(weights, -(-len(rows) // band))  # (t, S, M)
    first = band - around  # centre beside the first band, 2w places before it
    start = -(first // band)  # from here to `stop` bands have centres all around
    stop = max(len(vectors) // band, start)
    if start < stop:
        onto = rows[start * band : stop * band].reshape(stop - start, band, -1)
        shape = (len(onto), around, vectors.shape[1])
        strides = (band * vectors.strides[0], *vectors.strides)
        np.matmul(
            turned[start:stop],
            as_strided(vectors[start * band + first :], shape, strides),
            out=onto,
        )
    for number in (*range(start), *range(stop, len(turned))):
        onto = rows[number * band : (number + 1) * band]
        skipped = max(-(number * band + first), 0)
        beside = vectors[number * band + first + skipped : number * band + first + around]
        columns = slice(skipped, skipped + len(beside))
        np.matmul(turned[number, : len(onto), columns], beside, out=onto)


def _beside_words(weights: Array, bands: int) -> Array:
    """Turn the weights of words beside centres (g, b, S, M) into those of centres beside words.

    Centre m of a band of words stands 2w - m places before its first word: (bands, S, M).
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


def square_lengths(rows: Array) -> Array:
    """Return the squared length of each row: (..., D) gives (...)."""
    return np.asarray(np.vecdot(rows, rows))


class _GradientInParts:
    """The gradient of a table, of which each piece makes a part."""

    def __init__(self, table: Array, ids: Sequence[Array]) -> None:
        self.ids = np.concatenate(ids)  # (N,)
        self.rows = rows_for(table, len(self.ids))  # (N, D)
        self.met = np.empty(len(self.ids), table.dtype)
        self.ends = np.cumsum([len(each) for each in ids]).tolist()

    def parts(self) -> Iterator[tuple[Array, Array]]:
        for first, last in pairwise([0, *self.ends]):
            yield self.rows[first:last], self.met[first:last]


def _forward(
    table: Array, output: Array, tiles: Tiles, every: int, *, kind: type[Piece]
) -> tuple[Any, list[RowGrad]]:
    pieces = list(tiles.pieces(table.shape[1]))
    inner, outer = zip(*map(kind.ids, pieces), strict=True)
    gradients = _GradientInParts(table, inner), _GradientInParts(output, outer)
    total, done = 0.0, 0
    parts = zip(*(each.parts() for each in gradients), strict=True)
    for piece, (of_table, of_output) in zip(pieces, parts, strict=True):
        scored = kind.of(table, output, piece)
        if (first := -done % every) < len(piece.noise):
            total += scored.loss(slice(first, None, every))
        rows, met = zip(of_table, of_output, strict=True)
        scored.back(*rows)
        scored.meet(*met)
        done += len(piece.noise)
    share = done / len(range(0, done, every))
    made = [
        RowGrad(each.ids, each.rows, weights.shape, each.met)
        for each, weights in zip(gradients, (table, output), strict=True)
    ]
    return table.dtype.type(total * share), made


def _back(gradient: Array, made: list[RowGrad], index: int) -> RowGrad:
    return made[index] if gradient == 1 else made[index].scaled(float(gradient))


for _kind in (SkipGramPiece, CBOWPiece):
    PRIMITIVES[_kind.primitive] = Primitive(partial(_forward, kind=_kind), _back)
