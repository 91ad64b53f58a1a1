"""Texts as ids, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.text.spool import take_lines

_TEXTS_AT_ONCE = 256  # when a network is applied without training


@dataclass(frozen=True)
class Texts:
    """Texts as ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]].

    `composed` (E, D) are the vectors of words outside the vocabulary, whose ids are V+1 to V+E.
    """

    ids: NDArray[Any]
    offsets: NDArray[Any]
    composed: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words of each text, (B,)."""
        return np.diff(self.offsets)

    def take(self, indices: NDArray[Any]) -> Texts:
        """Copy some of the texts, in the order of their indices."""
        return Texts(*take_lines(self.ids, self.offsets, indices), self.composed)

    def cut(self, length: int | None, side: str = "right") -> Texts:
        """Cut each text to at most `length` words, removing them on the given side.

        >>> cut = Texts(np.array([1, 2, 3, 4]), np.array([0, 3, 4])).cut(2, side="left")
        >>> cut.ids, cut.offsets
        (array([2, 3, 4]), array([0, 2, 3]))
        """
        if length is None:
            return self
        lengths = np.minimum(self.lengths, length)  # (B,)
        kept = np.concatenate([[0], np.cumsum(lengths)])  # (B+1,)
        firsts = self.offsets[:-1] if side == "right" else self.offsets[1:] - lengths  # (B,)
        places = np.repeat(firsts - kept[:-1], lengths) + np.arange(kept[-1])  # (N,)
        return Texts(self.ids[places], kept, self.composed)

    def parts(self, size: int = _TEXTS_AT_ONCE) -> Iterator[Texts]:
        """Yield the texts, `size` at a time."""
        for start in range(0, len(self), size):
            offsets = self.offsets[start : start + size + 1]
            yield Texts(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
