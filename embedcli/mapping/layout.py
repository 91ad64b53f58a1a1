"""Places of vectors in the plane: principal components, and t-SNE by Fourier transforms.

t-SNE (van der Maaten and Hinton 2008) with the same affinity for each of a word's nearest
neighbours (Böhm et al. 2022, "Attraction-repulsion spectrum in neighbor embeddings"). The repulsion
between all words is a convolution, computed on a grid as in FIt-SNE (Linderman et al. 2019), with
the B-splines of smooth particle mesh Ewald (Essmann et al. 1995, section 2) to and from the grid.
Repulsion is the slope of one potential, the sum of 1 / (1 + d²), so a step takes one convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEIGHBORS = 15  # that attract a word
EARLY, LATE = 100, 250  # steps with and without exaggerated attraction; more keep no more
EXAGGERATION = 12.0
START_SPREAD = 1e-4  # standard deviation of the first places, as in openTSNE
_GRID_STEP = 0.8  # at most; at 0.5 the map keeps as many neighbours and takes three times as long
_FEWEST_CELLS = 32  # across the map while it is small
_MIN_GAIN = 0.01
_FEW = 256  # words whose pairs are computed one by one, faster and exactly
_MARGIN = 3  # cells around the map, which the splines of the outermost words reach


def principal_components(vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return the coordinates of N rows (N, D) on two principal axes, and the variance of each.

    The coordinates are (N, 2), zeros for an axis that D or N does not allow; the shares of the
    variance are (min(N, D),), the largest first. Of the two directions of an axis it takes the one
    in which the coordinate farthest from zero is positive.
    """
    rows = np.asarray(vectors, np.float64)
    rows = rows - rows.mean(axis=0)  # (N, D)
    largest = np.abs(rows).max(initial=0) or 1.0
    rows /= largest
    variances, axes = np.linalg.eigh(rows.T @ rows)  # (D,), (D, D)
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    places = np.zeros((len(rows), 2))
    places[:, : axes.shape[1]] = rows @ axes[:, :2] * largest
    for axis in places.T:
        if axis[np.abs(axis).argmax()] < 0:
            axis *= -1
    shares = variances[: min(rows.shape)] / (variances.sum() or 1.0)
    return places, shares


def turned(places: Floats, other: Floats) -> Floats:
    """Return places (N, 2) turned, mirrored and moved so that they are nearest to others (N, 2).

    Orthogonal Procrustes (Schönemann 1966): the sum of the squared distances is the least.
    """
    middle = places.mean(axis=0)  # (2,)
    left, _, right = np.linalg.svd((places - middle).T @ (other - other.mean(axis=0)))
    fitted: Floats = (places - middle) @ (left @ right) + other.mean(axis=0)
    return fitted


def start_places(places: Floats) -> Floats:
    """Return the first places of t-SNE: the principal components, small, and no two the same."""
    spread = places.std() or 1.0
    noise = np.random.default_rng(0).standard_normal(places.shape)
    return START_SPREAD * (places / spread + 0.01 * noise)


def tsne(
    neighbors: NDArray[np.int64],
    start: Floats,
    *,
    early: int = EARLY,
    late: int = LATE,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Floats:
    """Return places (N, 2) in which words are near the neighbours that they have, (N, k).

    -1 stands for no neighbour. `start` holds the first places, (N, 2). `report` is told the steps
    that are done, and all.
    """
    number, k = neighbors.shape
    if number < 2 or k == 0 or (neighbors < 0).all():
        return np.array(start)
    places = np.array(start, np.float64).T.copy()  # (2, N)
    target = np.maximum(neighbors, 0).ravel()  # (N·k,)
    affinity = (neighbors >= 0) / (2.0 * np.count_nonzero(neighbors >= 0))  # (N, k)
    velocity, gains = np.zeros_like(places), np.ones_like(places)  # (2, N)
    farthest = 20 + 0.8 * np.sqrt(number)  # from the middle; maps of real words are smaller
    for step in range(early + late):
        exaggeration = EXAGGERATION if step < early else 1.0
        # 1. Attraction, by the neighbours a word has and by those whose neighbour it is.
        apart = places[:, :, None] - places[:, target].reshape(2, number, k)  # (2, N, k)
        pull = affinity / (1.0 + (apart**2).sum(axis=0)) * apart  # (2, N, k)
        gradient = pull.sum(axis=2)  # (2, N)
        for axis in range(2):
            gradient[axis] -= np.bincount(target, pull[axis].ravel(), number)
        # 2. Repulsion, by all words.
        slope, total = (repulsion_of_pairs if number <= _FEW else repulsion)(places)
        gradient *= exaggeration
        scale = 0.5 / max(total, 1e-3 * number)  # half the slope of the potential's logarithm
        gradient += slope * scale
        # 3. A step with momentum, and a rate for each coordinate (Jacobs 1988).
        same = (gradient > 0) == (velocity > 0)
        gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), _MIN_GAIN)
        rate = 4.0 * number / exaggeration
        velocity = (0.5 if step < early else 0.9) * velocity - rate * gains * gradient
        places += velocity
        places -= places.mean(axis=1, keepdims=True)
        # 4. Words with no tie to the others would drift away for ever, and the grid would grow.
        places *= np.minimum(1.0, farthest / np.maximum(np.hypot(*places), 1e-12))
        report(step + 1, early + late)
    return places.T.copy()


def repulsion_of_pairs(places: Floats) -> tuple[Floats, float]:
    """Return what `repulsion` does, computed for every pair of places (2, N)."""
    apart = places[:, :, None] - places[:, None]  # (2, N, N)
    kernel = 1.0 / (1.0 + (apart**2).sum(axis=0))  # (N, N)
    np.fill_diagonal(kernel, 0)
    return (-2.0 * apart * kernel**2).sum(axis=2), float(kernel.sum())


def repulsion(places: Floats) -> tuple[Floats, float]:
    """Return the slopes (2, N) of the potential at each place, and the sum of the potential.

    The potential is the sum of 1 / (1 + d²) over all other places, (2, N).
    """
    number = places.shape[1]
    low = places.min(axis=1)  # (2,)
    extent = float((places.max(axis=1) - low).max()) or 1.0
    size = min(_GRID_STEP, extent / _FEWEST_CELLS)  # of a cell
    side = math.ceil(extent / size) + 2 * _MARGIN
    padded = _smooth_length(2 * side)
    # 1. Spread a unit of charge from each place over 4 × 4 nodes.
    at = (places - low[:, None]) / size + _MARGIN  # (2, N), in cells
    node = np.floor(at).astype(np.int64)  # (2, N)
    weights, slopes = _splines(at - node)  # (4, 2, N)
    first = node - 1
    corners = np.arange(4)[:, None] * side + np.arange(4)  # (4, 4)
    index = corners[:, :, None] + (first[0] * side + first[1])  # (4, 4, N)
    spread = weights[:, None, 0] * weights[:, 1]  # (4, 4, N)
    charge = np.bincount(index.ravel(), spread.ravel(), side * side).reshape(side, side)
    # 2. Convolve with the kernel.
    charges = np.fft.rfft2(charge, (padded, padded))
    potential = np.fft.irfft2(charges * _spectrum(padded, size), (padded, padded))
    field = potential[:side, :side].ravel()[index]  # (4, 4, N)
    # 3. The potential and its slopes at each place.
    total = float((field * spread).sum()) - number
    slope = np.stack(
        [
            np.einsum("ijn,in,jn->n", field, slopes[:, 0], weights[:, 1]),
            np.einsum("ijn,in,jn->n", field, weights[:, 0], slopes[:, 1]),
        ]
    )
    return slope / size, total


@lru_cache(maxsize=1)  # a map that grows slowly has the same for many steps
def _spectrum(padded: int, size: float) -> Floats:
    """Return the Fourier transform of the kernel on a grid of cells of a size: (G, G // 2 + 1).

    Splines blur, once to the grid and once from it: that is divided out.
    """
    offsets = np.minimum(np.arange(padded), padded - np.arange(padded)) * size
    kernel = 1.0 / (1.0 + offsets[:, None] ** 2 + offsets**2)
    blur = (4 + 2 * np.cos(2 * np.pi * np.arange(padded) / padded)) / 6  # of the cubic B-spline
    spectrum: Floats = np.fft.rfft2(kernel).real
    return spectrum / (blur[:, None] ** 2 * blur[: padded // 2 + 1] ** 2)


def _splines(t: Floats) -> tuple[Floats, Floats]:
    """Return the weights of the four nodes around each place, and their slopes: (4, *t.shape)."""
    u = 1 - t
    weights = np.stack([u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3])
    slopes = np.stack([-(u**2), 3 * t**2 - 4 * t, 4 * u - 3 * u**2, t**2])
    return weights / 6, slopes / 2


def _smooth_length(length: int) -> int:
    """Return the smallest even product of 2, 3 and 5 from `length`: fast to transform."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and length % 2 == 0:
            return length
        length += 1
