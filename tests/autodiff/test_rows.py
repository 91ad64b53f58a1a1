from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedcli.autodiff.rows import (
    LONG_RUN,
    RowGrad,
    pack,
    put_rows,
    sum_keyed_rows,
    sum_runs,
    unpack,
)


def random_gradient(seed: int, count: int, size: int, dim: int = 3) -> RowGrad:
    rng = np.random.default_rng(seed)
    ids = (size * rng.random(count) ** 3).astype(np.int32)  # the low ids come often, as words do
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return RowGrad(ids, rows, (size, dim), rng.random(count).astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 50))
def test_coalescing_is_adding_at(seed: int, count: int, size: int) -> None:
    gradient = random_gradient(seed, count, size)
    coalesced = gradient.coalesce()
    ids, places = np.unique(gradient.ids, return_inverse=True)
    np.testing.assert_array_equal(coalesced.ids, ids)
    np.testing.assert_allclose(coalesced.dense(), gradient.dense(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        coalesced.curvature, np.bincount(places, gradient.curvature, len(ids)), rtol=1e-5
    )
    assert coalesced.rows.dtype == coalesced.curvature.dtype == np.float32


@given(st.lists(st.integers(1, 200), max_size=12), st.integers(1, 5), st.integers(0, 2**32 - 1))
@example([LONG_RUN, LONG_RUN, LONG_RUN + 8], 2, 0)
def test_sums_of_runs(lengths: list[int], dim: int, seed: int) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((starts[-1], dim))
    expected = [rows[a:b].sum(axis=0) for a, b in pairwise(starts)]
    np.testing.assert_allclose(
        sum_runs(rows, starts[:-1]), np.reshape(expected, (-1, dim)), atol=1e-12
    )
    order = rng.permutation(len(rows))
    np.testing.assert_array_equal(
        sum_runs(rows, starts[:-1], order), sum_runs(rows[order], starts[:-1])
    )


def test_one_run_as_long_as_a_frequent_word_s() -> None:
    rows = np.random.default_rng(0).standard_normal((70_000, 4)).astype(np.float32)
    np.testing.assert_allclose(
        sum_runs(rows, np.array([0, 1, 65_000])),
        [rows[0], rows[1:65_000].sum(0, dtype=float), rows[65_000:].sum(0, dtype=float)],
        rtol=1e-4,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 3])
def test_rows_are_put_where_the_ids_say(dim: int, dtype: type) -> None:
    table = np.arange(5 * dim, dtype=dtype).reshape(5, dim)
    ids, rows = np.array([3, 0]), np.full((2, dim), -1, dtype)
    expected = table.copy()
    expected[ids] = rows
    put_rows(table, ids, rows)
    np.testing.assert_array_equal(table, expected)


def test_the_order_of_summation_is_fixed() -> None:
    first = random_gradient(3, 20_000, 500).coalesce()
    again = random_gradient(3, 20_000, 500).coalesce()
    assert first.rows.tobytes() == again.rows.tobytes()


def test_a_sum_coalesces_as_one() -> None:
    gradients = [random_gradient(seed, 40, 10) for seed in range(3)]
    total = gradients[0] + gradients[1] + gradients[2]
    assert len(total.ids) == 120
    np.testing.assert_allclose(
        total.coalesce().dense(), sum(one.dense() for one in gradients), rtol=1e-4, atol=1e-5
    )


def test_curvature_is_one_each_by_default() -> None:
    gradient = RowGrad(np.array([4, 4, 1]), np.ones((3, 2), np.float32), (5, 2))
    assert gradient.coalesce().curvature.tolist() == [1, 2]
    assert (gradient + gradient).coalesce().curvature.tolist() == [2, 4]


def test_scaled() -> None:
    gradient = random_gradient(1, 10, 5)
    np.testing.assert_allclose(gradient.scaled(0.5).dense(), gradient.dense() / 2)
    np.testing.assert_array_equal(gradient.scaled(0.5).curvature, gradient.curvature)
    assert gradient.scaled(0.5).rows.dtype == np.float32


def test_tables_of_one_column_less() -> None:
    gradient = RowGrad(np.array([2, 0, 2]), np.float32([1, 2, 3]), (3,))
    assert gradient.coalesce().rows.tolist() == [2, 4]
    assert gradient.dense().tolist() == [2, 0, 4]


def test_gradients_of_different_tables_do_not_add() -> None:
    with pytest.raises(ValueError, match="shapes"):
        random_gradient(0, 3, 5) + random_gradient(0, 3, 6)


@given(st.lists(st.integers(0, 2**31 - 1)), st.integers(0, 2**31))
def test_sorted_keys_are_ids_in_order_and_where_each_stood(ids: list[int], first: int) -> None:
    ordered, order = unpack(np.sort(pack(np.array(ids, np.int32), first)))
    expected = np.argsort(np.array(ids, np.int64), kind="stable")
    np.testing.assert_array_equal(order, expected + first)
    np.testing.assert_array_equal(ordered, np.array(ids, np.int64)[expected])


@given(st.integers(0, 6000), st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_pieces_are_the_whole_to_the_last_bit(count: int, words: int, seed: int) -> None:
    gradient = random_gradient(seed, count, words)
    keys = np.sort(pack(gradient.ids))
    pieces = list(sum_keyed_rows(keys, gradient.rows, gradient.curvature, gradient.shape))
    whole = gradient.coalesce()
    assert sum(len(piece.ids) for piece in pieces) == len(whole.ids)
    for piece in pieces:
        assert piece.coalesced
        places = np.searchsorted(whole.ids, piece.ids)
        assert piece.ids.tolist() == whole.ids[places].tolist()
        assert piece.rows.tobytes() == whole.rows[places].tobytes()
        assert piece.curvature.tolist() == whole.curvature[places].tolist()


def test_coalescing_twice_is_coalescing_once() -> None:
    once = random_gradient(2, 50, 10).coalesce()
    assert once.coalesce() is once
    assert once.scaled(2).coalesced
    assert not (once + once).coalesced
