"""From a table to the map of its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

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
Drawing = Literal["tsne", "pca", "rows"]
Report = Callable[[str, int, int, str], None]

WORDS = 20_000  # on a map, by default
MOST_WORDS = 200_000
NEIGHBORS = 10  # listed for a word, and compared with those in the picture
_FEWEST_FOR_TSNE = 30  # words; fewer are shown as well by their principal components
_FRAME_STEPS = 40  # of t-SNE, from the places of the next frame
_QUERIES = 4096  # whose neighbours are searched at a time
_DISTANCES = 1 << 18  # computed at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Arrangement:
    """One way to draw the words: their places, and how many true neighbours those keep.

    `name` is "tsne", "pca", or "rows" where the vectors have two numbers or fewer and are drawn as
    they are. `kept` tells for each word how many of its k nearest on the map, by cosine, are among
    its k nearest in the picture.
    """

    name: Drawing
    places: NDArray[np.float64]  # (N, 2)
    kept: NDArray[np.int64]  # (N,)
    share: float  # of all true neighbours that are kept


class Frame(NamedTuple):
    """Where the words are drawn at a moment of the training, and the share of it that is done."""

    done: float  # 0 to 1
    places: NDArray[np.float64]  # (N, 2)


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
    frames: tuple[Frame, ...] = ()  # of the first arrangement; the last is that arrangement

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
    drawn: dict[Drawing, NDArray[np.float64]] = {"pca": places}
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
        frames=tuple(_frames(drawn, there, model, report)),
    )


def _arrangement(
    name: Drawing, places: NDArray[np.float64], near: NDArray[np.int64]
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


def _frames(
    drawn: Mapping[Drawing, NDArray[np.float64]],
    there: NDArray[np.bool_],
    model: Model | None,
    report: Report,
) -> list[Frame]:
    """Lay out the snapshots of a training, the last first; `there` are the words of the map.

    Each starts from the places of the next one, and is turned so that it fits those best: so the
    picture does not turn, and words move no farther than they have to.
    """
    kind, places = next(iter(drawn.items()))
    if model is None or model.snapshots is None or model.snapshot_shares is None:
        return []
    if kind not in ("tsne", "pca") or len(there) > model.snapshots.shape[1]:
        return []
    frames = [Frame(1.0, places)]
    for number in reversed(range(len(model.snapshots))):
        rows = np.asarray(model.snapshots[number, : len(there)][there], np.float32)  # (N, D)
        table = EmbeddingTable(Vocabulary(map(str, range(len(rows)))), rows)
        if kind == "tsne":
            k = min(layouts.NEIGHBORS, max(1, len(rows) // 3))
            near = table.nearest(rows, k, exclude=np.arange(len(rows))[:, None].tolist())
            places = layouts.tsne(near.ids, places, early=0, late=_FRAME_STEPS)
        else:
            places, _ = layouts.principal_components(rows)
        places = layouts.turned(places, frames[-1].places)
        frames.append(Frame(float(model.snapshot_shares[number]), places))
        report("lay out the film", len(frames) - 1, len(model.snapshots), "frames")
    return frames[::-1]


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
