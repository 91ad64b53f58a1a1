"""One word: its place in the corpus, how often it was trained, and how far its row moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedcli.composer import SubwordComposer
from embedcli.explanation.step import PartOf, parts_of
from embedcli.initial import InitialTable, initial_table
from embedcli.model import Model
from embedcli.nn.initializers import BLOCK
from embedcli.table import EmbeddingTable, unit
from embedcli.tasks import TASKS

_NEIGHBORS = 10
_SAMPLED_BLOCKS = 16  # of the table, to find out how far a row usually moves


@dataclass(frozen=True, slots=True)
class SimilarWord:
    """A word spelt like an unknown one, and its share of the vector of that, maybe below 0."""

    token: str
    id: int
    weight: float


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A word near another, by the cosine of their rows."""

    token: str
    id: int
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and its row, before and after training; what was not saved is None."""

    token: str
    id: int | None  # None: the table does not have it, and its vector is composed
    words: int  # V
    count: int | None = None
    share: float | None = None  # of the words of the corpus
    rank: int | None = None  # by count, from 1
    first_line: int | None = None  # line of the corpus, from 1
    trained: int = 0  # steps in which it had a gradient
    frozen: bool = False  # by the settings
    solved: bool = False  # the table was computed at once, without training
    moved: float | None = None  # distance between `start` and `now`
    turned: float | None = None  # cosine between `start` and `now`
    usually_moved: float | None = None  # median over the table, or a sample of it
    start: NDArray[np.float32] | None = None  # (D,) its initial values
    now: NDArray[np.float32]  # (D,)
    neighbors_then: Sequence[Neighbor] = ()
    neighbors_now: Sequence[Neighbor]
    parts: Sequence[PartOf] = ()  # of which its vector is composed
    similar: Sequence[SimilarWord] = ()  # of which, and the mean of all, that of an unknown word is

    def _repr_svg_(self) -> str:
        from embedcli.views import explain_svg

        return explain_svg.svg(self)


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def explain_word(model: Model, word: str, k: int = _NEIGHBORS) -> Word:
    """Return how training changed the row of a word.

    The initial values of the table are drawn again from the seed, a block at a time. Of a word that
    the table does not have, but can compose, only the words spelt like it, the vector and its
    neighbours are known. Raises VocabularyError for any other.
    """
    table = model.table
    if isinstance(table.composer, SubwordComposer) and word not in table.vocabulary:
        found = table.lookup([word])
        parts = table.composer.parts(found.tokens[0])
        return Word(
            token=found.tokens[0],
            id=None,
            words=len(table),
            now=found.vectors[0],
            neighbors_now=_nearest(table, found.vectors[0], k),
            similar=[SimilarWord(part.text, part.row, round(part.weight, 6)) for part in parts],
        )
    index = table.vocabulary.id_of(word)
    counts = table.vocabulary.counts
    count = None if counts is None else int(counts[index])
    now = table.rows([index])[0]  # (D,)
    initial = initial_table(model)
    start: NDArray[np.float32] | None = None
    then: list[Neighbor] = []
    if initial is not None:
        start = initial.rows([index])[0]  # (D,)
        then = _nearest(initial, start, k, index)
    return Word(
        token=word,
        id=index,
        words=len(table),
        count=count,
        share=None if counts is None or count is None else count / max(int(counts.sum()), 1),
        rank=None if counts is None else 1 + int(np.count_nonzero(counts > counts[index])),
        first_line=int(model.first_lines[index]) or None,
        trained=int(model.trained[index]),
        frozen=model.settings.freeze == "all",
        solved=TASKS[model.settings.task].solved,
        now=now,
        start=start,
        moved=None if start is None else float(np.linalg.norm(now - start)),
        turned=None if start is None else _cosine(now, start),
        usually_moved=None if initial is None else _median_move(table, initial),
        neighbors_now=_nearest(table, now, k, index),
        neighbors_then=then,
        parts=parts_of(model, index),
    )


def _median_move(table: EmbeddingTable, initial: InitialTable) -> float:
    """Return the median distance that rows moved, over blocks spread evenly over the table."""
    blocks = -(-len(table) // BLOCK)
    moves = []
    for number in range(0, blocks, max(1, blocks // _SAMPLED_BLOCKS)):
        rows = range(number * BLOCK, min((number + 1) * BLOCK, len(table)))
        change = table.rows(rows) - initial.draw(rows)  # (BLOCK, D)
        moves.append(np.linalg.norm(change, axis=1))
    return float(np.median(np.concatenate(moves)))


def _nearest(
    table: EmbeddingTable, vector: NDArray[np.float32], k: int, index: int = -1
) -> list[Neighbor]:
    """Return the k words nearest to a vector (D,), other than the one with the index."""
    found = table.nearest(vector, k, exclude=[[index]])
    pairs = zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True)
    return [
        Neighbor(table.vocabulary.token(each), each, score) for each, score in pairs if each >= 0
    ]


def _cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    rows = unit(np.stack([one, two]))  # (2, D)
    return float(rows[0] @ rows[1])
