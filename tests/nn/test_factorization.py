"""GloVe's kernels against the plain version on the tape."""

from __future__ import annotations

import numpy as np
import pytest

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.nn.factorization import Pairs, glove_gradients, glove_loss, glove_weights

SHAPES = ((9, 5), (9, 5), (9, 1), (9, 1))


def pairs(is_tile: bool) -> Pairs:
    rng = np.random.default_rng(1)
    if is_tile:
        words, contexts = np.array([7, 2, 4]), np.array([1, 2, 3, 8])
        places = np.sort(rng.permutation(12)[:7])
        first, second = places // 4, places % 4
    else:
        words, contexts = np.array([3, 3, 0, 8]), np.array([1, 3, 1, 1])
        first = second = np.arange(4)
    counts = rng.random(len(first)).astype(np.float32) * 200
    logs = np.log(counts)
    return Pairs(words, contexts, first, second, logs, glove_weights(logs, 100, 0.75), is_tile)


@pytest.mark.parametrize("is_tile", [True, False])
def test_a_kernel_has_the_loss_and_gradients_of_the_plain_version(is_tile):
    rng = np.random.default_rng(0)
    tensors = [Tensor(rng.standard_normal(s).astype(np.float32), True) for s in SHAPES]
    batch = pairs(is_tile)
    loss = glove_loss(tensors, batch)
    loss.backward()
    made: list[RowGrad] = []
    for tensor, ids in zip(tensors, (batch.words, batch.contexts) * 2, strict=True):
        rows = np.empty((len(ids), tensor.shape[1]), np.float32)
        made.append(RowGrad(ids, rows, tensor.shape, np.empty(len(ids), np.float32)))
    total = glove_gradients([t.data for t in tensors], batch, made)
    assert total == pytest.approx(loss.item(), rel=1e-5)
    for tensor, gradient in zip(tensors, made, strict=True):
        np.testing.assert_allclose(gradient.dense(), tensor.grad.dense(), rtol=2e-4, atol=1e-5)
        assert (gradient.curvature >= 0).all()
    # The curvature is the weighted squared length of each row's partners.
    contexts = tensors[1].data[batch.contexts[batch.second]]
    lengths = np.bincount(batch.first, batch.weights * (contexts**2).sum(1), len(batch.words))
    np.testing.assert_allclose(made[0].curvature, lengths, rtol=1e-4)


def test_weights_are_those_of_the_paper():
    counts = np.float32([1, 50, 100, 5000])
    expected = np.minimum((counts / 100) ** 0.75, 1)
    np.testing.assert_allclose(glove_weights(np.log(counts), 100, 0.75), expected, rtol=1e-5)
