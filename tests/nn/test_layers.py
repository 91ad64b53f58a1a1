from __future__ import annotations

import numpy as np
import pytest

from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.nn.initializers import glorot, initial_rows
from embedcli.nn.layers import POOLS, Dense, Embedding, flatten
from embedcli.nn.losses import squared_loss
from embedcli.nn.optimizers import RMSprop

IDS = np.array([0, 1, 2, 3, 4, 5, 1])
OFFSETS = np.array([0, 5, 5, 7])


def embedding_of(size: int, dim: int, seed: int = 0) -> Embedding:
    return Embedding(Tensor(initial_rows("uniform", seed, range(size), dim), requires_grad=True))


def dense_of(inputs: int, outputs: int) -> Dense:
    weight = glorot(np.random.default_rng(1), inputs, outputs)
    return Dense(Tensor(weight, True), Tensor(np.zeros(outputs, np.float32), True))


def test_a_look_up_is_one_hot_times_the_table() -> None:
    embedding = embedding_of(7, 2, seed=4)
    one_hot = np.eye(7, dtype=np.float32)[IDS]
    np.testing.assert_array_equal(embedding(IDS).data, one_hot @ embedding.table.data)
    assert embedding(IDS.reshape(7, 1)).shape == (7, 1, 2)
    assert embedding.table.requires_grad


def test_dense_is_a_product_and_a_bias() -> None:
    dense = dense_of(3, 2)
    x = Tensor(np.ones((4, 3), np.float32))
    np.testing.assert_allclose(dense(x).data, np.tile(dense.weight.data.sum(0), (4, 1)), rtol=1e-6)
    assert np.abs(dense.weight.data).max() <= np.sqrt(6 / 5)
    assert not dense.bias.data.any()
    weight, bias = np.ones((3, 2)), np.ones(2)
    check_gradient(lambda x, w, b: Dense(w, b)(x), [np.arange(12.0).reshape(4, 3), weight, bias])


@pytest.mark.parametrize("name", POOLS)
def test_pooling_has_a_gradient(name: str) -> None:
    rows = np.random.default_rng(0).permutation(14).reshape(7, 2) / 14
    check_gradient(lambda x: POOLS[name](x, OFFSETS, 6, "right"), [rows])


def test_flatten_pads_on_the_side_asked_for() -> None:
    rows = Tensor(np.float32([[1, 2], [3, 4], [5, 6]]))
    offsets = np.array([0, 1, 1, 3])
    assert flatten(rows, offsets, 2, "right").data.tolist() == [
        [1, 2, 0, 0], [0, 0, 0, 0], [3, 4, 5, 6],
    ]  # fmt: skip
    assert flatten(rows, offsets, 2, "left").data[0].tolist() == [0, 0, 1, 2]
    with pytest.raises(ValueError, match="3 rows does not fit a length of 2"):
        flatten(rows, np.array([0, 3]), 2, "right")
    with pytest.raises(ValueError, match="needs a length"):
        flatten(rows, offsets, None, "right")


def test_padding_trains_no_row() -> None:
    embedding = embedding_of(4, 2)
    flatten(embedding(np.array([3, 2])), np.array([0, 1, 2]), 5, "right").sum().backward()
    assert isinstance(embedding.table.grad, RowGrad)
    assert embedding.table.grad.coalesce().ids.tolist() == [2, 3]


def test_the_old_question_s_network_learns() -> None:
    """Embedding(7, 2, input_length=5), Flatten, Dense(1); rmsprop and mse."""
    ids, offsets = np.array([0, 1, 2, 3, 4, 5, 1, 2, 3, 6]), np.array([0, 5, 10])
    targets = np.float32([[1], [0]])
    embedding = embedding_of(7, 2)
    dense = dense_of(10, 1)
    parameters = (embedding.table, dense.weight, dense.bias)
    optimizer = RMSprop()
    states = [optimizer.state_like(one.data) for one in parameters]
    losses = []
    for t in range(1, 301):
        predicted = dense(flatten(embedding(ids), offsets, 5, "right"))
        loss = squared_loss(predicted, targets).mean
        losses.append(loss.item())
        loss.backward()
        for one, state in zip(parameters, states, strict=True):
            if isinstance(one.grad, RowGrad):
                optimizer.step_rows(one.data, state, one.grad.coalesce(), 0.01, t)
            elif one.grad is not None:
                optimizer.step_dense(one.data, state, one.grad, 0.01, t)
            one.grad = None
    assert losses[0] == pytest.approx(0.5, abs=0.05)
    assert losses[-1] < 0.01
    assert all(one.dtype == np.float32 for one in parameters)
