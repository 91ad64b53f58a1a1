"""Continuous bag of words with negative sampling: predict a word from those around it."""

from __future__ import annotations

import numpy as np

from embedcli.autodiff.tensor import Array
from embedcli.nn.sampling import CBOW as CBOW_OBJECTIVE
from embedcli.nn.sampling import Tiles
from embedcli.tasks.task import Example
from embedcli.tasks.words import WordBatch, WordTask


class CBOW(WordTask):
    """The task: tell the word in the middle, given the mean of those around it, from random ones.

    Mikolov et al. 2013, "Efficient estimation of word representations in vector space", §3.1. The
    gradient of the mean is shared among its words, which word2vec.c and gensim leave out (İrsoy et
    al. 2021, "Corrected CBOW performs as well as skip-gram"). Negative samples as in skip-gram.
    """

    objective = CBOW_OBJECTIVE
    answer_from = ("task.cbow", "task.draws")

    def weigh(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the centres that have words around them, and weigh these and the samples."""
        pairs = tiles.negative_weights  # (g, b, S)
        asked = (pairs > 0).astype(pairs.dtype)
        context = tiles.context_weights * (asked / np.maximum(pairs, 1))[..., None]  # (g, b, S, M)
        weight = self.settings.negatives / tiles.negatives.shape[1]
        weighed = tiles._replace(context_weights=context, negative_weights=asked * weight)
        return float(asked.sum()), weighed

    def examples(self, batch: WordBatch, words: int) -> tuple[Array, list[Example]]:
        """Ask at each position which word is there, given those around it."""
        positive, negative = self.scores(batch)
        tiles, weights = batch.tiles, self.objective.positive_weights(batch.tiles)
        asked = []
        for place in range(min(words, batch.tokens)):
            at, places, _ = self.around(tiles, place)
            here = np.array([place])
            centre = self.scored(
                "centre", tiles.centres[here], positive[at][None], weights[at][None], place=here
            )
            asked.append(
                Example(place, places.tolist(), centre + self.samples(tiles, negative, at))
            )
        return np.arange(len(asked)), asked
