"""The table of a model as it was before training, drawn again from what the model keeps of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedcli.config import TrainSettings, schema
from embedcli.model import Model
from embedcli.nn.initializers import BLOCK, initial_rows
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.tasks.words import initial_parts

_INITIAL_ROWS = 16 * BLOCK  # drawn at a time


class InitialTable(EmbeddingTable):
    """The table before training; its rows are drawn when they are needed."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.table.vocabulary, model.table.vectors)
        self._start = model.start
        self._tables = min(int(model.start.get("tables", 1)), 2)  # whose sum was saved
        words = model.table.vocabulary
        self._composition = TASKS[model.settings.task].composed_of(words, model.settings)
        if self._composition is not None:
            self._parts = initial_parts(model.settings, self._composition.sizes)

    def draw(self, rows: range) -> NDArray[np.float32]:
        """Return the rows of a range, (N, D)."""
        if self._composition is not None:
            return np.asarray(self._composition.compose(self._parts, np.array(rows)))
        of = self._start
        drawn = initial_rows(of["init"], of["seed"], rows, self.dim, of["scale"])
        for stream in range(1, self._tables):
            drawn += initial_rows(
                of["init"], of["seed"], rows, self.dim, of["scale"], stream=stream
            )
        return drawn

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the rows of ids, (N, D); each block that holds one of them is drawn once."""
        wanted = np.asarray(ids, np.int64)  # (N,)
        found = np.empty((len(wanted), self.dim), np.float32)  # (N, D)
        for block in np.unique(wanted // BLOCK).tolist():
            inside = wanted // BLOCK == block  # (N,)
            last = min((block + 1) * BLOCK, len(self))
            found[inside] = self.draw(range(block * BLOCK, last))[wanted[inside] % BLOCK]
        return found

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the table in blocks of rows."""
        del size
        for start in range(0, len(self), _INITIAL_ROWS):
            yield start, self.draw(range(start, min(start + _INITIAL_ROWS, len(self))))


def initial_table(model: Model) -> InitialTable | None:
    """Return the table before training, or None where it cannot be drawn again."""
    known = {"init", "seed", "scale"} <= model.start.keys()
    updated = model.parts is not None and model.settings.update is not None
    if not known or "vectors" in model.start or updated:
        return None
    specs = schema(TrainSettings)
    for name, key in (("init", "init"), ("seed", "seed"), ("init_scale", "scale")):
        specs[name].check(model.start[key])
    return InitialTable(model)
