"""A map as a picture, as lines of TSV, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedcli.views.canvas import MARGIN, MUTED, SANS, clipped, text_width
from embedcli.views.colors import INK, PAPER
from embedcli.views.map_page import compared_in, html, packed, square
from embedcli.views.terminal import escaped, json_text, numbers, tsv_line, visible

if TYPE_CHECKING:
    from embedcli.mapping import Map

LAYOUTS = {"tsne": "t-SNE", "pca": "PCA", "rows": "The drawing of both numbers"}
# Calm colours of the clusters; those of the page are the same.
PALETTE = (
    "#4c78a8", "#dd8443", "#579f6e", "#c65b5f", "#8b72b3", "#a17c5e", "#cf82a5", "#3f9ba6",
    "#b29c2f", "#7d8798", "#86a845", "#7c83d6",
)  # fmt: skip
WIDTH, HEIGHT = 1200, 800
COLUMNS = ("index", "token", "count", "x", "y", "kept")  # of a word, in TSV and JSON
LABELS = 220  # at most
LABEL_SIZE = 12.5
_LONGEST_LABEL = 130  # pixels
_OUTSIDE = 0.002  # share of the words at each edge that may lie out of the picture


def formatted(output: str, *maps: Map) -> str:
    """Return a map, or two of the same words, as html, svg, tsv or json."""
    if output == "html":
        return html(*maps)
    if output == "svg":
        return svg(*maps)
    if output == "tsv":
        return "".join(map(tsv_line, _pair_lines(*maps) if len(maps) > 1 else _lines(*maps)))
    return json_text(record_of(*maps)) + "\n"


def summary(*maps: Map) -> str:
    """Return what is drawn, and how many neighbours the picture keeps, in one line.

    The neighbours counted are those on the map.
    """
    first, k = maps[0].arrangements[0], maps[0].near_on_map.ids.shape[1]
    shown = " and ".join(f"{len(of.table):,}" for of in maps)
    shown = f"{len(maps[0]):,} of {shown} words"
    if not k:
        return shown
    shares = " and ".join(f"{of.arrangements[0].share:.0%}" for of in maps)
    return f"{shown}; {LAYOUTS[first.name]} keeps {shares} of the {k} nearest of each"


def record_of(*maps: Map) -> dict[str, Any]:
    """Return a map, or two, as docs/map.md describes them."""
    if len(maps) > 1:
        compared = {each.name: numbers(each.values) for each in compared_in(*maps)}
        return {"maps": [record_of(each) for each in maps], "compared": compared}
    (of,) = maps
    return {
        "model": of.name,
        "words": len(of.table),
        "zeros": of.zeros,
        "layout": of.arrangements[0].name,
        "kept": {each.name: each.share for each in of.arrangements},
        "explained": of.explained.tolist(),
        "points": list(_points(of)),
    }


def _lines(of: Map) -> Iterator[list[Any]]:
    """Yield the `COLUMNS` of each word."""
    first, counts = of.arrangements[0], of.table.vocabulary.counts
    for i, (index, token) in enumerate(zip(of.ids.tolist(), of.tokens, strict=True)):
        x, y = first.places[i].astype(np.float64).round(4).tolist()
        count = None if counts is None else int(counts[index])
        yield [index, token, count, x, y, int(first.kept[i])]


def _pair_lines(*maps: Map) -> Iterator[list[Any]]:
    """Yield the names of the columns, then each word: what was compared, and both of its places."""
    compared = compared_in(*maps)
    names = [name for name in COLUMNS if name != "token"]
    yield ["token", *(each.name for each in compared), *(f"{n}_{s}" for s in "ab" for n in names)]
    for i, sides in enumerate(zip(*map(_lines, maps), strict=True)):
        both = [value for index, _, *others in sides for value in (index, *others)]
        yield [sides[0][1], *(f"{each.values[i]:.6g}" for each in compared), *both]


def _points(of: Map) -> Iterator[dict[str, Any]]:
    """Yield each word: where it is drawn, and its neighbours."""
    found = of.near.ids >= 0  # (N, k)
    names = iter(of.table.vocabulary.tokens(of.near.ids[found]))
    scores = of.near.scores.astype(np.float64).round(6)
    for i, line in enumerate(_lines(of)):
        near = [{"token": next(names), "score": score} for score in scores[i, found[i]].tolist()]
        yield dict(zip(COLUMNS, line, strict=True)) | {"neighbors": near}


def svg(*maps: Map) -> str:
    """Return a picture of a map, or of two side by side, in the colours of its clusters.

    It has the words that there is room for; the most frequent are written first.
    """
    # A few words far out do not make the others small. Two maps are drawn in one frame.
    every = square(*(of.arrangements[0].places for of in maps))
    places = [packed(of.arrangements[0].places, every) * (1.0, -1.0) for of in maps]  # (N, 2) each
    low, high = np.quantile(np.concatenate(places), [_OUTSIDE, 1 - _OUTSIDE], axis=0)  # (2,)
    drawn = [_picture(of, each, low, high) for of, each in zip(maps, places, strict=True)]
    if len(drawn) == 1:
        return drawn[0]
    right = drawn[1].replace("<svg ", f'<svg x="{WIDTH}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" '
        f'width="{2 * WIDTH}" height="{HEIGHT}">\n{drawn[0]}{right}</svg>\n'
    )


def _picture(of: Map, places: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> str:
    """Return the picture of a map, by places (N, 2), most of which lie between two corners (2,)."""
    # 1. Places in pixels.
    box = np.array([WIDTH - 2 * MARGIN, HEIGHT - 3 * MARGIN])  # pixels
    scale = (box / np.maximum(high - low, 1)).min()
    x, y = ((places - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT - MARGIN]) / 2).T  # (N,)
    radius = float(np.clip(0.12 * np.sqrt(box.prod() / len(of)), 1.2, 4))
    # 2. The points, one path a colour.
    clusters = next(each for each in of.attributes if each.name == "cluster")
    shapes = []
    for code, color in zip(range(len(clusters.categories)), PALETTE, strict=False):
        members = np.flatnonzero(clusters.values == code)
        course = "".join(f"M{x[i]:.1f} {y[i]:.1f}h0" for i in members.tolist())
        shapes.append(f'<path d="{course}" stroke="{color}"/>')
    # 3. The words, where they cover no other.
    labels: list[str] = []
    taken = np.empty((0, 4))  # (L, 4) boxes
    for i, token in enumerate(of.tokens[: 20 * LABELS]):
        if len(labels) == LABELS:
            break
        label = clipped(token, LABEL_SIZE, _LONGEST_LABEL)
        left, width = x[i] + radius + 2, text_width(label, LABEL_SIZE) * 1.15
        new = np.array([left - 3, y[i] - 8, left + width + 3, y[i] + 8])
        covers = ((new[:2] < taken[:, 2:]) & (new[2:] > taken[:, :2])).all(axis=1)
        if covers.any() or new[0] < 0 or new[2] > WIDTH or new[1] < 0 or new[3] > HEIGHT - MARGIN:
            continue
        taken = np.vstack([taken, new])
        labels.append(f'<text x="{left:.1f}" y="{y[i] + 4:.1f}">{escaped(label)}</text>')
    title = escaped(f"A map of the words of {of.name}")
    caption = escaped(f"{visible(of.name)}: {summary(of)}")
    newline = "\n"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="{SANS}" role="img">\n<title>{title}</title>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>\n'
        f'<g fill="none" stroke-linecap="round" stroke-width="{2 * radius:.2f}" '
        f'stroke-opacity="0.75">\n{newline.join(shapes)}\n</g>\n'
        f'<g font-size="{LABEL_SIZE}" fill="{INK}" stroke="{PAPER}" stroke-width="3" '
        f'stroke-linejoin="round" paint-order="stroke">\n{newline.join(labels)}\n</g>\n'
        f'<text x="{MARGIN}" y="{HEIGHT - 18}" font-size="13" fill="{MUTED}">{caption}</text>\n'
        "</svg>\n"
    )
