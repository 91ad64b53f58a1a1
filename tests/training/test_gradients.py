"""Gradients of several batches: the same sum, to the last bit, however it is dealt."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.training.gradients import LocalGradients, SharedGradients

PARAMETERS = {
    "table": Tensor(np.zeros((40, 3), np.float32)),
    "bias": Tensor(np.zeros(4, np.float32)),
}


def batch_gradients(rng, rows):
    """Rows of two gathers, low ids more often than a run is long; and a dense gradient."""
    parts = []
    for count in (rows, 5):
        ids = (40 * rng.random(count) ** 4).astype(np.int32)
        values = rng.standard_normal((count, 3)).astype(np.float32)
        parts.append(RowGrad(ids, values, (40, 3), rng.random(count).astype(np.float32)))
    return {"table": parts[0] + parts[1], "bias": rng.standard_normal(4).astype(np.float32)}


def store(shared, number, gradients):
    """Put a batch's gradients, as a task on the tape does."""
    batch = shared.batch(number)
    for name, gradient in gradients.items():
        batch.put(name, gradient)
    batch.close()


def joined(sums, name):
    """The pieces of a sum side by side, in the order of their ids."""
    pieces = list(sums)
    order = np.argsort(np.concatenate([piece.ids for piece in pieces]))
    return np.concatenate([getattr(piece, name) for piece in pieces])[order]


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(0, 300),
    st.integers(40, 400),
)  # fmt: skip
def test_parts_are_the_whole_to_the_last_bit(seed, batches, parts, rows, room):
    rng = np.random.default_rng(seed)
    shared = SharedGradients(PARAMETERS, {"table": room}, batches, parts)
    given = [batch_gradients(rng, rows) for _ in range(batches)]
    for batch, gradients in enumerate(given):
        store(shared, batch, gradients)
    dealt = [each for part in range(parts) for each in shared.sums("table", batches, part)]
    whole = reduce(add, [put_rows(each["table"], room) for each in given])
    for name in ("ids", "rows", "curvature"):
        expected = getattr(whole.coalesce(), name)
        assert joined(dealt, name).astype(expected.dtype).tobytes() == expected.tobytes()
    (bias,) = shared.sums("bias", batches, 0)
    assert bias.tobytes() == reduce(add, [each["bias"] for each in given]).tobytes()


def put_rows(gradient, room):
    """What a batch puts: its rows, or their sums where it has more rows than there can be ids."""
    return gradient.coalesce() if len(gradient.ids) > min(room, 40) else gradient


def test_a_local_batch_is_its_own_sum():
    gradients = batch_gradients(np.random.default_rng(0), 100)
    kept = LocalGradients(PARAMETERS)
    store(kept, 0, gradients)
    (table,) = kept.sums("table", 1, 0)
    assert table.coalesced
    assert table.rows.tobytes() == gradients["table"].coalesce().rows.tobytes()
    (bias,) = kept.sums("bias", 1, 0)
    assert bias is gradients["bias"]
    store(kept, 0, {"bias": gradients["bias"]})
    assert list(kept.sums("table", 1, 0)) == []


@pytest.mark.parametrize("parts", [1, 2])
def test_a_parameter_without_a_gradient_has_no_sum(parts):
    kept = SharedGradients(PARAMETERS, {"table": 5}, 2, parts)
    for batch in (0, 1):
        store(kept, batch, {"bias": np.ones(4, np.float32)})
    assert [list(kept.sums("table", 2, part)) for part in range(parts)] == [[]] * parts
    assert [each.tolist() for each in kept.sums("bias", 2, 0)] == [[2, 2, 2, 2]]
    assert [each.tolist() for each in kept.sums("bias", 1, 0)] == [[1, 1, 1, 1]]
    store(kept, 0, {})  # of a batch in the place of one that had a gradient
    assert [each.tolist() for each in kept.sums("bias", 2, 0)] == [[1, 1, 1, 1]]
    store(kept, 1, batch_gradients(np.random.default_rng(1), 3))
    assert sum(len(each.ids) for part in range(parts) for each in kept.sums("table", 2, part))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("count", [5, 40, 41, 300])
def test_rows_of_a_kernel_are_written_where_they_are_summed(parts, count):
    """Those that fit; more rows than there can be ids are summed first."""
    given = batch_gradients(np.random.default_rng(2), count)["table"]
    given = RowGrad(given.ids[:count], given.rows[:count], given.shape, given.curvature[:count])
    kept = SharedGradients(PARAMETERS, {"table": 40}, 2, parts)
    store(kept, 0, {})
    batch = kept.batch(1)
    gradient = batch.rows("table", given.ids)
    assert np.may_share_memory(gradient.rows, kept.values["table"][1]) == (count <= 40)
    gradient.rows[:], gradient.curvature[:] = given.rows, given.curvature
    batch.close()
    found = [each for part in range(parts) for each in kept.sums("table", 2, part)]
    for name in ("ids", "rows", "curvature"):
        expected = getattr(given.coalesce(), name)
        assert joined(found, name).astype(expected.dtype).tobytes() == expected.tobytes()


def test_what_is_not_finite_is_found():
    for bad in (np.nan, np.inf, np.float32(1e30)):
        for name in ("rows", "curvature", "bias"):
            batch = LocalGradients(PARAMETERS)
            gradient = batch.rows("table", np.array([1, 3]))
            gradient.rows[:], gradient.curvature[:] = 1, 1
            bias = np.ones(4, np.float32)
            batch.put("bias", bias)
            assert batch.finite()
            if name == "rows":  # which a kernel's curvature tells of
                batch.put("table", RowGrad(gradient.ids, gradient.rows, gradient.shape))
                gradient.rows[0, 1] = bad
                batch = LocalGradients(PARAMETERS)
                batch.put("table", RowGrad(gradient.ids, gradient.rows, gradient.shape))
            elif name == "curvature":
                gradient.curvature[1] = bad
            else:
                bias[2] = bad
            with np.errstate(over="ignore"):
                assert not batch.finite()
