"""Several tables of one kind: how sure a word's neighbours are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.alignment import common_words
from embedcli.errors import VocabularyError
from embedcli.table import Answer, Answers, EmbeddingTable, Metric, Queries
from embedcli.text.vocabulary import Oov
from embedcli.views import notebook

_CELLS = 1 << 25  # scores that are held at once
_ROWS = 1 << 14  # of a table that are scored at once


@notebook.shown
class StableNeighbor(NamedTuple):
    """A word near another in several tables: the mean of its scores, their range, and how often."""

    token: str
    score: float  # the mean
    low: float
    high: float
    among: int  # in how many tables it is among the k nearest


@dataclass(frozen=True)
class StableNeighbors(Answer):
    """The words nearest to a word in the mean of several tables, the nearest first."""

    token: str
    models: int
    k: int
    neighbors: tuple[StableNeighbor, ...]


class Ensemble:
    """Several tables, such as those of models of other seeds, on the words that all of them have.

    Antoniak & Mimno 2018, "Evaluating the stability of embedding-based word similarities", show
    that neighbours from a single model should not be relied on.
    """

    def __init__(self, tables: Sequence[EmbeddingTable]) -> None:
        self.tables = tables
        self.ids = common_words(tables, min_count=0)  # (T, W)
        self.places = [np.full(len(table), -1) for table in tables]  # (V,) of ids in the words
        for places, ids in zip(self.places, self.ids, strict=True):
            places[ids] = np.arange(len(ids))

    def __len__(self) -> int:
        """Return how many words all tables have."""
        return int(self.ids.shape[1])

    def neighbors(
        self,
        words: str | Sequence[str] = (),
        k: int = 10,
        metric: Metric = "cosine",
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        exclude: Sequence[str] = (),
        oov: Oov | None = None,
    ) -> Answers[StableNeighbors]:
        """Find the k words nearest to each of `words` by their mean score in all tables.

        The arguments are those of `EmbeddingTable.neighbors`, of which each table is asked. A word
        is unknown where one of the tables does not know it. Only words of all tables are found.
        """
        if len(self) < 2:
            raise VocabularyError(f"the models have {len(self)} words in common; expected more")
        policy = "zero" if oov == "skip" else oov
        asked = [t.queries(words, plus=plus, minus=minus, exclude=exclude, oov=policy)
                 for t in self.tables]  # fmt: skip
        missing = np.any([each.missing for each in asked], axis=0)  # (Q,)
        kept = ~missing if oov == "skip" else np.ones(len(missing), bool)  # (Q,)
        answers = []
        at_once = max(1, _CELLS // (len(self) * len(self.tables)))
        order = np.flatnonzero(kept)
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            scores = self._scores(asked, part, metric)  # (T, Q, W)
            for place, query in enumerate(part.tolist()):
                found = () if missing[query] else self._nearest(scores[:, place], k)
                answers.append(StableNeighbors(asked[0].labels[query], len(self.tables), k, found))
        unknown = int(np.count_nonzero(missing))
        return Answers(tuple(answers), len(missing) - unknown, unknown)

    def _scores(
        self, asked: Sequence[Queries], part: NDArray[np.int64], metric: Metric
    ) -> NDArray[np.float32]:
        """Score the common words for some queries in every table, (T, Q, W); -inf if excluded."""
        scores = np.empty((len(self.tables), len(part), len(self)), np.float32)  # (T, Q, W)
        for number, (table, queries) in enumerate(zip(self.tables, asked, strict=True)):
            vectors, ids = queries.vectors[part], self.ids[number]
            for start in range(0, len(ids), _ROWS):
                some = slice(start, start + _ROWS)
                scores[number, :, some] = table.scores(vectors, ids[some], metric)
            for place, query in enumerate(part.tolist()):
                excluded = [each for each in queries.excluded[query] if each >= 0]
                places = self.places[number][excluded]
                scores[:, place, places[places >= 0]] = -np.inf
        scores[np.isnan(scores)] = -np.inf
        return scores

    def _nearest(self, scores: NDArray[np.float32], k: int) -> tuple[StableNeighbor, ...]:
        """Return the k words with the largest mean of their scores (T, W)."""
        k = min(k, len(self) - 1)
        mean = scores.mean(axis=0, dtype=np.float64)  # (W,)
        best = np.argsort(-mean, kind="stable")[:k]
        best = best[np.isfinite(mean[best])]  # (k,)
        chosen = scores[:, best]  # (T, k)
        last = np.partition(scores, -k, axis=1)[:, -k] if k else np.zeros(len(scores))  # (T,)
        columns = zip(
            self.tables[0].vocabulary.tokens(self.ids[0, best]),
            mean[best].tolist(),
            chosen.min(axis=0).tolist(),
            chosen.max(axis=0).tolist(),
            (chosen >= last[:, None]).sum(axis=0).tolist(),
            strict=True,
        )
        return tuple(StableNeighbor(*each) for each in columns)

    def _repr_html_(self) -> str:
        return notebook.pairs({"tables": self.tables, "words": len(self)})
