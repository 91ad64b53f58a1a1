"""Rows of a table in few bytes: int8 with a scale for each row, or product quantization.

Rows are decoded when they are asked for: indexing returns float32. Sources: Jégou, Douze & Schmid
2011, "Product quantization for nearest neighbor search"; fastText `ProductQuantizer` and
`QuantMatrix` (Joulin et al. 2016, "FastText.zip").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedcli.storage.arrays import RowSource

if TYPE_CHECKING:
    from numpy.random import Generator  # slow to import, and not needed to read

CENTROIDS = 256  # of each part, so that a code is one byte
# Dtypes that hold as many bytes as a part of so many float32: one item is copied at once.
_WHOLE_PARTS = {1: np.float32, 2: np.complex64, 4: np.complex128}
_STEPS = 25  # of k-means, as in fastText
_MOST_POINTS = 256 * CENTROIDS  # that centroids are learnt from, as in fastText
_ROWS = 1 << 13  # that are decoded or coded at once
# Numbers of a product of points and centroids: larger ones are spread over threads, which costs
# more than these small products.
_PRODUCT = 900_000
_NUDGE = np.float32(1e-7)  # between the two halves of a cluster, relative to their length
_LARGEST = 127  # int8


@dataclass(frozen=True)
class Int8Rows:
    """Rows (V, D) as whole numbers from -127 to 127, with a scale for each row."""

    kind: ClassVar[str] = "int8"

    codes: NDArray[np.int8]  # (V, D)
    scales: NDArray[np.float32]  # (V,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and numbers of a row, (V, D)."""
        return self.codes.shape

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, ids: Any) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self.codes[ids] * self.scales[ids, None]
        return rows

    @classmethod
    def of(cls, rows: RowSource, _: int = 1) -> Int8Rows:
        """Round rows (V, D) to the nearest of 255 multiples of the largest number over 127."""
        codes = np.empty(rows.shape, np.int8)  # (V, D)
        scales = np.zeros(len(rows), np.float32)  # (V,)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            block = rows[part]
            scales[part] = np.abs(block).max(axis=1, initial=0) / np.float32(_LARGEST)
            steps = np.where(scales[part] > 0, scales[part], 1)[:, None]
            codes[part] = np.clip(np.rint(block / steps), -_LARGEST, _LARGEST)
        return cls(codes, scales)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what is stored, by name."""
        return {"codes": self.codes, "scales": self.scales}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> Int8Rows:
        """Return rows of so many words and numbers; raises KeyError, or ValueError for others."""
        codes = _require(arrays, "codes", shape, np.int8)
        scales = _require(arrays, "scales", shape[:1], np.float32)
        return cls(codes, scales)


@dataclass(frozen=True)
class ProductRows:
    """Rows (V, D) in M parts of consecutive numbers, each stored as one of 256 centroids.

    A row is its centroids side by side, times its norm if there is one.
    """

    kind: ClassVar[str] = "product"

    codes: NDArray[np.uint8]  # (V, M)
    centroids: NDArray[np.float32]  # (M, 256, width): those of the last part may be padded
    dim: int
    norm_codes: NDArray[np.uint8] | None = None  # (V,)
    norm_centroids: NDArray[np.float32] | None = None  # (256,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and numbers of a row, (V, D)."""
        return len(self.codes), self.dim

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, ids: Any) -> NDArray[np.float32]:
        codes = self.codes[ids]  # (N, M)
        parts, _, width = self.centroids.shape
        flat = self.centroids.reshape(-1, width)  # (M · 256, width)
        places = codes + np.arange(0, parts * CENTROIDS, CENTROIDS)  # (N, M)
        if width in _WHOLE_PARTS:
            found = flat.view(_WHOLE_PARTS[width])[:, 0].take(places).view(np.float32)
        else:
            found = flat.take(places, axis=0).reshape(*codes.shape[:-1], parts * width)
        rows: NDArray[np.float32] = found[..., : self.dim]  # (N, D)
        if self.norm_codes is None or self.norm_centroids is None:
            return rows
        return rows * self.norm_centroids[self.norm_codes[ids], None]

    @classmethod
    def of(cls, rows: RowSource, width: int = 2, seed: int = 1) -> ProductRows:
        """Learn centroids of parts of `width` numbers, and of the rows' norms, by k-means.

        Rows are divided by their norms first, as with fastText's `-qnorm`. Centroids are learnt
        from up to 65,536 rows. The result is the same each time.
        """
        rng = np.random.default_rng(seed)
        chosen = np.arange(len(rows))
        if len(rows) > _MOST_POINTS:
            chosen = np.sort(rng.choice(len(rows), _MOST_POINTS, replace=False))
        unit, norms = _normalized(rows[chosen])  # (P, D), (P,)
        dim = unit.shape[1]
        starts = range(0, dim, width)
        centroids = np.zeros((len(starts), CENTROIDS, width), np.float32)  # (M, 256, width)
        for number, start in enumerate(starts):
            part = np.ascontiguousarray(unit[:, start : start + width])  # (P, width)
            centroids[number, :, : part.shape[1]] = _k_means(part, rng)
        norm_centroids = _k_means(norms[:, None], rng)  # (256, 1)
        codes = np.empty((len(rows), len(starts)), np.uint8)  # (V, M)
        norm_codes = np.empty(len(rows), np.uint8)  # (V,)
        for first in range(0, len(rows), _ROWS):
            block = slice(first, first + _ROWS)
            unit, norms = _normalized(rows[block])
            for number, start in enumerate(starts):
                part = unit[:, start : start + width]
                codes[block, number] = _nearest(part, centroids[number, :, : part.shape[1]])
            norm_codes[block] = _nearest(norms[:, None], norm_centroids)
        return cls(codes, centroids, dim, norm_codes, norm_centroids[:, 0])

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what is stored, by name."""
        stored: dict[str, NDArray[Any]] = {"codes": self.codes, "centroids": self.centroids}
        if self.norm_codes is not None and self.norm_centroids is not None:
            stored |= {"norm_codes": self.norm_codes, "norm_centroids": self.norm_centroids}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> ProductRows:
        """Return rows of so many words and numbers; raises KeyError, or ValueError for others."""
        words, dim = shape
        width = arrays["centroids"].shape[-1] if arrays["centroids"].ndim == 3 else 0
        if not 0 < width <= max(dim, 1):
            raise ValueError(f"centroids of {arrays['centroids'].shape} for rows of {dim}")
        parts = -(-dim // width)
        norms = "norm_codes" in arrays
        return cls(
            _require(arrays, "codes", (words, parts), np.uint8),
            _require(arrays, "centroids", (parts, CENTROIDS, width), np.float32),
            dim,
            _require(arrays, "norm_codes", (words,), np.uint8) if norms else None,
            _require(arrays, "norm_centroids", (CENTROIDS,), np.float32) if norms else None,
        )


QUANTIZERS: dict[str, type[Int8Rows] | type[ProductRows]] = {
    each.kind: each for each in (Int8Rows, ProductRows)
}


def _require(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], dtype: Any
) -> NDArray[Any]:
    found = arrays[name]
    if found.shape != shape or found.dtype != np.dtype(dtype) or not found.flags.c_contiguous:
        raise ValueError(
            f"{name}: found {found.shape} {found.dtype}; expected {shape} {np.dtype(dtype)}"
        )
    return found


def _normalized(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Divide rows (N, D) by their norms; a row of zeros stays. Returns rows and norms, (N,)."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)  # (N,)
    unit = rows / np.where(norms > 0, norms, 1)[:, None]
    return unit.astype(np.float32), norms.astype(np.float32)


def _k_means(points: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Return 256 centroids of points (P, w), (256, w), by Lloyd's algorithm from random points.

    A cluster that has become empty takes half of the largest one, as in fastText's `MStep`.
    """
    centroids = points[rng.permutation(len(points))[np.arange(CENTROIDS) % max(len(points), 1)]]
    before = None
    for _ in range(_STEPS if len(points) > CENTROIDS else 0):
        codes = _nearest(points, centroids)  # (P,)
        if before is not None and (codes == before).all():
            break
        before = codes
        sizes = np.bincount(codes, minlength=CENTROIDS)  # (256,)
        for column, numbers in enumerate(points.T):
            sums = np.bincount(codes, numbers, CENTROIDS)  # (256,)
            centroids[:, column] = sums / np.maximum(sizes, 1)
        for empty in np.flatnonzero(sizes == 0):
            largest = int(sizes.argmax())
            centroids[empty] = centroids[largest] * (1 + _NUDGE)
            sizes[empty] = sizes[largest] // 2
            sizes[largest] -= sizes[empty]
    return centroids


def _nearest(points: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the nearest centroid of each point (P, w), (P,).

    That is the one with the largest product, less half of its own square.
    """
    if centroids.shape[1] == 1:
        order = np.argsort(centroids[:, 0], kind="stable")
        ascending = centroids[order, 0]
        between = (ascending[1:] + ascending[:-1]) / 2  # (255,)
        return order[np.searchsorted(between, points[:, 0])].astype(np.uint8)
    halves = (centroids**2).sum(axis=1, keepdims=True) / 2  # (256, 1)
    scored = np.concatenate([centroids, -halves], axis=1).T.copy()  # (w + 1, 256)
    ones = np.ones((len(points), 1), np.float32)
    extended = np.concatenate([points, ones], axis=1)  # (P, w + 1)
    codes = np.empty(len(points), np.uint8)  # (P,)
    step = _PRODUCT // scored.size or 1
    scores = np.empty((step, CENTROIDS), np.float32)  # stays in the cache
    for start in range(0, len(points), step):
        some = extended[start : start + step]
        np.matmul(some, scored, out=scores[: len(some)])
        codes[start : start + step] = scores[: len(some)].argmax(axis=1)
    return codes
