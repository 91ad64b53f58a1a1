"""The story of one word: where it stood, how often it was trained, and how far its row moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedcli.config import TrainSettings, schema
from embedcli.model import Model
from embedcli.nn.initializers import BLOCK, initial_rows
from embedcli.table import EmbeddingTable, unit

_NEIGHBORS = 10
_SAMPLED_BLOCKS = 16  # of the table, to say how far a row usually moves
_BLOCK_ROWS = 16 * BLOCK


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A word near another, by the cosine of their rows."""

    token: str
    id: int
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Word:
    """What is known of a word and of its row; what was not kept is None."""

    token: str
    id: int
    words: int  # V
    count: int | None
    share: float | None  # of the words of the corpus
    rank: int | None  # by count, from 1
    first_line: int | None  # line of the corpus, from 1
    trained: int  # steps in which it had a gradient
    frozen: bool  # by the settings
    moved: float | None  # distance between the two
    turned: float | None  # cosine between the two
    usually_moved: float | None  # median over the table, or a sample of it
    start: NDArray[np.float32] | None  # (D,) as it was before training
    now: NDArray[np.float32]  # (D,)
    neighbors_then: Sequence[Neighbor]
    neighbors_now: Sequence[Neighbor]


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def explain_word(model: Model, word: str, k: int = _NEIGHBORS) -> Word:
    """Tell what became of a word: raises VocabularyError for one that the table does not have.

    The table as it was before training is made again from the seed, a block at a time.
    """
    table = model.table
    index = table.vocabulary.id_of(word)
    counts = table.vocabulary.counts
    count = None if counts is None else int(counts[index])
    now = table.rows([index])[0]  # (D,)
    first = _first_table(model)
    start = None if first is None else first.rows([index])[0]  # (D,)
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
        now=now,
        start=start,
        moved=None if start is None else float(np.linalg.norm(now - start)),
        turned=None if start is None else _cosine(now, start),
        usually_moved=None if first is None else _median_move(table, first),
        neighbors_now=_neighbors(table, index, k),
        neighbors_then=[] if first is None else _neighbors(first, index, k),
    )


class _FirstTable(EmbeddingTable):
    """The table before training; its rows are made when they are asked for."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.table.vocabulary, model.table.vectors)
        self._start = model.start

    def made(self, rows: range) -> NDArray[np.float32]:
        """Make the rows of a range, (N, D)."""
        of = self._start
        return initial_rows(of["init"], of["seed"], rows, self.dim, of["scale"])

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Make the rows of ids, (N, D)."""
        made = [self.made(range(each, each + 1)) for each in np.asarray(ids).tolist()]
        return np.concatenate(made)

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Go through the table in blocks of rows."""
        del size
        for start in range(0, len(self), _BLOCK_ROWS):
            yield start, self.made(range(start, min(start + _BLOCK_ROWS, len(self))))


def _first_table(model: Model) -> _FirstTable | None:
    """Return the table before training, or None where it cannot be made again."""
    known = {"init", "seed", "scale"} <= model.start.keys()
    if not known or "vectors" in model.start:
        return None
    specs = schema(TrainSettings)
    for name, key in (("init", "init"), ("seed", "seed"), ("init_scale", "scale")):
        specs[name].check(model.start[key])
    return _FirstTable(model)


def _median_move(table: EmbeddingTable, first: _FirstTable) -> float:
    """Return how far a row moved in the middle of a sample, blocks taken evenly from the table."""
    blocks = -(-len(table) // BLOCK)
    moves = []
    for number in range(0, blocks, max(1, blocks // _SAMPLED_BLOCKS)):
        rows = range(number * BLOCK, min((number + 1) * BLOCK, len(table)))
        change = table.rows(rows) - first.made(rows)  # (BLOCK, D)
        moves.append(np.linalg.norm(change, axis=1))
    return float(np.median(np.concatenate(moves)))


def _neighbors(table: EmbeddingTable, index: int, k: int) -> list[Neighbor]:
    found = table.nearest(table.rows([index]), k, exclude=[[index]])
    pairs = zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True)
    return [
        Neighbor(table.vocabulary.token(each), each, score) for each, score in pairs if each >= 0
    ]


def _cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    rows = unit(np.stack([one, two]))  # (2, D)
    return float(rows[0] @ rows[1])
