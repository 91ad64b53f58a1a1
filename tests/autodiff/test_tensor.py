from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from embedcli.autodiff import ops
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor


def chain(length: int) -> tuple[Tensor, Tensor]:
    first = Tensor([1.0], requires_grad=True)
    last = first
    for _ in range(length):
        last = last + 1
    return first, last


def test_a_chain_of_100_000_nodes() -> None:
    first, last = chain(100_000)
    last.sum().backward()
    assert last.data.tolist() == [100_001]
    assert first.grad.tolist() == [1]


def test_a_long_chain_is_let_go_without_backward() -> None:
    def run() -> None:
        _, last = chain(100_000)
        del last
        gc.collect()

    # A small stack: letting go must not go deeper with every node. Python 3.13 lets go up to a
    # depth that takes the stack of a main thread, whatever the size of this one.
    threading.stack_size(256 * 1024 if sys.version_info < (3, 13) else 8 << 20)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)


def test_a_wide_and_shared_graph_goes_back_once_a_node() -> None:
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    y.sum().backward()
    assert x.grad.tolist() == [2.0**60]


def test_gradients_accumulate_over_uses_and_calls() -> None:
    x = Tensor([2.0, 3.0], requires_grad=True)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5, 7]
    (x * 2).sum().backward()
    assert x.grad.tolist() == [7, 9]


def test_accumulating_changes_no_gradient_already_given() -> None:
    a, b = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    (a + b).sum().backward()
    before = b.grad.copy()
    (a * 3).sum().backward()
    np.testing.assert_array_equal(b.grad, before)
    assert a.grad.tolist() == [4]


def test_operators_with_constants_on_either_side() -> None:
    x = Tensor([2.0], requires_grad=True)
    y = 1 + x + 3 * (x * 6) + x * x
    y.sum().backward()
    assert y.item() == pytest.approx(1 + 2 + 36 + 4)
    assert x.grad.tolist() == pytest.approx([1 + 18 + 4])


def test_arrays_and_numpy_scalars_take_the_tensor_s_dtype() -> None:
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    for other in (2.0, np.float64(2), np.ones(3), np.arange(3), 2):
        for result in (x * other, other * x, x + other, other + x):
            assert isinstance(result, Tensor)
            assert result.dtype == np.float32


def test_float64_arrays_stay_and_lists_are_float32() -> None:
    assert Tensor(np.ones(2)).dtype == np.float64
    assert Tensor([1.0]).dtype == np.float32
    assert Tensor(np.arange(3)).dtype == np.float32
    assert Tensor(1.5).dtype == np.float32


def test_tensors_of_both_dtypes_do_not_mix() -> None:
    with pytest.raises(TypeError, match="float32 and float64"):
        Tensor(np.ones(2)) + Tensor([1.0, 2.0])


def test_a_loss_is_float32_down_the_whole_tape() -> None:
    table = Tensor(np.ones((5, 4), np.float32), requires_grad=True)
    hidden = ops.gather(table, np.array([0, 1, 2, 3]))
    score = (hidden.sum(axis=1) * 0.5 + 1 / 3).reshape(2, 2)
    loss = ops.softmax_cross_entropy(score, np.array([0, 1]), np.array([0.5, 2.0])) * (1 / 7)
    loss.backward()
    assert loss.dtype == np.float32
    assert isinstance(table.grad, RowGrad)
    assert table.grad.rows.dtype == np.float32


def test_backward_needs_a_number_or_a_gradient() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="needs a gradient"):
        (x * 2).backward()
    (x * 2).backward(np.float32([1, 10]))
    assert x.grad.tolist() == [2, 20]


def test_backward_of_a_constant_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not require"):
        Tensor([1.0]).backward()


def test_a_tape_is_used_up() -> None:
    x = Tensor([1.0], requires_grad=True)
    y = x * 2
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_backward_of_a_leaf() -> None:
    x = Tensor([3.0], requires_grad=True)
    x.backward()
    assert x.grad.tolist() == [1]


def test_what_a_node_saved_is_let_go_on_the_way_back() -> None:
    x = Tensor(np.ones((4, 4)), requires_grad=True)
    y = ops.relu(x)
    held = sys.getrefcount(y.data)
    y.sum().backward()
    left = sys.getrefcount(y.data)
    assert left < held


def test_a_table_used_by_gather_and_whole() -> None:
    table = Tensor(np.ones((3, 2)), requires_grad=True)
    (ops.gather(table, np.array([1, 1])).sum() + (table * 2).sum()).backward()
    np.testing.assert_array_equal(table.grad, [[2, 2], [4, 4], [2, 2]])


def test_operators_work_whatever_is_imported_first() -> None:
    program = "from embedcli.autodiff.tensor import Tensor; print((Tensor([1.0]) * 2).item())"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "2.0\n", run.stderr
