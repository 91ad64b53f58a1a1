"""Continuous bag of words with negative sampling: telling a word by those around it."""

from __future__ import annotations

import numpy as np

from embedcli.autodiff.sampling import CBOWPiece, Tiles
from embedcli.tasks.words import WordTask


class CBOW(WordTask):
    """The task: tell the word in the middle, given the mean of those around it, from random ones.

    Mikolov et al. 2013, "Efficient estimation of word representations in vector space", §3.1. The
    gradient of the mean is shared among its words, which word2vec.c and gensim leave out (İrsoy et
    al. 2021, "Corrected CBOW performs as well as skip-gram"). Noise words as in skip-gram.
    """

    kind = CBOWPiece

    def weighed(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the centres that have words around them, and weigh these and the noise words."""
        pairs = tiles.noise_weights  # (g, b, S)
        asked = (pairs > 0).astype(pairs.dtype)
        near = tiles.near * (asked / np.maximum(pairs, 1))[..., None]  # (g, b, S, M)
        weight = self.settings.negatives / tiles.noise.shape[1]
        return float(asked.sum()), tiles._replace(near=near, noise_weights=asked * weight)
