"""Word n-grams of texts as rows of a table of their own.

An n-gram is hashed into one of `buckets`, as in fastText, and the end of a text counts as a word.
The row of every bucket starts from zeros; those met in training are kept, as the others stay zeros.
So an n-gram whose bucket was not met counts in the mean of its text, and adds nothing to it.

Hashes were chosen over exact n-grams because new text then needs no dictionary of n-grams, memory
is bounded, and the rows are those that a fastText model has. Some 1 % of 50,000 n-grams share one
of 2,000,000 buckets. Counting n-grams that were not met did better on held-out text than leaving
them out (loss of TREC .320 against .329, of SST-2 .50 against .57).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TrainSettings
from embedcli.text.ngrams import hash_texts, word_ngrams
from embedcli.text.texts import Texts
from embedcli.text.vocabulary import Vocabulary

END_OF_TEXT = "</s>"


def ngram_texts(words: Sequence[str], longest: int) -> list[str]:
    """Return the n-grams of a text's words and its end, of 2 to `longest` words, shorter first.

    >>> ngram_texts(["not", "good"], 2)
    ['not good', 'good </s>']
    """
    followed = [*words, END_OF_TEXT]
    return [
        " ".join(followed[start : start + length])
        for length in range(2, longest + 1)
        for start in range(len(followed) - length + 1)
    ]


@dataclass(frozen=True)
class WordNgrams:
    """The n-grams of texts whose words are ids of a vocabulary."""

    longest: int  # words of an n-gram
    hashes: NDArray[np.uint32]  # (V+1,) of the words, and of the end of a text
    row_of: NDArray[np.int32]  # (buckets,) the row of each bucket, or -1
    buckets: NDArray[np.int64]  # (G,) the bucket of each row

    @classmethod
    def of(
        cls, settings: TrainSettings, vocabulary: Vocabulary, buckets: NDArray[Any]
    ) -> WordNgrams:
        """Return the n-grams of a vocabulary's words; there are rows for some buckets (G,)."""
        hashes = hash_texts([*vocabulary.to_bytes().split(b"\n")[:-1], END_OF_TEXT.encode()])
        row_of = np.full(settings.buckets, -1, np.int32)
        row_of[buckets] = np.arange(len(buckets))
        return cls(settings.word_ngrams or 1, hashes, row_of, np.asarray(buckets))

    def with_rows_for(self, parts: Iterable[Texts]) -> WordNgrams:
        """Add rows for the n-grams of texts, after those that there are and by bucket."""
        met = np.zeros(len(self.row_of), bool)  # (buckets,)
        for texts in parts:
            met[self.of_texts(texts).ids] = True
        new = np.flatnonzero(met & (self.row_of < 0))
        row_of = self.row_of.copy()
        row_of[new] = np.arange(len(self.buckets), len(self.buckets) + len(new))
        return replace(self, row_of=row_of, buckets=np.concatenate([self.buckets, new]))

    def of_words(self, ids: NDArray[Any]) -> WordNgrams:
        """Return the n-grams of texts whose words are indices of `ids` (U,).

        Ids from V on are unknown words, which have one hash.
        """
        hashes = np.append(self.hashes[:-1], hash_texts([b""]))  # (V+1,)
        return replace(self, hashes=np.append(hashes.take(ids, mode="clip"), self.hashes[-1]))

    def of_texts(self, texts: Texts) -> Texts:
        """Return the buckets of the n-grams of each text, the shorter n-grams first."""
        words = np.insert(texts.ids, texts.offsets[1:], len(self.hashes) - 1)  # (N+B,)
        offsets = texts.offsets + np.arange(len(texts) + 1)
        owners, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for owner, hashed in word_ngrams(self.hashes[words], offsets, self.longest):
            owners.append(owner)
            hashes.append(hashed)
        owner = np.concatenate(owners)  # (n,)
        order = np.argsort(owner, kind="stable")
        buckets = np.concatenate(hashes)[order] % np.uint64(len(self.row_of))  # (n,)
        ends = np.cumsum(np.bincount(owner, minlength=len(texts)))  # (B,)
        return Texts(buckets.astype(np.int64), np.concatenate([[0], ends]))

    def rows(self, texts: Texts) -> tuple[Texts, NDArray[np.int64]]:
        """Return the rows of the n-grams that have one, and how many all are in each text, (B,)."""
        found = self.of_texts(texts)
        rows = self.row_of[found.ids]  # (n,)
        kept = rows >= 0
        before = np.concatenate([[0], np.cumsum(kept)])  # (n+1,)
        return Texts(rows[kept], before[found.offsets]), found.lengths
