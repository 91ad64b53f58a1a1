"""Losses of a batch: their sum, to differentiate, and the count that makes it a mean.

`sampling.py` has the loss of the tasks over words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of losses (one number) and what it is divided by for their mean."""

    total: Tensor
    count: float

    @property
    def mean(self) -> Tensor:
        """The tensor to call `backward` on."""
        return self.total * (1 / self.count)


def softmax_loss(logits: Tensor, labels: Array, class_weights: Array | None = None) -> Total:
    """Cross-entropy of one label a text: logits (B, C), labels (B,), class weights (C,).

    The mean is weighted by the classes' weights (torch.nn.CrossEntropyLoss).
    """
    if class_weights is None:
        return Total(ops.softmax_cross_entropy(logits, labels), len(labels))
    weights = class_weights[labels]  # (B,)
    return Total(ops.softmax_cross_entropy(logits, labels, weights), float(weights.sum()))


def sigmoid_loss(logits: Tensor, targets: Array, class_weights: Array | None = None) -> Total:
    """Cross-entropy of each label by itself: logits and 0/1 targets (B, C), class weights (C,).

    The mean is over all B·C decisions (keras.losses.BinaryCrossentropy).
    """
    weights = np.ones(1) if class_weights is None else class_weights
    total = ops.sigmoid_cross_entropy(logits, targets, weights)
    return Total(total, float(targets.size * weights.mean()))


def squared_loss(predicted: Tensor, targets: Array, class_weights: Array | None = None) -> Total:
    """Squared error of numbers (B, R), its mean over all B·R (keras.losses.MeanSquaredError)."""
    del class_weights  # numbers have no classes
    return Total(ops.squared_error(predicted, targets), targets.size)


# Outputs (B, C), targets and class weights give the loss of a batch.
LOSSES: dict[str, Callable[[Tensor, Array, Array | None], Total]] = {
    "softmax": softmax_loss,
    "sigmoid": sigmoid_loss,
    "squared": squared_loss,
}
