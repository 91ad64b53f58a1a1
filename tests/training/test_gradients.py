"""Gradients of several batches: the same sum, to the last bit, however it is dealt."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.training.gradients import Boxes, LoneBatch

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
    boxes = Boxes(PARAMETERS, {"table": room}, batches, parts)
    given = [batch_gradients(rng, rows) for _ in range(batches)]
    for batch, gradients in enumerate(given):
        boxes.put(batch, gradients)
    dealt = [each for part in range(parts) for each in boxes.sums("table", batches, part)]
    whole = reduce(add, [put_rows(each["table"], room) for each in given])
    for name in ("ids", "rows", "met"):
        expected = getattr(whole.coalesce(), name)
        assert joined(dealt, name).astype(expected.dtype).tobytes() == expected.tobytes()
    (bias,) = boxes.sums("bias", batches, 0)
    assert bias.tobytes() == reduce(add, [each["bias"] for each in given]).tobytes()


def put_rows(gradient, room):
    """What a batch puts: its rows, or their sums where it has more rows than there can be ids."""
    rows = sum(len(part.ids) for part in gradient.parts)
    return gradient.coalesce() if rows > min(room, 40) else gradient


def test_a_lone_batch_is_its_own_sum():
    gradients = batch_gradients(np.random.default_rng(0), 100)
    kept = LoneBatch()
    kept.put(0, gradients)
    (table,) = kept.sums("table", 1, 0)
    assert table.coalesced
    assert table.rows.tobytes() == gradients["table"].coalesce().rows.tobytes()
    (bias,) = kept.sums("bias", 1, 0)
    assert bias is gradients["bias"]
    kept.put(0, {"bias": gradients["bias"]})
    assert list(kept.sums("table", 1, 0)) == []


@pytest.mark.parametrize("parts", [1, 2])
def test_a_parameter_without_a_gradient_has_no_sum(parts):
    kept = Boxes(PARAMETERS, {"table": 5}, 2, parts)
    for batch in (0, 1):
        kept.put(batch, {"bias": np.ones(4, np.float32)})
    assert [list(kept.sums("table", 2, part)) for part in range(parts)] == [[]] * parts
    assert [each.tolist() for each in kept.sums("bias", 2, 0)] == [[2, 2, 2, 2]]
    assert [each.tolist() for each in kept.sums("bias", 1, 0)] == [[1, 1, 1, 1]]
    kept.put(0, {})  # of a batch in the place of one that had a gradient
    assert [each.tolist() for each in kept.sums("bias", 2, 0)] == [[1, 1, 1, 1]]
    kept.put(1, batch_gradients(np.random.default_rng(1), 3))
    assert sum(len(each.ids) for part in range(parts) for each in kept.sums("table", 2, part))


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_that_were_made_in_their_place_are_not_copied(parts):
    """Nor do other gradients suffer that were put beside them, or instead of them."""
    table = PARAMETERS["table"].data
    given = batch_gradients(np.random.default_rng(2), 30)["table"].coalesce()
    kept = Boxes(PARAMETERS, {"table": 40}, 2, parts)
    room = kept.room(1)
    rows = room(table, len(given.ids))
    assert not np.may_share_memory(rows, room(table, 3))  # one gradient of each table
    assert not np.may_share_memory(rows, kept.room(1)(table, 41))
    assert not np.may_share_memory(rows, kept.room(0)(table, 5))
    rows[:] = given.rows
    laid = RowGrad(given.ids, rows, given.shape, given.met)
    kept.put(0, {})
    for gradient in (laid, given + laid, laid + given, laid.scaled(3)):
        rows[:] = given.rows
        expected = gradient.coalesce()
        kept.put(1, {"table": gradient})
        found = [each for part in range(parts) for each in kept.sums("table", 2, part)]
        for name in ("ids", "rows", "met"):
            assert joined(found, name).tobytes() == getattr(expected, name).tobytes()
    kept.put(1, {"table": laid})
    assert LoneBatch().room(0)(table, 5).shape == (5, 3)
