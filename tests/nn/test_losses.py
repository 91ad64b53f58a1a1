from __future__ import annotations

import numpy as np
import pytest

from embedcli.autodiff.tensor import Tensor
from embedcli.nn.losses import sigmoid_loss, softmax_loss, squared_loss

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASS_WEIGHTS = np.array([2.0, 1.0, 0.5])


def test_softmax_loss_by_hand() -> None:
    labels = np.array([2, 1])
    losses = -np.log(SHARES[[0, 1], labels])
    assert softmax_loss(Tensor(LOGITS), labels).mean.item() == pytest.approx(losses.mean())
    weighted = softmax_loss(Tensor(LOGITS), labels, CLASS_WEIGHTS)
    assert weighted.mean.item() == pytest.approx((0.5 * losses[0] + losses[1]) / 1.5)


def test_sigmoid_loss_by_hand() -> None:
    targets = np.array([[1, 0, 1], [0, 1, 0]])
    chances = 1 / (1 + np.exp(-LOGITS))
    losses = -np.log(np.where(targets == 1, chances, 1 - chances))
    assert sigmoid_loss(Tensor(LOGITS), targets).mean.item() == pytest.approx(losses.mean())
    weighted = sigmoid_loss(Tensor(LOGITS), targets, CLASS_WEIGHTS)
    assert weighted.mean.item() == pytest.approx((losses * CLASS_WEIGHTS).sum() / 7)


def test_squared_loss_by_hand() -> None:
    loss = squared_loss(Tensor(np.array([[1.0, 2.0], [3.0, 4.0]])), np.zeros((2, 2)))
    assert loss.total.item() == 30
    assert loss.mean.item() == 7.5


def test_the_mean_stays_float32() -> None:
    logits = Tensor(LOGITS.astype(np.float32), requires_grad=True)
    loss = softmax_loss(logits, np.array([2, 1]), CLASS_WEIGHTS).mean
    loss.backward()
    assert loss.dtype == np.float32
    assert isinstance(logits.grad, np.ndarray)
    assert logits.grad.dtype == np.float32
