"""What GloVe and SVD share: a corpus as the counts of its pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TrainSettings, bytes_of
from embedcli.counting import Cells, count_cells
from embedcli.parallel import resolve_workers
from embedcli.tasks.task import Task
from embedcli.tasks.words import no_pairs
from embedcli.text.encode import EncodedCorpus
from embedcli.text.vocabulary import Vocabulary


class Counts(NamedTuple):
    """A corpus as the cells of a symmetric matrix of counts, in parts."""

    vocabulary: Vocabulary
    parts: Sequence[Cells]
    tokens: int
    ids: NDArray[np.int32]  # (N,) of the corpus
    folder: Path  # for what is made of the counts

    @property
    def cells(self) -> int:
        """The number of cells that are not 0."""
        return sum(len(part.rows) for part in self.parts)


class CountTask(Task):
    """A task whose examples are not places of a text but the cells of its matrix of counts."""

    @classmethod
    def source(
        cls,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> Counts:
        """Count the pairs of a corpus; raises CorpusError where there are none."""
        parts = count_cells(
            corpus,
            settings.window,
            settings.weighting,
            folder=folder,
            workers=resolve_workers(settings.workers),
            memory=bytes_of(settings.memory),
            progress=progress,
        )
        found = Counts(corpus.vocabulary, parts, len(corpus.ids), corpus.ids, folder)
        if not found.cells:
            raise no_pairs(corpus)
        return found
