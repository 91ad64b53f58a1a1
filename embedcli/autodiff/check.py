"""Gradients checked against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Tensor, no_grad


def check_gradient(
    function: Callable[..., Tensor],
    inputs: Sequence[Array],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
) -> float:
    """Compare the gradients of a function with central differences, in float64.

    The function takes one tensor an input and returns a tensor of any shape; what is compared is
    the gradient of its sum weighted by fixed, unequal numbers. Returns the largest error, relative
    to the gradient where that exceeds 1. Raises AssertionError naming the input and element if
    an error exceeds the tolerance.

    >>> check_gradient(lambda x: x * x, [np.array([1.0, 2.0])]) < 1e-6
    True
    """
    arrays = [np.array(array, np.float64) for array in inputs]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    result = function(*tensors)
    weights = 1 + np.arange(result.data.size).reshape(result.shape) % 7 / 7
    result.backward(weights)
    worst = 0.0
    for number, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
        found = _dense(tensor)
        expected = _differences(function, tensors, array, weights, step)
        errors = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
        if not errors.size:
            continue
        at = np.unravel_index(int(errors.argmax()), errors.shape)
        if not errors[at] <= tolerance:
            where = ", ".join(str(int(axis)) for axis in at)
            raise AssertionError(
                f"gradient of input {number} at [{where}] is {found[at]}; "
                f"central differences give {expected[at]}"
            )
        worst = max(worst, float(errors[at]))
    return worst


def _dense(tensor: Tensor) -> Array:
    if isinstance(tensor.grad, RowGrad):
        return tensor.grad.dense()
    return np.zeros_like(tensor.data) if tensor.grad is None else tensor.grad


def _differences(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    array: Array,
    weights: Array,
    step: float,
) -> Array:
    """Return the slope of the weighted sum along each element of `array`, moved in place."""
    slopes = np.zeros_like(array)
    with no_grad():
        for at in np.ndindex(array.shape):
            value = array[at]
            sums = []
            for moved in (value + step, value - step):
                array[at] = moved
                sums.append(float((function(*tensors).data * weights).sum()))
            array[at] = value
            slopes[at] = (sums[0] - sums[1]) / (2 * step)
    return slopes
