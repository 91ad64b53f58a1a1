"""Every primitive: its gradient against central differences, its dtype, its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff import ops
from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import PRIMITIVES, Tensor

RNG = np.random.default_rng(7)


class Example(NamedTuple):
    inputs: list[np.ndarray]
    options: Mapping[str, Any] = MappingProxyType({})


def array(*shape: int) -> np.ndarray:
    """Numbers that are unequal and not close to 0, so that max and relu have a slope."""
    numbers = RNG.permutation(np.prod(shape, dtype=int)) + 0.5
    signs = RNG.choice([-1, 1], numbers.shape)
    return (signs * numbers / (numbers.size + 1) * 2).reshape(shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(array(*shape))


PAIRS = [
    Example([array(2, 3), array(2, 3)]),
    Example([array(2, 3), array(3)]),
    Example([array(1, 3), array(4, 2, 1)]),
    Example([array(), array(2)]),
]
AXES = [Example([array(2, 3, 2)], {"axis": axis}) for axis in (None, 0, -1, (0, 2))]
PRODUCTS = [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
            ((2, 1, 2, 3), (5, 3, 4))]  # fmt: skip
OFFSETS = np.array([0, 2, 2, 5, 6])
EXAMPLES: dict[str, list[Example]] = {
    "add": PAIRS,
    "multiply": PAIRS,
    "relu": [Example([array(2, 3)])],
    "sum": AXES,
    "reshape": [Example([array(2, 3)], {"shape": (3, -1)})],
    "transpose": [Example([array(2, 3)]), Example([array(2, 3, 4)])],
    "matmul": [Example([array(*a), array(*b)]) for a, b in PRODUCTS],
    "gather": [
        Example([array(4, 3)], {"ids": np.array(ids)})
        for ids in ([0, 2, 2, 0, 2], [[3, 0], [1, 3]])
    ],
    "segment_sum": [Example([array(6, 2)], {"offsets": OFFSETS})],
    "segment_mean": [Example([array(6, 2)], {"offsets": OFFSETS})],
    "segment_max": [Example([array(6, 2)], {"offsets": OFFSETS})],
    "pad_segments": [
        Example([array(6, 2)], {"offsets": OFFSETS, "length": 4, "side": side})
        for side in ("left", "right")
    ],
    "softmax_cross_entropy": [
        Example([array(3, 4)], {"labels": np.array([0, 3, 1]), "weights": weights})
        for weights in (None, np.array([0.5, 2.0, 0.0]))
    ],
    "sigmoid_cross_entropy": [
        Example([array(2, 3, 4)], {"labels": labels, "weights": weights})
        for labels, weights in (
            (1.0, 1.0),
            (np.array([0, 1, 1, 0]), positive(2, 3, 4)),
            (np.array([0, 0.3, 1, 0]), positive(2, 1, 4)),
        )
    ],
    "squared_error": [Example([array(3, 2)], {"target": array(3, 2)})],
    "dropout": [Example([array(2, 3)], {"rate": 0.25})],
}
CASES = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number, example in enumerate(examples)
]


def apply(name: str, example: Example, inputs: Sequence[Any]) -> Tensor:
    options = dict(example.options)
    if name == "dropout":  # the same numbers are dropped each time
        options["rng"] = np.random.default_rng(3)
    return PRIMITIVES[name](*inputs, **options)


def test_every_primitive_has_an_example() -> None:
    assert set(EXAMPLES) == set(PRIMITIVES)
    assert all(EXAMPLES.values())


@pytest.mark.parametrize(("name", "example"), CASES)
def test_gradient(name: str, example: Example) -> None:
    check_gradient(lambda *inputs: apply(name, example, inputs), example.inputs)


@pytest.mark.parametrize(("name", "example"), CASES)
def test_float32_stays_float32(name: str, example: Example) -> None:
    inputs = [Tensor(np.float32(one), requires_grad=True) for one in example.inputs]
    result = apply(name, example, inputs)
    assert result.dtype == np.float32
    result.backward(np.ones(result.shape, np.float32))
    for one in inputs:
        assert one.grad is not None
        gradient = one.grad.dense() if isinstance(one.grad, RowGrad) else one.grad
        assert gradient.dtype == np.float32
        assert gradient.shape == one.shape


@pytest.mark.parametrize(("name", "example"), CASES)
def test_nothing_given_is_changed(name: str, example: Example) -> None:
    inputs = [Tensor(one.copy(), requires_grad=True) for one in example.inputs]
    result = apply(name, example, inputs)
    outgoing = np.ones(result.shape)
    result.backward(outgoing)
    assert (outgoing == 1).all()
    for one, given_one in zip(inputs, example.inputs, strict=True):
        np.testing.assert_array_equal(one.data, given_one)


def test_only_wanted_gradients_are_computed() -> None:
    weight = Tensor(array(3, 4), requires_grad=True)
    constant = Tensor(array(2, 3))
    (constant @ weight).sum().backward()
    assert constant.grad is None
    assert weight.grad is not None


LARGE = np.float32([-1e30, -1e4, -100, 0, 100, 1e4, 1e30])


def test_large_logits_in_sigmoid_cross_entropy() -> None:
    for label in (0.0, 1.0):
        logits = Tensor(LARGE, requires_grad=True)
        loss = ops.sigmoid_cross_entropy(logits, label)
        loss.backward()
        expected = np.logaddexp(0, LARGE.astype(float)) - label * LARGE.astype(float)
        assert loss.item() == pytest.approx(expected.sum(), rel=1e-6)
        np.testing.assert_allclose(logits.grad, (LARGE > 0) + 0.5 * (LARGE == 0) - label, atol=1e-6)


def test_sigmoid_cross_entropy_of_confident_logits_is_small_not_negative() -> None:
    logits = np.float32(np.linspace(5, 60, 200))
    losses = [ops.sigmoid_cross_entropy(np.float32([x]), 1.0).item() for x in logits]
    expected = np.logaddexp(0, -logits.astype(float))
    np.testing.assert_allclose(losses, expected, atol=1e-7 * 60)
    assert min(losses) >= 0


def test_large_logits_in_softmax() -> None:
    logits = Tensor(LARGE[None], requires_grad=True)
    loss = ops.softmax_cross_entropy(logits, np.array([4]))
    loss.backward()
    assert loss.item() == pytest.approx(1e30)
    np.testing.assert_array_equal(logits.grad, [[0, 0, 0, 0, -1, 0, 1]])
    assert np.isfinite(ops.log_softmax(LARGE)).all()


def test_the_sigmoid_has_both_tails() -> None:
    tails = np.float32([-1e30, -100, -20, 0, 20, 1e30])
    expected = [0, np.exp(-100.0), 1 / (1 + np.exp(20.0)), 0.5, 1, 1]
    np.testing.assert_allclose(ops.sigmoid(tails), expected, rtol=1e-6, atol=1e-44)
    assert np.log(ops.sigmoid(np.float32(-20))) == pytest.approx(-20)


def test_softmax_cross_entropy_by_hand() -> None:
    loss = ops.softmax_cross_entropy(Tensor([[0.0, np.log(3)], [0.0, 0.0]]), np.array([1, 0]))
    assert loss.item() == pytest.approx(np.log(4 / 3) + np.log(2))


def test_a_gather_gives_rows() -> None:
    table = Tensor(np.zeros((1_000_000, 2), np.float32), requires_grad=True)
    rows = ops.gather(table, np.array([[5, 7], [7, 9]]))
    (rows * np.float32(2)).sum().backward()
    assert isinstance(table.grad, RowGrad)
    coalesced = table.grad.coalesce()
    assert coalesced.ids.tolist() == [5, 7, 9]
    assert coalesced.curvature.tolist() == [1, 2, 1]
    assert coalesced.rows.tolist() == [[2, 2], [4, 4], [2, 2]]


def test_a_gather_outside_the_table_is_an_error() -> None:
    table = Tensor(np.zeros((3, 2)))
    for outside in (-1, 3):
        with pytest.raises(IndexError, match="table of 3 rows"):
            ops.gather(table, np.array([0, outside]))
    assert ops.gather(table, np.zeros(0, int)).shape == (0, 2)


def test_a_gather_of_a_computed_table() -> None:
    check_gradient(lambda table: ops.gather(table * table, np.array([1, 1, 0])), [array(3, 2)])


def test_pooling_of_empty_texts_is_zero() -> None:
    rows = Tensor(array(2, 3))
    for pool in (ops.segment_sum, ops.segment_mean, ops.segment_max):
        pooled = pool(rows, np.array([0, 0, 2, 2])).data
        np.testing.assert_array_equal(pooled[[0, 2]], 0)
        assert pooled[1].any()
        assert pool(Tensor(np.zeros((0, 3))), np.array([0, 0])).data.tolist() == [[0, 0, 0]]


def test_offsets_that_are_not_segments_are_an_error() -> None:
    for offsets in ([0, 1], [1, 2], [0, 3, 2], []):
        with pytest.raises(ValueError, match="rise from 0 to 2"):
            ops.segment_sum(Tensor(array(2, 3)), np.array(offsets))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_segments_equal_a_plain_loop(lengths: list[int], seed: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.random.default_rng(seed).standard_normal((offsets[-1], 3))
    texts = [rows[a:b] for a, b in pairwise(offsets)]
    zero = np.zeros(3)
    np.testing.assert_allclose(
        ops.segment_sum(rows, offsets).data, [t.sum(0) for t in texts], atol=1e-12
    )
    np.testing.assert_allclose(
        ops.segment_mean(rows, offsets).data,
        [t.mean(0) if len(t) else zero for t in texts],
        atol=1e-12,
    )
    np.testing.assert_array_equal(
        ops.segment_max(rows, offsets).data, [t.max(0) if len(t) else zero for t in texts]
    )


def test_equal_largest_share_the_gradient() -> None:
    y = Tensor([[2.0], [2.0], [1.0]], requires_grad=True)
    ops.segment_max(y, np.array([0, 3])).sum().backward()
    assert y.grad.tolist() == [[0.5], [0.5], [0]]


def test_dropout_keeps_the_mean_and_its_mask() -> None:
    x = Tensor(np.ones(100_000, np.float32), requires_grad=True)
    dropped = ops.dropout(x, 0.25, np.random.default_rng(1))
    assert set(np.unique(dropped.data)) == {np.float32(0), np.float32(1 / 0.75)}
    assert dropped.data.mean() == pytest.approx(1, abs=0.01)
    dropped.sum().backward()
    np.testing.assert_array_equal(x.grad, dropped.data)


def test_matmul_wants_matrices() -> None:
    with pytest.raises(ValueError, match="at least two axes"):
        Tensor([1.0]) @ Tensor([[1.0]])


def test_a_product_by_few_columns_is_taken_by_some_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = [array(7, 5), array(5, 2)]
    expected = factors[0] @ factors[1]
    for most in (1, 25, 69, 70):
        monkeypatch.setattr(ops, "SMALL_PRODUCT", most)
        product = ops.matmul(*map(Tensor, factors)).data
        np.testing.assert_allclose(product, expected, rtol=1e-12)
        check_gradient(lambda a, b: a @ b, factors)


def test_squared_error_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(3,\)"):
        ops.squared_error(Tensor(np.zeros((3, 1))), np.zeros(3))


def test_without_a_tape_the_values_are_the_same() -> None:
    for name, examples in EXAMPLES.items():
        for example in examples:
            bare = apply(name, example, [Tensor(one) for one in example.inputs])
            taped = apply(name, example, [Tensor(one, True) for one in example.inputs])
            assert not bare.requires_grad
            assert taped.requires_grad
            np.testing.assert_array_equal(bare.data, taped.data)
