"""A map as a picture, as lines of TSV, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from embedcli.views.canvas import MARGIN, MUTED, SANS, clipped, text_width
from embedcli.views.colors import INK, PAPER
from embedcli.views.map_page import html, packed
from embedcli.views.terminal import escaped, json_text, tsv_line, visible

if TYPE_CHECKING:
    from embedcli.mapping import Map

LAYOUTS = {"tsne": "t-SNE", "pca": "PCA", "rows": "The drawing of both numbers"}
# Calm colours of the clusters; those of the page are the same.
PALETTE = (
    "#4c78a8", "#dd8443", "#579f6e", "#c65b5f", "#8b72b3", "#a17c5e", "#cf82a5", "#3f9ba6",
    "#b29c2f", "#7d8798", "#86a845", "#7c83d6",
)  # fmt: skip
WIDTH, HEIGHT = 1200, 800
LABELS = 220  # at most
LABEL_SIZE = 12.5
_LONGEST_LABEL = 130  # pixels
_OUTSIDE = 0.002  # share of the words at each edge that may lie out of the picture


def formatted(of: Map, output: str) -> str:
    """Return a map as html, svg, tsv or json."""
    if output == "html":
        return html(of)
    if output == "svg":
        return svg(of)
    if output == "tsv":
        return "".join(tsv_line(list(each.values())[:6]) for each in _points(of))
    return json_text(record_of(of)) + "\n"


def summary(of: Map) -> str:
    """Return what is drawn, and how many neighbours the picture keeps, in one line.

    The neighbours counted are those on the map.
    """
    first, k = of.arrangements[0], of.near_on_map.ids.shape[1]
    shown = f"{len(of):,} of {len(of.table):,} words"
    if not k:
        return shown
    return f"{shown}; {LAYOUTS[first.name]} keeps {first.share:.0%} of the {k} nearest of each"


def record_of(of: Map) -> dict[str, Any]:
    """Return a map as docs/map.md describes it."""
    return {
        "model": of.name,
        "words": len(of.table),
        "zeros": of.zeros,
        "layout": of.arrangements[0].name,
        "kept": {each.name: each.share for each in of.arrangements},
        "explained": of.explained.tolist(),
        "points": list(_points(of)),
    }


def _points(of: Map) -> Iterator[dict[str, Any]]:
    """Yield each word: where it is drawn, and its neighbours."""
    first, vocabulary = of.arrangements[0], of.table.vocabulary
    counts = vocabulary.counts
    found = of.near.ids >= 0  # (N, k)
    names = iter(vocabulary.tokens(of.near.ids[found]))
    scores = of.near.scores.astype(np.float64).round(6)
    for i, (index, token) in enumerate(zip(of.ids.tolist(), of.tokens, strict=True)):
        yield {
            "index": index,
            "token": token,
            "count": None if counts is None else int(counts[index]),
            "x": round(float(first.places[i, 0]), 4),
            "y": round(float(first.places[i, 1]), 4),
            "kept": int(first.kept[i]),
            "neighbors": [
                {"token": next(names), "score": score} for score in scores[i, found[i]].tolist()
            ],
        }


def svg(of: Map) -> str:
    """Return a picture of a map, in the colours of its clusters, with the words there is room for.

    The most frequent words are written first.
    """
    # 1. Places in pixels. A few words far out do not make the others small.
    places = packed(of.arrangements[0].places).astype(np.float64)  # (N, 2)
    places[:, 1] *= -1  # upwards
    low, high = np.quantile(places, [_OUTSIDE, 1 - _OUTSIDE], axis=0)  # (2,)
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
