"""Texts as ids, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedcli.autodiff.tensor import Array
from embedcli.text.spool import take_lines

_TEXTS_AT_ONCE = 256  # when a network is applied without training


@dataclass(frozen=True)
class Texts:
    """Texts as ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]].

    `composed` (E, D) are the vectors of words outside the vocabulary, whose ids are V+1 to V+E.
    """

    ids: Array
    offsets: Array
    composed: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words of each text, (B,)."""
        return np.diff(self.offsets)

    def take(self, indices: Array) -> Texts:
        """Copy some of the texts, in the order of their indices."""
        return Texts(*take_lines(self.ids, self.offsets, indices), self.composed)

    def parts(self, size: int = _TEXTS_AT_ONCE) -> Iterator[Texts]:
        """Yield the texts, `size` at a time."""
        for start in range(0, len(self), size):
            offsets = self.offsets[start : start + size + 1]
            yield Texts(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
