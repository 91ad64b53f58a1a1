from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.nn.initializers import BLOCK, INITIALIZERS, initial_rows


@pytest.mark.parametrize("name", INITIALIZERS)
def test_rows_are_float32_and_repeatable(name: str) -> None:
    made = initial_rows(name, 3, range(1000), 7)
    assert made.shape == (1000, 7)
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, initial_rows(name, 3, range(1000), 7))


@given(st.integers(0, 3 * BLOCK), st.integers(0, 2 * BLOCK), st.integers(0, 2**40))
def test_any_rows_can_be_made_again_alone(start: int, count: int, seed: int) -> None:
    whole = initial_rows("uniform", seed, range(5 * BLOCK + 3), 2)
    alone = initial_rows("uniform", seed, range(start, start + count), 2)
    np.testing.assert_array_equal(alone, whole[start : start + count])


def test_a_grown_table_keeps_its_rows() -> None:
    small, grown = (initial_rows("normal", 0, range(size), 5) for size in (300, 5000))
    np.testing.assert_array_equal(grown[:300], small)


def test_seeds_streams_and_rows_differ() -> None:
    first = initial_rows("uniform", 0, range(2 * BLOCK), 4)
    assert not np.array_equal(first, initial_rows("uniform", 1, range(2 * BLOCK), 4))
    assert not np.array_equal(first, initial_rows("uniform", 0, range(2 * BLOCK), 4, stream=1))
    assert len(np.unique(first, axis=0)) == 2 * BLOCK


def test_uniform_is_keras_s() -> None:
    made = initial_rows("uniform", 0, range(20_000), 10)
    assert made.min() >= -0.05
    assert made.max() <= 0.05
    assert made.mean() == pytest.approx(0, abs=5e-4)
    assert made.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.01)
    assert np.abs(initial_rows("uniform", 0, range(50), 10, 0.5)).max() > 0.4


def test_word2vec_is_half_by_dim() -> None:
    made = initial_rows("word2vec", 0, range(2000), 50, 0.05)
    assert np.abs(made).max() == pytest.approx(0.01, rel=0.01)


def test_normal_has_the_deviation_asked_for() -> None:
    made = initial_rows("normal", 0, range(5000), 20, 0.2)
    assert made.mean() == pytest.approx(0, abs=0.01)
    assert made.std() == pytest.approx(0.2, rel=0.02)


def test_zeros() -> None:
    assert not initial_rows("zeros", 0, range(10), 3).any()
