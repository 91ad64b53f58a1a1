"""From a table to the map of its words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from embedcli.alignment import procrustes
from embedcli.errors import ConfigError, VocabularyError
from embedcli.mapping import layout as layouts
from embedcli.mapping.attributes import Attribute, attributes
from embedcli.model import Model
from embedcli.parallel import cores
from embedcli.table import EmbeddingTable, Nearest, lengths, unit
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import notebook

if TYPE_CHECKING:
    from embedcli.comparison import TableComparison

Kind = Literal["auto", "pca", "tsne"]
Drawing = Literal["tsne", "pca", "rows"]
Report = Callable[[str, int, int, str], None]

WORDS = 20_000  # on a map, by default
MOST_WORDS = 200_000
NEIGHBORS = 10  # listed for a word, and compared with those in the picture
_FEWEST_FOR_TSNE = 30  # words; fewer are shown as well by their principal components
_FRAME_STEPS = 40  # of t-SNE, from the places of the next frame, where all neighbours are new
_FEWEST_STEPS = 6
_QUERIES = 4096  # whose neighbours are searched at a time
_DISTANCES = 1 << 18  # computed at a time: they stay in the cache


@notebook.shown
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


class Source(NamedTuple):
    """A table whose words are drawn."""

    table: EmbeddingTable
    name: str
    model: Model | None = None  # that the table is of


@dataclass(frozen=True, eq=False)
class MapPair:
    """The words that two tables have in common, drawn beside each other.

    Both maps have the same words in the same order, and the same layouts; that of the second table
    is laid on that of the first. Their first attributes are those of the comparison.
    """

    maps: tuple[Map, Map]
    comparison: TableComparison

    def _repr_svg_(self) -> str:
        from embedcli.views import map_svg

        return map_svg.svg(*self.maps)


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
    check_words(words)
    order = table.sorted("id" if table.vocabulary.counts is None else "count")
    source = Source(table, name, model)
    maps: list[Map] = _maps([source], [order.ids[:words]], (), layout, colors, report)
    return maps[0]


def map_pair(
    sources: tuple[Source, Source],
    comparison: TableComparison,
    *,
    layout: Kind = "auto",
    colors: Path | None = None,
    report: Report = lambda *_: None,
) -> MapPair:
    """Map the words of a comparison in both tables, so that the pictures can be compared.

    Words can be coloured by how far they moved, beyond chance where that is known, and by how many
    neighbours they share. All else is as in `map_words`.
    """
    columns = comparison.columns
    tokens = columns.vocabulary.tokens(slice(None))
    ids = [each.table.vocabulary.ids_of(tokens, -1).astype(np.int64) for each in sources]
    measured = [("moved", columns.moved), ("neighbors shared", columns.overlap)]
    if columns.chance is not None:
        measured.insert(0, ("moved beyond chance", columns.moved - columns.chance))
    shared = [Attribute(name, values.astype(np.float32)) for name, values in measured]
    one, two = _maps(sources, ids, shared, layout, colors, report)
    return MapPair((one, two), comparison)


def check_words(words: int) -> None:
    """Raise ConfigError for a number of words that cannot be drawn."""
    if not 1 <= words <= MOST_WORDS:
        raise ConfigError(f"words: found {words:,}; expected 1 to {MOST_WORDS:,}")


@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
@np.errstate(all="ignore")  # numbers near the largest of float32 have infinite distances
def _maps(
    sources: Sequence[Source],
    ids: Sequence[NDArray[np.int64]],
    shared: Sequence[Attribute],
    layout: Kind,
    colors: Path | None,
    report: Report,
) -> list[Map]:
    """Map the same words of one table or of two, by their ids in each, (N,).

    `shared` are attributes that come before those of each table.
    """
    # 1. The vectors.
    vectors = [each.table.rows(rows) for each, rows in zip(sources, ids, strict=True)]  # (N, D)
    for source, of, rows in zip(sources, ids, vectors, strict=True):
        for place in np.flatnonzero(~np.isfinite(rows).all(axis=1))[:1]:
            raise VocabularyError(
                f"{source.name}: the vector of {source.table.vocabulary.token(int(of[place]))!r} "
                f"(row {of[place]}) has a number that is not finite; expected numbers that can be "
                "drawn",
                f"--words {place} leaves it out" if place else "remove the word from the file",
            )
    there = np.all([lengths(rows) > 0 for rows in vectors], axis=0)  # (N,)
    if not there.any():
        names = " and ".join(each.name for each in sources)
        raise VocabularyError(f"{names}: found no vector other than zeros; expected one to draw")
    ids, vectors = [of[there] for of in ids], [rows[there] for rows in vectors]
    # 2. Exact neighbours, in the whole table and on the map.
    number = int(np.count_nonzero(there))
    k = min(max(NEIGHBORS, layouts.NEIGHBORS), number - 1)
    whole, close = [], []  # (N, k) each
    for source, of, rows in zip(sources, ids, vectors, strict=True):
        every = number == len(source.table)  # then both are the same
        near = _neighbors(source.table, of, k if every else NEIGHBORS, "neighbors", report)
        whole.append(Nearest(near.ids[:, :NEIGHBORS], near.scores[:, :NEIGHBORS]))
        if every:
            place_of = np.empty(number + 1, np.int64)  # the last: of no neighbour
            place_of[[*of, -1]] = [*range(number), -1]
            close.append(Nearest(place_of[near.ids], near.scores))
        else:
            small = EmbeddingTable(Vocabulary(map(str, range(number))), rows)
            close.append(_neighbors(small, np.arange(number), k, "neighbors on the map", report))
    # 3. Where the words are drawn.
    drawn, explained = _places(vectors, [each.ids for each in close], layout, report)
    # 4. What they can be coloured by. Clusters of the first table show where its words are now.
    several = len(sources) > 1
    shared = [replace(each, values=each.values[there]) for each in shared]
    made: list[Map] = []
    for at, (source, of, rows) in enumerate(zip(sources, ids, vectors, strict=True)):
        own = list(attributes(source.table, of, rows, source.model, colors))
        if at:
            own[0] = made[0].attributes[len(shared)]
        on_map = Nearest(close[at].ids[:, :NEIGHBORS], close[at].scores[:, :NEIGHBORS])
        made.append(
            Map(
                name=source.name,
                table=source.table,
                ids=of,
                vectors=rows,
                zeros=int(np.count_nonzero(~there)),
                arrangements=tuple(_arrangement(*each, on_map.ids) for each in drawn[at].items()),
                explained=explained[at],
                near=whole[at],
                near_on_map=on_map,
                attributes=tuple(_distinct([*shared, *own])),
                frames=()
                if several
                else tuple(_frames(drawn[at], there, close[at].ids, source.model, report)),
            )
        )
    return made


def _distinct(found: Sequence[Attribute]) -> Iterator[Attribute]:
    """Yield attributes, those of a name that came before with a number: "count (2)"."""
    times: Counter[str] = Counter()
    for each in found:
        times[each.name] += 1
        many = times[each.name]
        yield each if many == 1 else replace(each, name=f"{each.name} ({many})")


Places = dict[Drawing, NDArray[np.float64]]  # (N, 2) each, the one to show first comes first


def _places(
    vectors: Sequence[NDArray[np.float32]],
    near: Sequence[NDArray[np.int64]],
    layout: Kind,
    report: Report,
) -> tuple[list[Places], list[NDArray[np.float64]]]:
    """Place the same words by their vectors (N, D) and neighbours (N, k) in one table or two.

    Returns the places for each table, and the shares of the variance that its axes explain.
    """
    sides: list[NDArray[np.floating[Any]]] = [*vectors]
    number, dims = len(vectors[0]), {each.shape[1] for each in vectors}
    # 1. Turn and scale the second table so that it fits the first.
    if len(sides) > 1 and len(dims) == 1:
        rotation = procrustes(unit(vectors[1]), unit(vectors[0]))  # (D, D)
        one, two = (np.asarray(each, np.float64) for each in vectors)
        sides[1] = two @ rotation * (np.linalg.norm(one) / np.linalg.norm(two))
    if max(dims) <= 2:
        drawn: list[Places] = [{"rows": np.zeros((number, 2))} for _ in sides]
        for places, each in zip(drawn, sides, strict=True):
            places["rows"][:, : each.shape[1]] = each
        return drawn, [layouts.principal_components(each)[1] for each in sides]
    # 2. Principal components, of both tables in one if they have the same axes.
    if len(dims) == 1:
        both, shares = layouts.principal_components(np.concatenate(sides))
        pca, explained = np.split(both, len(sides)), [shares] * len(sides)
    else:
        pca, explained = map(list, zip(*map(layouts.principal_components, sides), strict=True))
        pca[1] = layouts.turned(pca[1] * (pca[0].std() / (pca[1].std() or 1.0)), pca[0])
    # 3. t-SNE. That of the second table starts from the places of the first.
    if layout == "pca" or (layout == "auto" and number < _FEWEST_FOR_TSNE):
        return [{"pca": each} for each in pca], explained
    few = min(layouts.NEIGHBORS, max(1, number // 3))
    say = lambda done, total: report("lay out", done, total, "steps")  # noqa: E731
    tsne = [layouts.tsne(near[0][:, :few], layouts.start_places(pca[0]), report=say)]
    for nearest in near[1:]:
        found = layouts.tsne(nearest[:, :few], tsne[0], early=0, report=say)
        tsne.append(layouts.turned(found, tsne[0]))
    return [{"tsne": a, "pca": b} for a, b in zip(tsne, pca, strict=True)], explained


def _arrangement(
    name: Drawing, places: NDArray[np.float64], near: NDArray[np.int64]
) -> Arrangement:
    kept = kept_neighbors(places, near)
    return Arrangement(name, places, kept, float(kept.sum() / max(np.count_nonzero(near >= 0), 1)))


def kept_neighbors(places: NDArray[np.float64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each word how many of its k neighbours are its k nearest in the picture, (N,).

    `places` is (N, 2); `near` (N, k) holds the neighbours, -1 for none. The plane is halved until
    its cells hold few words (a k-d tree, Bentley 1975), as the nearest of a word are in its cell or
    not far from it.
    """
    number, k = near.shape
    k = min(k, number - 1)
    kept = np.zeros(number, np.int64)
    if k < 1:
        return kept
    points = places.astype(np.float32)  # (N, 2)
    # 1. Cells of words, each with more than k of them.
    most = max(math.isqrt(_DISTANCES), 4 * k)
    cells, large = [], [np.arange(number)]
    while large:
        cell = large.pop()
        if len(cell) <= most:
            cells.append(cell)
            continue
        axis, half = np.ptp(points[cell], axis=0).argmax(), len(cell) // 2
        large += np.split(cell[np.argpartition(points[cell, axis], half)], [half])

    @np.errstate(all="ignore")  # distances may be beyond float32
    def count(cell: NDArray[np.int64]) -> None:
        # 2. The words that are no farther from a cell than any of its words from its k nearest.
        own = points[cell]  # (C, 2)
        apart = _squares(own[:, None], own)  # (C, C)
        apart.partition(k, axis=1)
        reach = 1.0001 * np.sqrt(apart[:, k].max(), dtype=np.float64)  # rounded up
        inside = (points >= own.min(axis=0) - reach) & (points <= own.max(axis=0) + reach)  # (N, 2)
        others = points[inside.all(axis=1)] if np.isfinite(reach) else points  # (O, 2)
        # 3. How far the k nearest of these are from each word, and its neighbours.
        block = max(1, _DISTANCES // len(others))
        for rows in (cell[first : first + block] for first in range(0, len(cell), block)):
            apart = _squares(points[rows, None], others)  # (B, O), 0 from the word itself
            apart.partition(k, axis=1)
            true = _squares(points[rows, None], points[near[rows]])  # (B, k)
            kept[rows] = ((true <= apart[:, k, None]) & (near[rows] >= 0)).sum(axis=1)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(count, cells))
    return kept


def _squares(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squares of the distances between points, (..., 2) each: (...)."""
    squares: NDArray[np.float32] = (one[..., 0] - two[..., 0]) ** 2
    squares += (one[..., 1] - two[..., 1]) ** 2
    return squares


def _frames(
    drawn: Mapping[Drawing, NDArray[np.float64]],
    there: NDArray[np.bool_],
    next_near: NDArray[np.int64],
    model: Model | None,
    report: Report,
) -> list[Frame]:
    """Lay out the snapshots of a training, the last first; `there` are the words of the map.

    Each starts from the places of the next one, and is turned so that it fits those best: so the
    picture does not turn, and words move no farther than they have to. `next_near` holds the
    neighbours of each word at the end, (N, k).
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
            near = table.nearest(rows, k, exclude=np.arange(len(rows))[:, None].tolist()).ids
            # The fewer neighbours are new, the fewer steps are needed.
            same = np.count_nonzero(near[:, :, None] == next_near[:, None, :k]) / near.size
            steps = max(_FEWEST_STEPS, round(_FRAME_STEPS * (1 - same)))
            places = layouts.tsne(near, places, early=0, late=steps)
            next_near = near
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
