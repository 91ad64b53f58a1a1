"""The page of a map: one HTML file that holds its data, its style and its script.

The page requests nothing: its content security policy allows the style and the script that are in
it, by their digests, and nothing else. Words reach it as JSON, and the script as text of elements.
"""

from __future__ import annotations

import base64
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.views import pages
from embedcli.views.terminal import escaped, visible

if TYPE_CHECKING:
    from embedcli.mapping import Arrangement, Attribute, Map

EXPLAINED = 10  # principal axes whose shares of the variance the page holds
NONE = 0xFFFFFFFF  # stands for no word
_ALIGNED = 8  # bytes, at which each array begins


def html(*maps: Map, title: str = "") -> str:
    """Return the page of one map, or of two side by side."""
    style, script = pages.read("map.css"), pages.read("map.js")
    arrays = _Arrays()
    title = title or " and ".join(each.name for each in maps)
    data = {"title": visible(title), "maps": [_map(each, arrays) for each in maps]}
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


def _map(of: Map, arrays: _Arrays) -> dict[str, Any]:
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
    longest = np.abs(of.vectors).max(axis=1, keepdims=True)  # (N, 1)
    bytes_of_vectors = np.rint(of.vectors / longest * 127)  # (N, D)
    return {
        "name": visible(of.name),
        "words": len(of.table),
        "dim": of.vectors.shape[1],
        "zeros": of.zeros,
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
        "layouts": [_layout(each, arrays) for each in of.arrangements],
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
            {"done": frame.done, "places": _frame(of.arrangements[0].places, frame.places, arrays)}
            for frame in of.frames
        ],
    }


def _values(of: Attribute, arrays: _Arrays) -> list[str | int]:
    if of.categories:
        return arrays.add(of.values, "i2")
    return arrays.add(np.where(np.isfinite(of.values), of.values, np.nan), "f4")


def _frame(
    final: NDArray[np.float64], places: NDArray[np.float64], arrays: _Arrays
) -> list[str | int]:
    """Add the places of a frame, packed in a square twice as wide as the final ones."""
    middle, half = _square(final)
    wide = ((places - middle) / (2 * half) + 1) * 32767.5
    return arrays.add(np.rint(np.clip(wide, 0, 65535)), "u2")


def _cosines(scores: NDArray[np.float32], arrays: _Arrays) -> list[str | int]:
    """Add cosines as ten-thousandths: as many digits as `embed neighbors` prints."""
    return arrays.add(np.rint(np.nan_to_num(scores).astype(np.float64) * 1e4), "i2")


def _layout(of: Arrangement, arrays: _Arrays) -> dict[str, Any]:
    middle, half = _square(of.places)
    return {
        "name": of.name,
        "keeps": of.share,
        "middle": middle.tolist(),
        "half": half,
        "places": arrays.add(packed(of.places), "u2"),
        "kept": arrays.add(of.kept, "u1"),
    }


def packed(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return places (N, 2) as numbers from 0 to 65,535, the middle of the map at the middle."""
    middle, half = _square(places)
    scaled: NDArray[np.int64] = np.rint(((places - middle) / half + 1) * 32767.5).astype(np.int64)
    return scaled


def _square(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the middle (2,) of the smallest square around places, and half of its side."""
    low, high = places.min(axis=0), places.max(axis=0)
    return (low + high) / 2, float((high - low).max()) / 2 or 1.0
