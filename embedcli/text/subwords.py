"""Words as character n-grams in hashed buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TrainSettings
from embedcli.text.ngrams import Ngrams, character_ngrams

_WORDS_AT_ONCE = 1 << 14


class Subwords(NamedTuple):
    """How words are cut into n-grams, and the number of buckets these are hashed into."""

    min_n: int
    max_n: int
    buckets: int
    unit: str = "grapheme"  # of which n make an n-gram; or codepoint, as in fastText

    @classmethod
    def of(cls, settings: TrainSettings) -> Subwords:
        """Return how the settings cut words."""
        return cls(settings.min_n, settings.max_n, settings.buckets, settings.ngram_unit)

    def hashed(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the word and the bucket of each n-gram of words, (G,) each."""
        owners, buckets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start in range(0, len(words), _WORDS_AT_ONCE):
            _, found = self._ngrams(words[start : start + _WORDS_AT_ONCE])
            for each in found:
                owners.append(start + each.owners)
                buckets.append((each.hashes % np.uint32(self.buckets)).astype(np.int64))
        return np.concatenate(owners), np.concatenate(buckets)

    def spelled(self, word: str) -> list[tuple[str, int]]:
        """Return the n-grams of a word with their buckets, by where they start."""
        text, found = self._ngrams([word])
        spans = sorted(
            (start, end, hashed % self.buckets)
            for each in found
            for start, end, hashed in zip(
                each.starts.tolist(), each.ends.tolist(), each.hashes.tolist(), strict=True
            )
        )
        return [(text[start:end].decode("utf-8", "replace"), each) for start, end, each in spans]

    def _ngrams(self, words: Sequence[str]) -> tuple[bytes, list[Ngrams]]:
        """Return marked words as bytes, and their n-grams by length."""
        marked = [f"<{word}>" for word in words]
        texts = [each.encode("utf-8", "replace") for each in marked]
        begins = None
        if self.unit == "grapheme" and not all(map(str.isascii, marked)):
            from embedcli.text.tokenizer import CLUSTER  # slow to import, and not needed to look up

            sizes = [
                len(cluster.encode("utf-8", "replace"))
                for word in marked
                for cluster in (word if word.isascii() else CLUSTER.findall(word))
            ]
            begins = np.zeros(sum(sizes), bool)
            begins[np.cumsum([0, *sizes[:-1]])] = True
        return b"".join(texts), list(character_ngrams(texts, self.min_n, self.max_n, begins))
