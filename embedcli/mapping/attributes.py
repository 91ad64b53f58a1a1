"""What words of a map can be coloured by: counts, norms, scripts, clusters, labels, a file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import CorpusError
from embedcli.initial import initial_table
from embedcli.model import Model
from embedcli.storage.files import read_text
from embedcli.table import EmbeddingTable, lengths, unit
from embedcli.views import notebook
from embedcli.views.terminal import tsv_line

CLUSTERS = 12  # at most
_WORDS_PER_CLUSTER = 25  # at least, on average
_ROUNDS = 25  # of k-means
_FREQUENT = 10  # words of a cluster that may name it, or a tenth of them
_NAMES = 3
MOST_LABELS = 50  # that have an attribute each
MOST_CATEGORIES = 250
_MAX_COLUMNS = 50


@notebook.shown
@dataclass(frozen=True, eq=False)
class Attribute:
    """What words can be coloured by: numbers, or categories.

    `values` is (N,): float32 with NaN where a word has none; or, where there are `categories`,
    int16 places in them, -1 for a word with none. Those that grow by factors, as counts do, are
    `logarithmic`; numbers of either sign with a meaning of zero are `signed`.
    """

    name: str
    values: NDArray[np.float32] | NDArray[np.int16]
    categories: tuple[str, ...] = ()
    logarithmic: bool = False
    signed: bool = False


def attributes(
    table: EmbeddingTable,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    model: Model | None,
    colors: Path | None,
) -> Iterator[Attribute]:
    """Yield all attributes of some words, by their ids and vectors (N, D); `colors` is a TSV."""
    tokens = table.vocabulary.tokens(ids)
    yield _clusters(vectors, tokens)
    if table.vocabulary.counts is not None:
        counts = np.asarray(table.vocabulary.counts[ids], np.float32)
        yield Attribute("count", counts, logarithmic=True)
    if model is not None:
        yield Attribute("times trained", np.asarray(model.trained[ids], np.float32), (), True)
        initial = initial_table(model)
        if initial is not None:
            yield Attribute("distance moved", lengths(vectors - initial.rows(ids)))
    yield Attribute("norm", lengths(vectors))
    yield _categories("script", [script_of(token) for token in tokens])
    if model is not None and model.labels:
        weights = model.head["output.weight"]  # (D, C) where the network is linear in a word's row
        if len(weights) == vectors.shape[1] and "hidden.weight" not in model.head:
            scores = vectors @ weights[:, :MOST_LABELS]  # (N, C)
            for label, column in zip(model.labels, scores.T, strict=False):
                yield Attribute(f"label {label}", np.ascontiguousarray(column), signed=True)
    if colors is not None:
        yield from read_attributes(colors, tokens)


def read_attributes(path: Path, tokens: Sequence[str]) -> Iterator[Attribute]:
    """Read a TSV of words and their values: a line of names, then a word and its values a line.

    A column in which every value is a number is one of numbers; an empty value is none. Words are
    as they are, or escaped as in other TSV of this package. Raises CorpusError for a file that
    cannot be read, or a line with more or fewer columns.
    """
    expected = "a TSV: a line of names, then a word and its values a line"
    lines = read_text(path, CorpusError, "a TSV of words", "a word and its values").split("\n")
    names = lines[0].removesuffix("\r").split("\t")
    if not 2 <= len(names) <= _MAX_COLUMNS:
        raise CorpusError(
            f"{path}:1: found {len(names)} columns; expected {expected}",
            "separate the word and its values by tabs, and name them in the first line",
        )
    places = {tsv_line([token])[:-1]: place for place, token in enumerate(tokens)}
    places |= {token: place for place, token in enumerate(tokens)}
    columns = [[""] * len(tokens) for _ in names[1:]]
    for number, line in enumerate(lines[1:], 2):
        cells = line.removesuffix("\r").split("\t")
        if cells == [""]:
            continue
        if len(cells) != len(names):
            raise CorpusError(f"{path}:{number}: found {len(cells)} columns; expected {len(names)}")
        if cells[0] in places:
            for column, cell in zip(columns, cells[1:], strict=True):
                column[places[cells[0]]] = cell
    for name, column in zip(names[1:], columns, strict=True):
        try:
            numbers = np.array([float(cell) if cell else np.nan for cell in column], np.float32)
        except ValueError:
            yield _categories(name, column)
        else:
            yield Attribute(name, np.where(np.isfinite(numbers), numbers, np.float32(np.nan)))


def script_of(token: str) -> str:
    """Return the script of a word's first letter, as its Unicode name begins: Latin, Devanagari.

    >>> script_of("राजा"), script_of("2nd"), script_of("!")
    ('Devanagari', 'Latin', 'none')
    """
    return next((_script(each) for each in token if each.isalpha()), "none")


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "unknown").partition(" ")[0].partition("-")[0].capitalize()


def _categories(name: str, values: Sequence[str]) -> Attribute:
    """Return categories, the most frequent first; an empty value is none."""
    distinct, inverse, counts = np.unique(
        np.array(values, object), return_inverse=True, return_counts=True
    )
    order = sorted(
        (place for place in range(len(distinct)) if distinct[place]),
        key=lambda place: (-counts[place], distinct[place]),
    )
    codes = np.full(len(distinct), -1, np.int16)
    codes[order[:MOST_CATEGORIES]] = np.arange(len(order[:MOST_CATEGORIES]))
    named = tuple(str(distinct[place]) for place in order[:MOST_CATEGORIES])
    return Attribute(name, codes[inverse], named)


def _clusters(vectors: NDArray[np.float32], tokens: Sequence[str]) -> Attribute:
    """Return the clusters of k-means by cosine, each named by three of its frequent words."""
    rows = unit(vectors)  # (N, D)
    rows = unit(rows - rows.mean(axis=0))  # without the direction that all words share
    number = min(CLUSTERS, max(1, len(rows) // _WORDS_PER_CLUSTER))
    # 1. Centres far from each other to start with (k-means++, Arthur and Vassilvitskii 2007).
    rng = np.random.default_rng(0)
    centres = rows[rng.integers(len(rows), size=1)]  # (C, D)
    for _ in range(number - 1):
        apart = np.maximum(1 - (rows @ centres.T).max(axis=1), 0).astype(np.float64)  # (N,)
        chances = np.cumsum(apart**2)
        chosen = np.searchsorted(chances, rng.random() * chances[-1])
        centres = np.vstack([centres, rows[min(int(chosen), len(rows) - 1)]])
    # 2. Each word joins the nearest centre, each centre moves to the mean of its words.
    codes = np.zeros(len(rows), np.int16)
    for _ in range(_ROUNDS):
        codes = (rows @ centres.T).argmax(axis=1).astype(np.int16)  # (N,)
        sums = np.zeros((number, rows.shape[1]), np.float32)
        np.add.at(sums, codes, rows)
        centres = unit(sums)
    # 3. The largest first, without those that no word joined.
    sizes = np.bincount(codes, minlength=number)  # (C,)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    rank = np.empty(number, np.int16)
    rank[order] = np.arange(len(order))
    names = []
    for cluster in order:
        members = np.flatnonzero(codes == cluster)
        members = members[: max(_FREQUENT, len(members) // 10)]
        nearest = np.argsort(-(rows[members] @ centres[cluster]), kind="stable")[:_NAMES]
        names.append(", ".join(tokens[members[place]] for place in sorted(nearest)))
    return Attribute("cluster", rank[codes], tuple(names))
