"""SVD: the closest table of D numbers a word to the matrix of positive PMI, without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.parallel import resolve_workers
from embedcli.pmi import PMI, truncated_svd
from embedcli.tasks.counts import Counts, CountTask
from embedcli.tasks.task import Arrays, Shapes
from embedcli.text.encode import EncodedCorpus


class SVD(CountTask):
    """The task: U Σᵖ of the truncated singular value decomposition of the shifted positive PMI.

    The product of "table" and "output" is the matrix of rank D that is closest to it; both are
    computed when the task is made (Levy, Goldberg & Dagan 2015, "Improving distributional
    similarity with lessons learned from word embeddings", §3 and §7).
    """

    solved = True
    update_refusal = "svd computes its table from the counts of a whole text at once"

    def _start(self, corpus: Counts, valid: EncodedCorpus | None, weights: Arrays | None) -> Arrays:
        settings, size = self.settings, len(corpus.vocabulary)
        self.batches, self.most_rows = 0, {"table": 0}
        if weights is not None:
            return weights
        if settings.dim > size:
            raise ConfigError(
                f"dim: found {settings.dim}; expected at most {size}, the number of words, "
                "with task svd",
                f"--dim {min(size, 100)}",
            )
        with threadpool_limits(1, user_api="blas"):
            matrix = PMI(
                corpus.parts,
                size,
                context_power=settings.context_power,
                shift=settings.shift,
                workers=resolve_workers(settings.workers),
            )
            left, values, right = truncated_svd(matrix, settings.dim, settings.seed)
        power = settings.singular_power
        return {
            "table": (left * values**power).astype(np.float32),
            "output": (right * values ** (1 - power)).astype(np.float32),
        }

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shape of the table of context words."""
        return {"output": (words, settings.dim)}
