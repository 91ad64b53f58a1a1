"""The page of a map: one HTML file that holds its data, its style and its script.

The page requests nothing: its content security policy allows the style and the script that are in
it, by their digests, and nothing else. Words reach it as JSON, and the script as text of elements.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.views import pages
from embedcli.views.terminal import escaped, visible

if TYPE_CHECKING:
    from embedcli.mapping import Attribute, Map

EXPLAINED = 10  # principal axes whose shares of the variance the page holds
NONE = 0xFFFFFFFF  # stands for no word
_ALIGNED = 8  # bytes, at which each array begins

Square = tuple[NDArray[np.float64], float]  # its middle (2,), and half of its side


def html(*maps: Map, title: str = "") -> str:
    """Return the page of one map, or of two of the same words side by side."""
    style, script = pages.read("map.css"), pages.read("map.js")
    arrays = _Arrays()
    title = title or " and ".join(each.name for each in maps)
    # Both maps of a pair are packed in one square, so that their places can be compared.
    squares = [
        square(*(each.places for each in same))
        for same in zip(*(of.arrangements for of in maps), strict=True)
    ]
    compared = [each.name for each in compared_in(*maps)]
    data = {
        "title": visible(title),
        "maps": [_map(each, compared, squares, arrays) for each in maps],
    }
    allowed = f"style-src {pages.digest(style)}; script-src {pages.digest(script)}"
    return Template(pages.read("map.html")).substitute(
        policy=pages.policy(allowed),
        version=__version__,
        title=escaped(title),
        style=style,
        data=pages.script_data(data),
        arrays=arrays.base64(),
        script=script,
    )


class _Arrays:
    """Arrays one after another, as one text; JSON names each by kind, offset and length."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: NDArray[Any], dtype: str) -> list[str | int]:
        """Add an array as numbers of a kind, and return how the page finds it."""
        data = np.ascontiguousarray(array, f"<{dtype}").tobytes()
        place: list[str | int] = [dtype, self._size, array.size]
        self._parts.append(data + bytes(-len(data) % _ALIGNED))
        self._size += len(self._parts[-1])
        return place

    def base64(self) -> str:
        """Return all of it."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")


def compared_in(*maps: Map) -> list[Attribute]:
    """Return what was computed from two tables, and is the same in both of their maps."""
    return [
        each
        for each in maps[0].attributes
        if len(maps) > 1 and each in maps[1].attributes and not each.categories
    ]


def _map(
    of: Map, compared: Sequence[str], squares: Sequence[Square], arrays: _Arrays
) -> dict[str, Any]:
    size, tokens = len(of), list(of.tokens)
    # 1. Neighbours by their place on the map; those that are not on it come after, as `off`.
    place = np.full(len(of.table), -1, np.int64)  # (V,) of each row of the table
    place[of.ids] = np.arange(size)
    found = of.near.ids[of.near.ids >= 0]
    rare = np.unique(found[place[found] < 0])
    place[rare] = size + np.arange(len(rare))
    off = list(of.table.vocabulary.tokens(rare))
    near = np.where(of.near.ids >= 0, place[np.maximum(of.near.ids, 0)], NONE)  # (N, k)
    # 2. Words as the page may show them, where that is not as they are.
    every = tokens + off
    shown = [visible(token) for token in every]
    middle, half = squares[0]
    wide = middle, 2 * half  # of the film's frames
    longest = np.abs(of.vectors).max(axis=1, keepdims=True)  # (N, 1)
    bytes_of_vectors = np.rint(of.vectors / longest * 127)  # (N, D)
    return {
        "name": visible(of.name),
        "words": len(of.table),
        "dim": of.vectors.shape[1],
        "zeros": of.zeros,
        "compared": compared,
        "k": of.near_on_map.ids.shape[1],
        "tokens": tokens,
        "off": off,
        "visible": {i: each for i, each in enumerate(shown) if each != every[i]},
        "ids": arrays.add(of.ids, "u4"),
        "vectors": arrays.add(bytes_of_vectors, "i1"),
        "near": [arrays.add(near, "u4"), _cosines(of.near.scores, arrays)],
        "near_on_map": [
            arrays.add(np.where(of.near_on_map.ids >= 0, of.near_on_map.ids, NONE), "u4"),
            _cosines(of.near_on_map.scores, arrays),
        ]
        if len(rare)
        else None,
        "layouts": [
            {
                "name": each.name,
                "keeps": each.share,
                "middle": middle.tolist(),
                "half": half,
                "places": arrays.add(packed(each.places, (middle, half)), "u2"),
                "kept": arrays.add(each.kept, "u1"),
            }
            for each, (middle, half) in zip(of.arrangements, squares, strict=True)
        ],
        "explained": of.explained[:EXPLAINED].tolist(),
        "attributes": [
            {
                "name": visible(each.name),
                "values": _values(each, arrays),
                "categories": [visible(name) for name in each.categories],
                "logarithmic": each.logarithmic,
                "signed": each.signed,
            }
            for each in of.attributes
        ],
        "frames": [
            {"done": frame.done, "places": arrays.add(packed(frame.places, wide), "u2")}
            for frame in of.frames
        ],
    }


def _values(of: Attribute, arrays: _Arrays) -> list[str | int]:
    if of.categories:
        return arrays.add(of.values, "i2")
    return arrays.add(np.where(np.isfinite(of.values), of.values, np.nan), "f4")


def _cosines(scores: NDArray[np.float32], arrays: _Arrays) -> list[str | int]:
    """Add cosines as ten-thousandths: as many digits as `embed neighbors` prints."""
    return arrays.add(np.rint(np.nan_to_num(scores).astype(np.float64) * 1e4), "i2")


def packed(places: NDArray[np.float64], within: Square) -> NDArray[np.int64]:
    """Return places (N, 2) as numbers from 0 to 65,535, the middle of a square at the middle."""
    middle, half = within
    scaled = np.clip(((places - middle) / half + 1) * 32767.5, 0, 65535)
    return np.rint(scaled).astype(np.int64)


def square(*several: NDArray[np.float64]) -> Square:
    """Return the middle (2,) of the smallest square around places, and half of its side."""
    low = np.min([places.min(axis=0) for places in several], axis=0)
    high = np.max([places.max(axis=0) for places in several], axis=0)
    return (low + high) / 2, float((high - low).max()) / 2 or 1.0
