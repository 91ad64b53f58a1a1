"""Skip-gram with negative sampling: telling the words around a word from others."""

from __future__ import annotations

from embedcli.autodiff.sampling import SkipGramPiece, Tiles
from embedcli.tasks.words import WordTask


class SkipGram(WordTask):
    """The task: tell the words around a word from words drawn at random.

    Mikolov et al. 2013, "Distributed representations of words and phrases", §2.2-2.3. Where they
    draw `negatives` noise words for each pair, the K noise words here are shared by the centres of
    a tile, and each weighs negatives / K of a pair: the same loss in expectation.
    """

    kind = SkipGramPiece

    def weighed(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the right words, and weigh the noise words."""
        pairs = tiles.noise_weights  # (g, b, S)
        weight = self.settings.negatives / tiles.noise.shape[1]
        return float(pairs.sum()), tiles._replace(noise_weights=pairs * weight)
