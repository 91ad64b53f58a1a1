"""Steps against closed formulas in float64, written from the papers and not from the code."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedcli.autodiff.rows import RowGrad
from embedcli.config import TrainSettings
from embedcli.nn.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adagrad,
    Adam,
    DampedSGD,
    Optimizer,
    RMSprop,
    clip_by_norm,
    make_optimizer,
)
from embedcli.nn.optimizers import (
    learning_rate as rate,
)

STEPS, LR = 30, 0.05
RNG = np.random.default_rng(11)
START = RNG.standard_normal((6, 4))
GRADIENTS = RNG.standard_normal((STEPS, 6, 4))

Reference = Callable[[np.ndarray], np.ndarray]  # gradients so far (t, ...) to the t-th change


def sgd(g: np.ndarray) -> np.ndarray:
    return -LR * g[-1]


def momentum(g: np.ndarray) -> np.ndarray:
    ages = np.arange(len(g))[::-1]
    return -LR * np.tensordot(0.9**ages, g, 1)


def nesterov(g: np.ndarray) -> np.ndarray:
    return 0.9 * momentum(g) - LR * g[-1]


def rmsprop(g: np.ndarray) -> np.ndarray:
    ages = np.arange(len(g))[::-1]
    return -LR * g[-1] / np.sqrt(0.1 * np.tensordot(0.9**ages, g**2, 1) + 1e-7)


def adagrad(g: np.ndarray) -> np.ndarray:
    return -LR * g[-1] / (np.sqrt((g**2).sum(axis=0)) + 1e-10)


def adam(g: np.ndarray) -> np.ndarray:
    t = len(g)
    ages = np.arange(t)[::-1]
    mean = 0.1 * np.tensordot(0.9**ages, g, 1) / (1 - 0.9**t)
    square = 0.001 * np.tensordot(0.999**ages, g**2, 1) / (1 - 0.999**t)
    # ε is Keras's "epsilon hat": added to the root before its correction.
    return -LR * mean / (np.sqrt(square) + 1e-7 / math.sqrt(1 - 0.999**t))


REFERENCES: dict[str, tuple[Optimizer, Reference]] = {
    "sgd": (SGD(), sgd),
    "momentum": (SGD(momentum=0.9), momentum),
    "nesterov": (SGD(momentum=0.9, nesterov=True), nesterov),
    "rmsprop": (RMSprop(), rmsprop),
    "adagrad": (Adagrad(), adagrad),
    "adam": (Adam(), adam),
    "damped_sgd": (DampedSGD(), sgd),
}


def test_every_optimizer_has_a_reference() -> None:
    assert {type(optimizer) for optimizer, _ in REFERENCES.values()} == set(OPTIMIZERS.values())


def reference(rule: Reference, gradients: np.ndarray, decay: float = 0.0) -> np.ndarray:
    weights = START.copy()
    for t in range(1, len(gradients) + 1):
        weights = weights * (1 - LR * decay) + rule(gradients[:t])
    return weights


def run(optimizer: Optimizer, dtype: type, gradients: np.ndarray = GRADIENTS) -> np.ndarray:
    weights = START.astype(dtype)
    state = optimizer.state_like(weights)
    for t, gradient in enumerate(gradients.astype(dtype), start=1):
        optimizer.step_dense(weights, state, gradient, LR, t)
    assert weights.dtype == dtype
    assert all(array.dtype == dtype for array in state.values())
    return weights


@pytest.mark.parametrize("name", REFERENCES)
def test_steps_equal_the_closed_formula(name: str) -> None:
    optimizer, rule = REFERENCES[name]
    expected = reference(rule, GRADIENTS)
    np.testing.assert_allclose(run(optimizer, np.float64), expected, rtol=1e-12)
    np.testing.assert_allclose(run(optimizer, np.float32), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_takes_its_share_of_the_weights_first(name: str) -> None:
    _, rule = REFERENCES[name]
    decaying = OPTIMIZERS[name](weight_decay=0.3)
    np.testing.assert_allclose(
        run(decaying, np.float64), reference(rule, GRADIENTS, decay=0.3), rtol=1e-12
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_a_gradient_is_not_changed(name: str) -> None:
    gradients = GRADIENTS.astype(np.float32)
    before = gradients.copy()
    run(REFERENCES[name][0], np.float32, gradients)
    np.testing.assert_array_equal(gradients, before)


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=25)
@given(data=st.data())
def test_a_row_step_is_the_dense_step_of_those_rows(name: str, data: st.DataObject) -> None:
    optimizer, _ = REFERENCES[name]
    weights = START.astype(np.float32)
    state = optimizer.state_like(weights)
    alone, alone_state = weights.copy(), {key: array.copy() for key, array in state.items()}
    for t in range(1, 5):
        ids = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=6, max_size=6)))
        rows = GRADIENTS[t, ids].astype(np.float32)
        none_met = np.zeros(len(ids), np.float32)
        optimizer.step_rows(weights, state, RowGrad(ids, rows, weights.shape, none_met), LR, t)
        for id_, row in zip(ids, rows, strict=True):
            own = {key: array[id_] for key, array in alone_state.items()}
            optimizer.step_dense(alone[id_], own, row, LR, t)
    np.testing.assert_array_equal(weights, alone)
    for key, array in state.items():
        np.testing.assert_array_equal(array, alone_state[key])


@pytest.mark.parametrize("name", ["sgd", "adagrad", "damped_sgd"])
@settings(max_examples=25)
@given(st.sets(st.integers(0, 5)), st.integers(0, STEPS - 1))
def test_rows_without_a_gradient_rest_as_in_the_dense_step(
    name: str, chosen: set[int], number: int
) -> None:
    optimizer, _ = REFERENCES[name]
    ids = np.array(sorted(chosen), int)
    rows = GRADIENTS[number, ids]
    gradient = RowGrad(ids, rows, START.shape, np.zeros(len(ids), np.float32))
    by_rows, dense = START.copy(), START.copy()
    optimizer.step_rows(by_rows, optimizer.state_like(by_rows), gradient, LR, 1)
    optimizer.step_dense(dense, optimizer.state_like(dense), gradient.dense(), LR, 1)
    np.testing.assert_array_equal(by_rows, dense)


@pytest.mark.parametrize("name", REFERENCES)
def test_rows_may_be_dealt_out(name: str) -> None:
    optimizer, _ = REFERENCES[name]
    whole, dealt = START.copy(), START.copy()
    whole_state, dealt_state = optimizer.state_like(whole), optimizer.state_like(dealt)
    met = np.float32([3, 1, 4, 1, 5])
    ids = np.array([0, 1, 3, 4, 5])
    for t in (1, 2):
        rows = GRADIENTS[t, ids]
        optimizer.step_rows(whole, whole_state, RowGrad(ids, rows, START.shape, met), LR, t)
        for part in (slice(3, 5), slice(0, 3)):
            share = RowGrad(ids[part], rows[part], START.shape, met[part])
            optimizer.step_rows(dealt, dealt_state, share, LR, t)
    np.testing.assert_array_equal(whole, dealt)
    np.testing.assert_array_equal(whole[2], START[2])


def test_a_row_s_damping_is_by_what_it_met() -> None:
    met = np.float32([0, 1, 10, 1000])
    weights = START[:4].copy()
    gradient = RowGrad(np.arange(4), GRADIENTS[0, :4], weights.shape, met)
    DampedSGD().step_rows(weights, {}, gradient, LR, 1)
    rates = LR / (1 + LR * 0.04 * met.astype(float))
    np.testing.assert_allclose(weights, START[:4] - rates[:, None] * GRADIENTS[0, :4], rtol=1e-6)


@pytest.mark.parametrize("pairs", [1, 1000, 1_000_000])
def test_damping_keeps_a_large_sum_from_diverging(pairs: int) -> None:
    def longest(optimizer: Optimizer) -> float:
        """Score two rows against each other `pairs` times a step; a quarter of it is noise."""
        weights, reached = np.array([[0.1, 0.2], [0.2, -0.1]]), 0.0
        for t in range(1, 200):
            error = pairs * (1 / (1 + np.exp(-np.clip(weights[0] @ weights[1], -50, 50))) - 0.75)
            met = pairs * np.square(weights[::-1]).sum(1)
            gradient = RowGrad(np.arange(2), error * weights[::-1], (2, 2), met)
            optimizer.step_rows(weights, {}, gradient, LR, t)
            reached = max(reached, float(np.abs(weights).max()))
            if reached > 1e6:
                break
        return reached

    assert longest(DampedSGD()) < 50
    if pairs > 1000:
        assert longest(SGD()) > 1000


def test_parts_are_damped_less_but_for_what_all_words_have_in_common() -> None:
    optimizer = DampedSGD(damping=0.5)
    curvature = np.array([1e6, 2e6], np.float32)
    common = np.outer(curvature, np.array([3, 4], np.float32))
    own = np.outer(curvature, np.array([1, -1], np.float32)) * [[2], [-1]]
    steps = []
    for rows in (common, own):
        gradient = RowGrad(np.arange(2), rows.astype(np.float32), (2, 2), curvature)
        mean = rows.sum(axis=0) / curvature.sum()
        weights = np.zeros((2, 2), np.float32)
        taken = optimizer.for_parts(gradient, mean.astype(np.float32))
        optimizer.step_rows(weights, {}, taken, 0.1, 1)
        steps.append(-weights)
        assert SGD().for_parts(gradient, mean) is gradient
    # Damped by so large a curvature n, a step is the gradient divided by n and the damping.
    np.testing.assert_allclose(steps[0], [[6, 8], [6, 8]], rtol=1e-4)
    np.testing.assert_allclose(steps[1], 4 * own / curvature[:, None], rtol=1e-4)


def test_row_steps_keep_float32_and_weight_decay() -> None:
    for name, kind in OPTIMIZERS.items():
        optimizer = kind(weight_decay=0.5)
        weights = np.ones((3, 2), np.float32)
        gradient = RowGrad(np.array([1]), np.zeros((1, 2), np.float32), (3, 2))
        optimizer.step_rows(weights, optimizer.state_like(weights), gradient, 0.1, 1)
        np.testing.assert_allclose(weights, [[1, 1], [0.95, 0.95], [1, 1]], err_msg=name)


def test_an_optimizer_takes_its_constants_from_the_settings() -> None:
    chosen = TrainSettings(optimizer="sgd", momentum=0.5, nesterov=True, weight_decay=0.1)
    assert make_optimizer(chosen) == SGD(momentum=0.5, nesterov=True, weight_decay=0.1)
    assert make_optimizer(TrainSettings(optimizer="damped_sgd")) == DampedSGD()


def test_clipping_by_the_common_norm() -> None:
    dense = np.float32([3.0, 0.0])
    rows = RowGrad(np.array([1, 1]), np.float32([[1.0, 0], [3.0, 0]]), (2, 2), np.float32([5, 6]))
    untouched = clip_by_norm([dense, rows.coalesce()], 5.0)
    assert untouched[0] is dense
    clipped_dense, clipped_rows = clip_by_norm([dense, rows.coalesce()], 2.5)
    assert isinstance(clipped_rows, RowGrad)
    np.testing.assert_allclose(clipped_dense, [1.5, 0])
    np.testing.assert_allclose(clipped_rows.rows, [[2.0, 0]])
    assert clipped_rows.curvature.tolist() == [11]
    assert clipped_dense.dtype == clipped_rows.rows.dtype == np.float32
    assert dense.tolist() == [3, 0]
    squares = np.square(clipped_dense).sum() + np.square(clipped_rows.rows).sum()
    assert squares == pytest.approx(2.5**2)


def test_schedules_end_where_they_should() -> None:
    assert set(SCHEDULES) == {"constant", "linear", "cosine"}
    assert [rate("constant", 0.1, p) for p in (0, 0.5, 1)] == [0.1, 0.1, 0.1]
    assert [rate("linear", 0.1, p) for p in (0, 0.5, 1)] == [0.1, 0.05, 0]
    assert [rate("cosine", 1, p) for p in (0, 1 / 3, 0.5, 1)] == pytest.approx([1, 0.75, 0.5, 0])


def test_warm_up_rises_to_the_rate_then_follows_the_schedule() -> None:
    for name in SCHEDULES:
        assert rate(name, 2.0, 0.0, warmup=0.2) == 0
        assert rate(name, 2.0, 0.1, warmup=0.2) == pytest.approx(1)
        assert rate(name, 2.0, 0.2, warmup=0.2) == 2
        assert rate(name, 2.0, 0.6, warmup=0.2) == pytest.approx(rate(name, 2.0, 0.5))
        assert rate(name, 2.0, 1.0, warmup=0.2) == pytest.approx(rate(name, 2.0, 1.0))
        assert rate(name, 2.0, 1.0, warmup=1.0) == 2
