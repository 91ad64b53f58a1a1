"""From a table to the map of its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import ConfigError, VocabularyError
from embedcli.mapping import layout as layouts
from embedcli.mapping.attributes import Attribute, attributes
from embedcli.model import Model
from embedcli.parallel import cores
from embedcli.table import EmbeddingTable, Nearest, lengths
from embedcli.text.vocabulary import Vocabulary

Kind = Literal["auto", "pca", "tsne"]
Report = Callable[[str, int, int, str], None]

WORDS = 20_000  # on a map, by default
MOST_WORDS = 200_000
NEIGHBORS = 10  # listed for a word, and compared with those in the picture
_FEWEST_FOR_TSNE = 30  # words; fewer are shown as well by their principal components
_QUERIES = 4096  # whose neighbours are searched at a time
_DISTANCES = 1 << 18  # computed at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Arrangement:
    """One way to draw the words: their places, and how many true neighbours those keep.

    `name` is "tsne", "pca", or "rows" where the vectors have two numbers or fewer and are drawn as
    they are. `kept` tells for each word how many of its k nearest on the map, by cosine, are among
    its k nearest in the picture.
    """

    name: Literal["tsne", "pca", "rows"]
    places: NDArray[np.float64]  # (N, 2)
    kept: NDArray[np.int64]  # (N,)
    share: float  # of all true neighbours that are kept


@dataclass(frozen=True, eq=False, kw_only=True)
class Map:
    """Words of a table, the most frequent first, and where they are drawn.

    `near` holds the places, in the table, of the k words nearest to each by cosine, whether or not
    they are on the map; `near_on_map` holds places on the map. Both are exact.
    """

    name: str  # of the model or file
    table: EmbeddingTable
    ids: NDArray[np.int64]  # (N,)
    vectors: NDArray[np.float32]  # (N, D)
    zeros: int  # words that were left out, as all their numbers are zero
    arrangements: tuple[Arrangement, ...]  # the one to show first comes first
    explained: NDArray[np.float64]  # share of the variance on each principal axis, (min(N, D),)
    near: Nearest  # (N, k)
    near_on_map: Nearest  # (N, k)
    attributes: tuple[Attribute, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def tokens(self) -> Sequence[str]:
        """The words on the map."""
        return self.table.vocabulary.tokens(self.ids)

    def _repr_svg_(self) -> str:
        from embedcli.views import map_svg

        return map_svg.svg(self)


@np.errstate(all="ignore")  # numbers near the largest of float32 have infinite distances
def map_words(
    table: EmbeddingTable,
    name: str,
    *,
    words: int = WORDS,
    layout: Kind = "auto",
    model: Model | None = None,
    colors: Path | None = None,
    report: Report = lambda *_: None,
) -> Map:
    """Map the `words` most frequent words of a table, or its first ones where it has no counts.

    `model` adds what is known of its training, and `colors` the columns of a TSV. `report` is told
    what is being done, how much of it is done, the total, and the unit. Raises ConfigError for too
    many words, VocabularyError for a table without words or with numbers that are not finite.
    """
    if not 1 <= words <= MOST_WORDS:
        raise ConfigError(f"words: found {words:,}; expected 1 to {MOST_WORDS:,}")
    # 1. The words, and their vectors.
    order = table.sorted("id" if table.vocabulary.counts is None else "count")
    ids = order.ids[:words]  # (N,)
    vectors = table.rows(ids)  # (N, D)
    for place in np.flatnonzero(~np.isfinite(vectors).all(axis=1))[:1]:
        raise VocabularyError(
            f"{name}: the vector of {order.tokens[place]!r} (row {ids[place]}) has a number that "
            "is not finite; expected numbers that can be drawn",
            f"--words {place} leaves it out" if place else "remove the word from the file",
        )
    there = lengths(vectors) > 0  # (N,)
    zeros = int(np.count_nonzero(~there))
    ids, vectors = ids[there], vectors[there]
    if not len(ids):
        raise VocabularyError(f"{name}: found no vector other than zeros; expected one to draw")
    # 2. Their exact neighbours, in the whole table and on the map.
    near = _neighbors(table, ids, NEIGHBORS, "neighbors", report)
    k = min(max(NEIGHBORS, layouts.NEIGHBORS), len(ids) - 1)
    small = EmbeddingTable(Vocabulary(map(str, range(len(ids)))), vectors)
    close = _neighbors(small, np.arange(len(ids)), k, "neighbors on the map", report)
    near_on_map = Nearest(close.ids[:, :NEIGHBORS], close.scores[:, :NEIGHBORS])
    # 3. Where they are drawn.
    places, explained = layouts.principal_components(vectors)
    drawn: dict[Literal["tsne", "pca", "rows"], NDArray[np.float64]] = {"pca": places}
    if table.dim <= 2:
        drawn = {"rows": np.zeros((len(ids), 2))}
        drawn["rows"][:, : table.dim] = vectors
    elif layout == "tsne" or (layout == "auto" and len(ids) >= _FEWEST_FOR_TSNE):
        few = min(layouts.NEIGHBORS, max(1, len(ids) // 3))
        tsne = layouts.tsne(
            close.ids[:, :few],
            layouts.start_places(places),
            report=lambda done, total: report("lay out", done, total, "steps"),
        )
        drawn = {"tsne": tsne, "pca": places}
    return Map(
        name=name,
        table=table,
        ids=ids,
        vectors=vectors,
        zeros=zeros,
        arrangements=tuple(_arrangement(*each, near_on_map.ids) for each in drawn.items()),
        explained=explained,
        near=near,
        near_on_map=near_on_map,
        attributes=tuple(attributes(table, ids, vectors, model, colors)),
    )


def _arrangement(
    name: Literal["tsne", "pca", "rows"], places: NDArray[np.float64], near: NDArray[np.int64]
) -> Arrangement:
    kept = kept_neighbors(places, near)
    return Arrangement(name, places, kept, float(kept.sum() / max(np.count_nonzero(near >= 0), 1)))


def kept_neighbors(places: NDArray[np.float64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each word how many of its k neighbours are its k nearest in the picture, (N,).

    `places` is (N, 2); `near` (N, k) holds the neighbours, -1 for none.
    """
    number, k = near.shape
    k = min(k, number - 1)
    kept = np.zeros(number, np.int64)
    if k < 1:
        return kept
    x, y = np.ascontiguousarray(places.T, np.float32)  # (N,)
    block = max(1, _DISTANCES // number)

    @np.errstate(all="ignore")  # distances may be beyond float32
    def count(first: int) -> None:
        part = slice(first, min(first + block, number))
        apart = (x[part, None] - x) ** 2  # (B, N)
        apart += (y[part, None] - y) ** 2
        rows = np.arange(part.stop - part.start)
        apart[rows, np.arange(first, part.stop)] = -1  # the word itself
        true = np.take_along_axis(apart, np.maximum(near[part], 0), axis=1)  # (B, k)
        apart.partition(k, axis=1)
        kept[part] = ((true <= apart[:, k, None]) & (near[part] >= 0)).sum(axis=1)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(count, range(0, number, block)))
    return kept


def _neighbors(
    table: EmbeddingTable, ids: NDArray[np.int64], k: int, what: str, report: Report
) -> Nearest:
    """Search the k words nearest to each of some ids, other than the word itself: (N, k)."""
    parts = []
    for first in range(0, len(ids), _QUERIES):
        part = ids[first : first + _QUERIES]
        parts.append(table.nearest(table.rows(part), k, exclude=part[:, None].tolist()))
        report(what, first + len(part), len(ids), "words")
    return Nearest(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
