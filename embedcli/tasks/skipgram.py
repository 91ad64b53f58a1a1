"""Skip-gram with negative sampling: telling the words around a word from others."""

from __future__ import annotations

import numpy as np

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array
from embedcli.tasks.words import Scores, Tiles, WordTask, square_norms


class SkipGram(WordTask):
    """The task: tell the words around a word from words drawn at random.

    Mikolov et al. 2013, "Distributed representations of words and phrases", §2.2-2.3. Where they
    draw `negatives` noise words for each pair, the K noise words here are shared by the centres of
    a tile, and each weighs negatives / K of a pair: the same loss in expectation.
    """

    def scores(self, batch: Tiles) -> Scores:
        """Put on the tape what contexts and noise words score with each centre."""
        groups, noise_size = batch.noise.shape
        weight = self.settings.negatives / noise_size
        pairs = batch.pairs.reshape(groups, -1)  # (G, N / G)
        met = [
            np.empty(ids.shape, np.float32) for ids in (batch.centres, batch.contexts, batch.noise)
        ]
        centres = ops.gather(self.parameters["table"], batch.centres, met[0])  # (N, D)
        contexts = ops.gather(self.parameters["output"], batch.contexts, met[1])
        noise = ops.gather(self.parameters["output"], batch.noise, met[2])  # (G, K, D)
        self._measure(batch, [x.data for x in (centres, contexts, noise)], met)
        tiles, band, _ = batch.near.shape
        dim = self.settings.dim
        near = ops.matmul_transposed(
            centres.reshape(tiles, band, dim), ops.windows(contexts, band, batch.window)
        )  # (T, S, S + 2·window)
        far = ops.matmul_transposed(centres.reshape(groups, -1, dim), noise)  # (G, N / G, K)
        far_weights = (pairs * weight)[:, :, None]  # (G, N / G, 1)
        return Scores(near, batch.near, far, far_weights, float(pairs.sum()))

    def _measure(self, batch: Tiles, rows: list[Array], met: list[Array]) -> None:
        """Sum for each row the squared lengths of the rows it is paired with, weighted."""
        weight = self.settings.negatives / batch.noise.shape[1]
        centres, contexts, noise = (square_norms(each) for each in rows)
        pairs = batch.pairs.reshape(len(noise), -1)  # (G, N / G)
        met[0][:] = batch.over_contexts(contexts)
        met[0] += (pairs * (weight * noise.sum(1))[:, None]).reshape(-1)
        met[1][:] = batch.over_centres(centres)
        met[2][:] = weight * (pairs * centres.reshape(pairs.shape)).sum(1)[:, None]
