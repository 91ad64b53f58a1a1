"""Gradients of several batches: the same sum, to the last bit, however it is dealt."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.nn.accumulate import OwnAccumulator, SharedAccumulator

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


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(0, 300),
    st.integers(40, 400),
)  # fmt: skip
def test_parts_are_the_whole_to_the_last_bit(seed, batches, parts, rows, room):
    rng = np.random.default_rng(seed)
    own = OwnAccumulator(PARAMETERS, {"table": room}, batches)
    shared = SharedAccumulator(PARAMETERS, {"table": room}, batches, parts)
    for batch in range(batches):
        gradients = batch_gradients(rng, rows)
        own.put(batch, gradients)
        shared.put(batch, gradients)
    whole = own.total("table", batches, 0)
    dealt = [shared.total("table", batches, part) for part in range(parts)]
    for name in ("ids", "rows", "met"):
        joined = np.concatenate([getattr(each, name) for each in dealt])
        assert joined.tobytes() == getattr(whole, name).astype(joined.dtype).tobytes()
    expected = own.total("bias", batches, 0)
    assert shared.total("bias", batches, 0).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", [OwnAccumulator, partial(SharedAccumulator, parts=2)])
def test_a_parameter_without_a_gradient_has_no_sum(kind):
    kept = kind(PARAMETERS, {"table": 5}, 2)
    kept.put(0, {"bias": np.ones(4, np.float32)})
    kept.put(1, {"bias": np.ones(4, np.float32)})
    assert kept.total("table", 2, 0) is None
    assert kept.total("bias", 2, 0).tolist() == [2, 2, 2, 2]
    assert kept.total("bias", 1, 0).tolist() == [1, 1, 1, 1]
