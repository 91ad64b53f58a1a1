"""Skip-gram with negative sampling: predict the words around a word."""

from __future__ import annotations

import numpy as np

from embedcli.autodiff.tensor import Array
from embedcli.nn.sampling import SKIP_GRAM, Tiles
from embedcli.tasks.task import Example
from embedcli.tasks.words import WordBatch, WordTask


class SkipGram(WordTask):
    """The task: tell the words around a word from words drawn at random.

    Mikolov et al. 2013, "Distributed representations of words and phrases", §2.2-2.3. Where they
    draw `negatives` samples for each pair, the K samples here are shared by the centres of a tile,
    and each weighs negatives / K of a pair: the same loss in expectation.
    """

    objective = SKIP_GRAM
    answer_from = ("task.skipgram", "task.draws")

    def weigh(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the pairs, and weigh the negative samples."""
        pairs = tiles.negative_weights  # (g, b, S)
        weight = self.settings.negatives / tiles.negatives.shape[1]
        return float(pairs.sum()), tiles._replace(negative_weights=pairs * weight)

    def examples(self, batch: WordBatch, words: int) -> tuple[Array, list[Example]]:
        """Ask at each word which words are around it."""
        positive, negative = self.scores(batch)
        tiles, asked = batch.tiles, []
        for place in range(min(words, batch.tokens)):
            at, places, columns = self.around(tiles, place)
            scores, weights = positive[at][columns], tiles.context_weights[at][columns]  # (m,)
            context = self.scored("context", tiles.centres[places], scores, weights, place=places)
            asked.append(Example(place, [place], context + self.samples(tiles, negative, at)))
        return np.arange(len(asked)), asked
