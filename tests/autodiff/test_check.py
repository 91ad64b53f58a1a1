from __future__ import annotations

import numpy as np
import pytest

from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.tensor import PRIMITIVES, Tensor, primitive


def exponential(factor: float):
    """e to the power of x, with a rule that is off by a factor."""

    @primitive()
    def exp(x):
        result = np.exp(x)
        return result, (lambda g: g * result * factor,)

    del PRIMITIVES["exp"]
    return exp


def test_a_wrong_rule_is_found() -> None:
    assert check_gradient(exponential(1.0), [np.array([[-20.0], [1.0]])]) < 1e-6
    with pytest.raises(AssertionError, match=r"gradient of input 0 at \[1, 0\]"):
        check_gradient(exponential(1.001), [np.array([[-20.0], [1.0]])])


def test_a_nan_is_found() -> None:
    with pytest.raises(AssertionError, match="nan"):
        check_gradient(exponential(np.nan), [np.array([1.0])])


def test_inputs_are_not_changed_and_the_error_is_returned() -> None:
    given = np.array([1.0, 2.0])
    error = check_gradient(lambda x, y: x * y, [given, np.array([3.0, 4.0])])
    assert 0 <= error < 1e-6
    assert given.tolist() == [1, 2]


def test_an_input_that_does_not_matter_has_a_zero_gradient() -> None:
    def first(x: Tensor, y: Tensor) -> Tensor:
        return x * 2

    assert check_gradient(first, [np.ones(2), np.ones(2)]) < 1e-6
