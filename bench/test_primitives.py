"""The primitives that training by tiles spends its time in, forward and back.

    pip install -e '.[bench]'
    pytest bench/test_primitives.py

Sizes are those of a batch of the skip-gram preset, and of the gradients of its group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from embedcli.autodiff import ops
from embedcli.autodiff.rows import RowGrad, pack, sum_keyed_rows
from embedcli.autodiff.tensor import Tensor
from embedcli.nn.optimizers import OPTIMIZERS
from embedcli.nn.sampling import CBOW, SKIP_GRAM, Objective, Tiles, negative_sampling_gradients
from embedcli.parallel import keep_freed_memory
from embedcli.tasks.words import in_reach

V, D = 80_000, 100
TILE, NOISE, BAND, WINDOW = 128, 48, 8, 5
N = 2048  # centres of a batch
ROWS = 12 * N  # of a group
rng = np.random.default_rng(0)


def natural_ids(count: int) -> Any:
    """Ids as frequent as Zipf says, but for the most frequent, which are thinned out."""
    share = 1 / np.maximum(np.arange(V), 500)
    return rng.choice(V, count, p=share / share.sum()).astype(np.int32)


def numbers(*shape: int) -> Any:
    return rng.standard_normal(shape, np.float32)


TABLE, OUTPUT = (Tensor(numbers(V, D), requires_grad=True) for _ in range(2))
IDS = natural_ids(N)
LOGITS = Tensor(numbers(N // TILE, TILE, NOISE), requires_grad=True)
TILES = Tiles(
    words=natural_ids(N + 2 * WINDOW),
    context_weights=in_reach(*rng.integers(0, WINDOW, (2, N // TILE, TILE // BAND, BAND)), WINDOW),
    negatives=natural_ids(N // TILE * NOISE).reshape(-1, NOISE),
    negative_weights=np.full((N // TILE, TILE // BAND, BAND), 0.5, np.float32),
)

CASES = {
    "gather": lambda: ops.gather(TABLE, IDS),
    "sigmoid cross-entropy": lambda: ops.sigmoid_cross_entropy(LOGITS, 0.0),
}


@pytest.fixture(autouse=True)
def as_in_training() -> Any:
    keep_freed_memory()
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.mark.parametrize("name", CASES)
def test_forward(benchmark: Any, name: str) -> None:
    benchmark(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_forward_and_back(benchmark: Any, name: str) -> None:
    gradient = np.ones_like(CASES[name]().data)

    def step() -> None:
        CASES[name]().backward(gradient)
        for tensor in (TABLE, OUTPUT, LOGITS):
            tensor.grad = None

    benchmark(step)


@pytest.mark.parametrize("objective", [SKIP_GRAM, CBOW], ids=["skip-gram", "CBOW"])
def test_kernel(benchmark: Any, objective: Objective) -> None:
    def rows(*ids: Any) -> Any:
        return tuple(
            RowGrad(each, np.empty((len(each), D), np.float32), (V, D), np.empty(len(each)))
            for each in ids
        )

    arrays = TABLE.data, OUTPUT.data, np.zeros((V, 1), np.float32)
    benchmark(lambda: negative_sampling_gradients(objective, *arrays, TILES, rows, every=16))


def test_sum_rows_of_a_group(benchmark: Any) -> None:
    keys = np.sort(pack(natural_ids(ROWS)))
    rows, ones = numbers(ROWS, D), np.ones(ROWS, np.float32)
    benchmark(lambda: [len(part.ids) for part in sum_keyed_rows(keys, rows, ones, (V, D))])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_row_step(benchmark: Any, name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    weights = numbers(V, D)
    state = optimizer.state_like(weights)
    ids = np.unique(natural_ids(2000))
    gradient = RowGrad(ids, numbers(len(ids), D), (V, D), np.ones(len(ids), np.float32)).coalesce()
    benchmark(lambda: optimizer.step_rows(weights, state, gradient, 0.01, 1))
