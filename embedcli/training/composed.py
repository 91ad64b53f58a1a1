"""The vectors that a group of batches looks up, composed before it and trained after it.

The words and their summed gradients lie in memory that all workers share: each composes some of the
words, and changes some of the rows of parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedcli.autodiff.rows import RowGrad, put_rows, sum_keyed_rows
from embedcli.autodiff.tensor import Array
from embedcli.config import OWN_RATE
from embedcli.nn.composition import WORDS_AT_ONCE, Composition
from embedcli.nn.optimizers import Optimizer
from embedcli.parallel import shared_array


class ComposedWords:
    """The words of a group, in ascending order, of which there are at most `most`.

    `table` (V, D) receives the vectors that are composed of `parts` (R, D); both are shared. The
    work comes in a number of `shares`; the optimizer says how parts take a word's gradient.
    """

    def __init__(
        self,
        composition: Composition,
        table: Array,
        parts: Array,
        most: int,
        shares: int,
        optimizer: Optimizer,
    ) -> None:
        self._composition, self._table, self._parts = composition, table, parts
        self._optimizer = optimizer
        self.shares = shares
        self._rates = composition.sizes.copy()  # (R,)
        self._rates[: len(table)] *= OWN_RATE
        self._trained = [composition.share(number, shares) for number in range(shares)]
        self._size = shared_array((1,), np.int64)
        self._words = shared_array((most,), np.int64)
        self._gradient = shared_array((most, table.shape[1]), table.dtype)
        self._curvature = shared_array((most,), np.float32)

    @property
    def words(self) -> Array:
        """The words of the group, (U,)."""
        return self._words[: self._size[0]]

    def begin(self, words: Array) -> None:
        """Take the words of a new group, none of which has a gradient yet."""
        self._size[0] = len(words)
        self._words[: len(words)] = words
        self._curvature[: len(words)] = 0

    def share(self, number: int) -> Array:
        """Return a share of the words, (n,)."""
        return self.words[number :: self.shares]

    def compose(self, words: Array) -> None:
        """Write the vectors of words (n,) to the table."""
        for start in range(0, len(words), WORDS_AT_ONCE):
            some = words[start : start + WORDS_AT_ONCE]
            put_rows(self._table, some, self._composition.compose(self._parts, some))

    def take(self, gradient: RowGrad) -> None:
        """Take the summed gradient of some words."""
        places = np.searchsorted(self.words, gradient.ids)
        put_rows(self._gradient, places, gradient.rows)
        self._curvature[places] = gradient.curvature

    def gradients(self, share: int) -> Iterator[RowGrad]:
        """Yield the gradient of a share of the parts, some rows at a time.

        Each part gets the whole gradient of a word, as in fastText (`Model::update`), not its share
        of a mean: so a word learns at the same rate however many parts it has. Own rows take
        `OWN_RATE` of it. The curvature of a part is that of all words it is a part of.
        """
        curvature = self._curvature[: self._size[0]]
        places = np.flatnonzero(curvature)  # (U,)
        if not len(places):
            return
        trained = (curvature > 0).astype(self._gradient.dtype)
        mean = (trained @ self._gradient[: len(curvature)]) / curvature.sum()  # (D,)
        starts, rows = self._trained[share].entries(self.words[places])
        keys = rows << 32  # (N,)
        keys |= np.repeat(places, np.diff(starts, append=len(rows)))
        keys.sort()
        for gradient in sum_keyed_rows(keys, self._gradient, self._curvature, self._parts.shape):
            of_parts = self._optimizer.for_parts(gradient, mean)
            of_parts.rows *= self._rates[gradient.ids, None]
            yield of_parts
