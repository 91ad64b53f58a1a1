"""Initial values of tables and layers; any row of a table can be drawn again by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from embedcli.autodiff.tensor import Array
from embedcli.config import TrainSettings

BLOCK = 256  # rows that share a random stream; changing it changes what a seed gives

Draw = Callable[[Generator, tuple[int, ...], float], Array]


def uniform(rng: Generator, shape: tuple[int, ...], scale: float) -> Array:
    """Draw float32 numbers evenly from [-scale, scale)."""
    return np.asarray((rng.random(shape, np.float32) - 0.5) * (2 * scale))


def glorot(rng: Generator, inputs: int, outputs: int) -> Array:
    """Draw a layer's weight (inputs, outputs) as Keras does (Glorot & Bengio 2010, §4.2)."""
    return uniform(rng, (inputs, outputs), math.sqrt(6 / (inputs + outputs)))


# How to draw float32 numbers of a shape, given a scale.
INITIALIZERS: dict[str, Draw] = {
    "uniform": uniform,  # with .05 as Keras's RandomUniform
    "word2vec": lambda rng, shape, _: uniform(rng, shape, 0.5 / shape[-1]),  # word2vec.c, InitNet
    "normal": lambda rng, shape, scale: rng.standard_normal(shape, np.float32) * scale,
    "zeros": lambda _, shape, __: np.zeros(shape, np.float32),
}


def initial_rows(
    name: str, seed: int, rows: range, dim: int, scale: float = 0.05, *, stream: int = 0
) -> Array:
    """Return the initial values of some rows of a table: (len(rows), D) float32.

    They depend only on the seed, the stream (one a table) and the indices of the rows: a table
    that grows keeps its rows, and a row can be drawn again without the others. `rows` has step 1.
    """
    made = np.empty((len(rows), dim), np.float32)  # (V, D)
    for start in range(rows.start - rows.start % BLOCK, rows.stop, BLOCK):
        rng = np.random.default_rng((seed, stream, start // BLOCK))
        block = INITIALIZERS[name](rng, (BLOCK, dim), scale)  # (BLOCK, D)
        low, high = max(start, rows.start), min(start + BLOCK, rows.stop)
        made[low - rows.start : high - rows.start] = block[low - start : high - start]
    return made


def initial_table(settings: TrainSettings, words: int, *, stream: int = 0) -> Array:
    """Return the initial table of so many words that the settings ask for: (V, D) float32."""
    of = settings
    return initial_rows(of.init, of.seed, range(words), of.dim, of.init_scale, stream=stream)
