"""Gradients compared with central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Tensor


def check_gradient(
    function: Callable[..., Tensor],
    inputs: Sequence[Array],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
) -> float:
    """Compare the gradients of a function with central differences, in float64.

    The function takes one tensor for each input and returns a tensor of any shape; compared is the
    gradient of its sum weighted by fixed, unequal numbers. Returns the largest error, relative to
    the gradient where that exceeds 1. Raises AssertionError with the input and element if an error
    exceeds the tolerance.

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
        found = tensor.grad
        if found is None:
            found = np.zeros_like(array)
        elif isinstance(found, RowGrad):
            found = found.dense()
        for at in np.ndindex(array.shape):
            # Move one element to either side; tensors that require no gradient record no tape.
            value, sums = array[at], []
            for moved in (value + step, value - step):
                array[at] = moved
                sums.append(float((function(*map(Tensor, arrays)).data * weights).sum()))
            array[at] = value
            expected = (sums[0] - sums[1]) / (2 * step)
            error = abs(found[at] - expected) / max(abs(expected), 1)
            if not error <= tolerance:
                where = ", ".join(map(str, at))
                raise AssertionError(
                    f"gradient of input {number} at [{where}] is {found[at]}; "
                    f"central differences give {expected}"
                )
            worst = max(worst, float(error))
    return worst
