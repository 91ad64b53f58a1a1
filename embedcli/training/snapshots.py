"""Snapshots of a training, for the film of a map: the rows of its most frequent words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedcli.model import SNAPSHOT_WORDS
from embedcli.text.vocabulary import Vocabulary

_LARGEST = float(np.finfo(np.float16).max)


def snapshot_steps(number: int, total: int) -> NDArray[np.int64]:
    """Return the steps of a run of `total` before which a snapshot is taken, (S,).

    The first is 0. The k-th is total · (k / number)², as a table changes most at first; a short run
    has fewer. The end is not among them: it is the table itself.
    """
    # Not by np.unique, which imports numpy.ma in 5 ms.
    steps = {int(total * (each / number) ** 2) for each in range(number)}
    return np.array(sorted(steps), np.int64)


class Snapshots:
    """Rows (S, W, D) float16 of the W most frequent words, taken at the steps of `snapshot_steps`.

    `rows` are those of the run that is resumed.
    """

    def __init__(
        self,
        number: int,
        total: int,
        vocabulary: Vocabulary,
        dim: int,
        rows: NDArray[np.float16] | None = None,
    ) -> None:
        self.steps = snapshot_steps(number, total)
        self.shares = (self.steps / max(total, 1)).astype(np.float32)  # (S,) of the steps
        counts = vocabulary.counts
        order = np.arange(len(vocabulary)) if counts is None else np.argsort(-counts, kind="stable")
        self._ids = order[:SNAPSHOT_WORDS]  # (W,)
        shape = (len(self.steps), len(self._ids), dim)
        self.rows = np.zeros(shape, np.float16)
        if rows is not None:
            self.rows[...] = rows

    def take(self, done: int, table: NDArray[np.float32]) -> None:
        """Keep the rows of a table (V, D), if one is due after `done` steps."""
        for place in np.flatnonzero(self.steps == done):
            self.rows[place] = np.clip(table[self._ids], -_LARGEST, _LARGEST)  # (W, D)

    def taken(self, done: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Return the rows that were taken in `done` steps, and the share of the run before each."""
        number = int(np.count_nonzero(self.steps <= done))
        return self.rows[:number], self.shares[:number]
