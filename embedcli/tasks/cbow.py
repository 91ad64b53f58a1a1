"""Continuous bag of words with negative sampling: telling a word by those around it."""

from __future__ import annotations

import numpy as np

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array
from embedcli.tasks.words import Scores, Tiles, WordTask, square_norms


class CBOW(WordTask):
    """The task: tell the word in the middle, given the mean of those around it, from random ones.

    Mikolov et al. 2013, "Efficient estimation of word representations in vector space", §3.1. The
    gradient of the mean is shared among its words, which word2vec.c and gensim leave out (İrsoy et
    al. 2021, "Corrected CBOW performs as well as skip-gram"). Noise words as in skip-gram.
    """

    def scores(self, batch: Tiles) -> Scores:
        """Put on the tape what each centre, and noise words, score with the mean around it."""
        groups, noise_size = batch.noise.shape
        weight = self.settings.negatives / noise_size
        pairs = batch.pairs  # (N,)
        counted = (pairs > 0).astype(np.float32)  # (N,)
        share = counted / np.maximum(pairs, 1)  # (N,)
        tiles, band, _ = batch.near.shape
        dim = self.settings.dim
        met = [
            np.empty(ids.shape, np.float32) for ids in (batch.contexts, batch.centres, batch.noise)
        ]
        contexts = ops.gather(self.parameters["table"], batch.contexts, met[0])
        targets = ops.gather(self.parameters["output"], batch.centres, met[1])  # (N, D)
        noise = ops.gather(self.parameters["output"], batch.noise, met[2])  # (G, K, D)
        averaging = batch.near * share.reshape(tiles, band, 1)  # (T, S, S + 2·window)
        around = averaging @ ops.windows(contexts, band, batch.window)  # (T, S, D)
        means = around.reshape(-1, dim)  # (N, D)
        near = ops.row_dots(means, targets)  # (N,)
        far = ops.matmul_transposed(means.reshape(groups, -1, dim), noise)  # (G, N / G, K)
        far_weights = (counted * weight).reshape(groups, -1, 1)  # (G, N / G, 1)
        self._measure(batch, [x.data for x in (means, targets, noise)], counted, share, met)
        return Scores(near, counted, far, far_weights, float(counted.sum()))

    def _measure(
        self,
        batch: Tiles,
        rows: list[Array],
        counted: Array,
        share: Array,
        met: list[Array],
    ) -> None:
        """Sum for each row the squared lengths of what it is paired with, weighted."""
        weight = self.settings.negatives / batch.noise.shape[1]
        means, targets, noise = (square_norms(each) for each in rows)
        means *= counted
        scored = targets.reshape(len(noise), -1) + weight * noise.sum(1)[:, None]  # (G, N / G)
        met[0][:] = batch.over_centres(scored.reshape(-1) * share * share)
        met[1][:] = means
        met[2][:] = weight * means.reshape(len(noise), -1).sum(1)[:, None]
