"""Two tables compared: how far each word moved, and whether it moved more than by chance.

Each side may be one table or several replicas of it, such as models of other seeds. A word's change
is then set against the distances between the replicas of one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.alignment import Rows, common_words, procrustes, unit_rows
from embedcli.errors import ConfigError, VocabularyError
from embedcli.table import EmbeddingTable, Nearest, Neighbor
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import notebook

WORDS = 20_000  # that are compared, if there are more
EXAMPLES = 10  # words that only one side has
SHOWN = 10  # of the most and least moved words
LEVEL = 0.05  # of the test
_PAIRS = 200_000  # of words, whose similarities are correlated
_SPLITS = 1000  # of the models into two sides: all, or this many
_BLOCK = 1 << 12  # words that are searched or tested at once


class Only(NamedTuple):
    """Words that only one side has: how many, and the first or most frequent of them."""

    words: int
    examples: tuple[str, ...]


class PermutationTest(NamedTuple):
    """A permutation test of every word; see `docs/compare.md`."""

    splits: int  # of the models into sides of these sizes, the true one among them
    level: float  # a word passes with a p up to this
    passed: int  # words
    expected: float  # words that pass where nothing changed, at most


@notebook.shown
class ComparedWord(NamedTuple):
    """A word in both tables."""

    token: str
    counts: tuple[int | None, int | None]
    moved: float  # 1 - cosine after the rotation; 1 - overlap where there is none
    chance: float | None  # the same between the replicas of one side
    p: float | None  # share of the splits of the replicas with at least this excess over chance
    overlap: float  # Jaccard index of its k nearest words on both sides
    neighbors: tuple[tuple[Neighbor, ...], tuple[Neighbor, ...]]

    @property
    def excess(self) -> float:
        """How much farther the word moved than between the replicas of one side."""
        return self.moved - (self.chance or 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class TableComparison(Sequence[ComparedWord]):
    """Two tables compared on their common words; a sequence of them, the most moved first."""

    names: tuple[str, str]
    models: tuple[int, int]  # tables of each side
    sizes: tuple[int, int]  # words of each side's first table
    dims: tuple[int, int]
    common: int  # words that all tables have
    words: int  # of them, compared
    only: tuple[Only, Only]
    k: int
    centered: bool
    rotated: bool  # False: the tables differ in dim, and only neighbours are compared
    moved: float  # mean over the words, as are the next two
    chance: float | None
    overlap: float
    pearson: float  # of the similarities of pairs of words
    spearman: float
    pairs: int
    test: PermutationTest | None
    asked: tuple[ComparedWord, ...]  # words that were asked for
    columns: Columns

    def __len__(self) -> int:
        return self.words

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self.columns.word(int(self.columns.order[place]))

    def most(self, number: int = SHOWN) -> list[ComparedWord]:
        """Return the words that moved most, the farthest first."""
        return [self[place] for place in range(min(number, len(self)))]

    def least(self, number: int = SHOWN) -> list[ComparedWord]:
        """Return the words that moved least, the nearest first."""
        return [self[-1 - place] for place in range(min(number, len(self)))]

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, comparison

        return blocks.html_of(comparison.blocks_of(self))


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known of the W words that are compared, as arrays."""

    vocabulary: Vocabulary
    counts: tuple[NDArray[np.int64] | None, ...]  # (W,) in each side's first table
    moved: NDArray[np.float64]  # (W,)
    chance: NDArray[np.float64] | None  # (W,)
    p: NDArray[np.float64] | None  # (W,)
    overlap: NDArray[np.float64]  # (W,)
    near: tuple[Nearest, Nearest]  # on each side, (W, k)
    order: NDArray[np.int64]  # (W,) the most moved first

    def word(self, index: int) -> ComparedWord:
        """Return all of one word."""
        one, two = (
            tuple(
                Neighbor(self.vocabulary.token(each), score)
                for each, score in zip(ids[index].tolist(), scores[index].tolist(), strict=True)
                if each >= 0
            )
            for ids, scores in self.near
        )
        first, second = (None if of is None else int(of[index]) for of in self.counts)
        return ComparedWord(
            self.vocabulary.token(index),
            (first, second),
            float(self.moved[index]),
            None if self.chance is None else float(self.chance[index]),
            None if self.p is None else float(self.p[index]),
            float(self.overlap[index]),
            (one, two),
        )


def compare_tables(
    sides: tuple[Sequence[EmbeddingTable], Sequence[EmbeddingTable]],
    names: tuple[str, str],
    asked: Sequence[str] = (),
    *,
    words: int | None = WORDS,
    min_count: int = 1,
    k: int = 10,
    center: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> TableComparison:
    """Compare two tables, or several replicas on each side, on the words that all of them have.

    The `words` most frequent are compared (None: all), and those that are `asked` for; of those
    with a count of at least `min_count` in every table. Their neighbours are searched among the
    compared words. `progress` is called with how many searches are done, and all.

    Vectors are scaled to length 1 (and centred first, if `center`), each pair of tables is rotated
    by `alignment.procrustes`, and a word's distance is 1 - cosine (Hamilton, Leskovec & Jurafsky
    2016, "Diachronic word embeddings", §3). Tables of different dims cannot be rotated: the
    distance is then 1 - the Jaccard index of the k nearest words.

    Raises VocabularyError where the tables have fewer than two words in common, or for a word that
    is asked for and not compared; ConfigError for `words` or `k` below 1.
    """
    for name, value in (("words", words), ("k", k)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: found {value}; expected 1 or more")
    # 1. The words.
    tables = [*sides[0], *sides[1]]
    every = common_words(tables, min_count)  # (T, W')
    common = every.shape[1]
    if common < 2:
        raise VocabularyError(
            f"{names[0]} and {names[1]} have {common} words in common; expected two or more",
            "Is one of them in another language or spelling? --min-count 0 keeps all words.",
        )
    wanted = [_index_of(word, tables[0], every[0]) for word in asked]
    kept = np.arange(common)[:words]
    kept = np.concatenate([kept, np.setdiff1d(wanted, kept)]).astype(np.int64)  # (W,)
    ids = every[:, kept]  # (T, W)
    vocabulary = Vocabulary(tables[0].vocabulary.tokens(ids[0]))
    # 2. Neighbours on each side. A side's cosines are the means of those of its tables, which is
    # one product of the rows of all of them, side by side.
    rotated = len({table.dim for table in tables}) == 1
    rows = [unit_rows(table, each, center) for table, each in zip(tables, ids, strict=True)]
    groups = (rows[: len(sides[0])], rows[len(sides[0]) :])
    alone = [] if rotated else [*rows]
    searched = [*map(np.hstack, groups), *alone]
    done = count(1)
    total = len(searched) * -(-len(kept) // _BLOCK)
    found = []
    for each in searched:
        parts = []
        for part in _neighbors(each, vocabulary, k):
            parts.append(part)
            progress(next(done), total)
        found.append(Nearest(*map(np.concatenate, zip(*parts, strict=True))))
    one, two, *others = found
    overlap = _jaccard(one.ids, two.ids)  # (W,)
    # 3. Distances between all pairs of tables, and those that chance makes.
    pairs = list(combinations(range(len(tables)), 2))
    distances = np.stack(
        [
            _distances(rows[a], rows[b]) if rotated else 1 - _jaccard(others[a].ids, others[b].ids)
            for a, b in pairs
        ]
    )  # (P, W)
    across = _is_across(pairs, range(len(sides[0])))  # (P,)
    moved = distances[across].mean(axis=0)  # (W,)
    chance, p, test = None, None, None
    if not across.all():
        chance = distances[~across].mean(axis=0)  # (W,)
        p, splits = _permutation_test(distances, pairs, len(tables), len(sides[0]))
        level = max(LEVEL, 1 / splits)
        test = PermutationTest(splits, level, int((p <= level + 1e-9).sum()), level * len(p))
    excess = moved if chance is None else moved - chance
    # 4. Similarities of pairs of words, as the two sides see them.
    pearson, spearman, compared = _correlations(*map(np.hstack, groups))
    counts = [
        None if table.vocabulary.counts is None else np.asarray(table.vocabulary.counts)[of]
        for table, of in ((tables[at], ids[at]) for at in (0, len(sides[0])))
    ]
    columns = Columns(
        vocabulary,
        tuple(counts),
        moved,
        chance,
        p,
        overlap,
        (one, two),
        np.argsort(-excess, kind="stable"),
    )
    places = {each: place for place, each in enumerate(kept.tolist())}
    return TableComparison(
        names=names,
        models=(len(sides[0]), len(sides[1])),
        sizes=(len(sides[0][0]), len(sides[1][0])),
        dims=(sides[0][0].dim, sides[1][0].dim),
        common=common,
        words=len(kept),
        only=(_only(sides[0][0], sides[1][0]), _only(sides[1][0], sides[0][0])),
        k=min(k, len(kept) - 1),
        centered=center,
        rotated=rotated,
        overlap=float(overlap.mean()),
        moved=float(moved.mean()),
        chance=None if chance is None else float(chance.mean()),
        pearson=pearson,
        spearman=spearman,
        pairs=compared,
        test=test,
        asked=tuple(columns.word(places[each]) for each in wanted),
        columns=columns,
    )


def _index_of(word: str, table: EmbeddingTable, ids: NDArray[np.int64]) -> int:
    """Return the index of a word, as it stands or as the table spells it, among the common ids."""
    vocabulary = table.vocabulary
    index = vocabulary.get(word)
    if index is None:
        index = vocabulary.get(table.spell(word))
    if index is None:
        raise vocabulary.unknown(word)
    found = np.flatnonzero(ids == index)
    if not len(found):
        raise VocabularyError(
            f"{word!r} is not in all tables, or is too rare; expected a word that is compared",
            "a smaller --min-count compares rarer words",
        )
    return int(found[0])


def _neighbors(rows: Rows, vocabulary: Vocabulary, k: int) -> Iterator[Nearest]:
    """Yield the k nearest other words of some words at a time: ids and cosines, (B, k)."""
    table = EmbeddingTable(vocabulary, np.ascontiguousarray(rows, np.float32))
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        own = [[each] for each in range(start, start + len(part))]
        yield table.nearest(part, min(k, len(rows) - 1), exclude=own)


def _jaccard(one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Jaccard index of two sets of ids for every word, (W, k) twice: (W,).

    Ids of -1 are no members; two empty sets have 0 in common.
    """
    both = np.zeros(len(one))  # (W,)
    for column in two.T:
        both += ((one == column[:, None]) & (one >= 0)).any(axis=1)
    either = (one >= 0).sum(axis=1) + (two >= 0).sum(axis=1) - both  # (W,)
    return np.asarray(both / np.maximum(either, 1))


def _distances(one: Rows, two: Rows) -> NDArray[np.float64]:
    """Return 1 - cosine of every word after the best rotation, for unit rows (W, D): (W,)."""
    turned = one.astype(np.float64) @ procrustes(one, two)  # (W, D)
    return np.asarray(1 - np.einsum("wd,wd->w", turned, two))


def _is_across(pairs: Sequence[tuple[int, int]], side: Sequence[int]) -> NDArray[np.bool_]:
    """Return which pairs of tables have one of each side, (P,)."""
    return np.array([(a in side) != (b in side) for a, b in pairs])


def _permutation_test(
    distances: NDArray[np.float64], pairs: Sequence[tuple[int, int]], tables: int, first: int
) -> tuple[NDArray[np.float64], int]:
    """Return every word's p, (W,), and how many splits of the tables it is a share of.

    The statistic is the mean distance (P, W) across the sides less that within them. p is the share
    of all splits into sides of these sizes whose statistic is at least that of the true split; of
    many splits the true one and a sample are taken, as Phipson & Smyth 2010 ("Permutation p-values
    should never be zero").
    """
    halves = 2 * first == tables  # then a split and its mirror image are the same
    if comb(tables, first) // (2 if halves else 1) <= _SPLITS:
        others = combinations(range(1, tables), first - 1) if halves else ()
        sides = [(0, *each) for each in others] if halves else combinations(range(tables), first)
    else:
        rng = np.random.default_rng(0)
        drawn = (tuple(rng.permutation(tables)[:first].tolist()) for _ in range(_SPLITS - 1))
        sides = [tuple(range(first)), *drawn]
    splits = [_is_across(pairs, each) for each in sides]
    weights = np.stack([across / across.sum() - ~across / (~across).sum() for across in splits])
    true = _is_across(pairs, range(first))
    statistic = distances[true].mean(axis=0) - distances[~true].mean(axis=0)  # (W,)
    p = np.empty_like(statistic)  # (W,)
    for start in range(0, len(p), _BLOCK):
        part = slice(start, start + _BLOCK)
        as_large = weights @ distances[:, part] >= statistic[part] - 1e-12  # (S, B)
        p[part] = as_large.mean(axis=0)
    return p, len(weights)


def _correlations(one: Rows, two: Rows) -> tuple[float, float, int]:
    """Correlate the cosines of pairs of words on both sides: Pearson, Spearman, and the pairs.

    All pairs, or of many a sample that is always the same.
    """
    size = len(one)
    if size * (size - 1) // 2 <= _PAIRS:
        first, second = np.triu_indices(size, 1)
    else:
        rng = np.random.default_rng(0)
        first = rng.integers(size, size=_PAIRS)
        second = (first + rng.integers(1, size, size=_PAIRS)) % size  # another word
    a, b = (np.einsum("pd,pd->p", rows[first], rows[second]) for rows in (one, two))
    return metrics.pearson(a, b), metrics.spearman(a, b), len(a)


def _only(table: EmbeddingTable, other: EmbeddingTable) -> Only:
    """Return the words of a table that another has not, the most frequent as examples."""
    found = table.sorted("id" if table.vocabulary.counts is None else "count").ids  # (V,)
    tokens = table.vocabulary.tokens(found)
    missing = np.flatnonzero(other.vocabulary.ids_of(tokens, -1) < 0)
    return Only(len(missing), tuple(tokens[each] for each in missing[:EXAMPLES].tolist()))
