"""Arrays that remember how they were made, and the way back through what they remember."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.autodiff.rows import RowGrad

Array = NDArray[Any]
Gradient = Array | RowGrad
Operand = Any  # a Tensor, or a number or array that is taken as a constant

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_numbers = itertools.count()


class Primitive(NamedTuple):
    """An operation and its rule of differentiation.

    `forward(*arrays, **options)` returns the result and what the rule needs of it;
    `backward(gradient, saved, index)` returns the gradient of input `index`, given that of the
    result. A rule may use up what was saved for it, never the gradient it is given.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Array, Any, int], Gradient]


PRIMITIVES: dict[str, Primitive] = {}  # filled by ops.py and sampling.py


class _Node:
    """One entry of the tape: a primitive, its inputs (None where no gradient is wanted)."""

    __slots__ = ("inputs", "number", "primitive", "saved")

    def __init__(self, primitive: Primitive, inputs: Sequence[Tensor | None], saved: Any) -> None:
        self.number = next(_numbers)
        self.primitive: Primitive | None = primitive
        self.inputs = inputs
        self.saved = saved

    def release(self) -> None:
        """Let go of everything, so that memory is freed while the way back is still going."""
        self.primitive = None
        self.inputs = ()
        self.saved = None


class Tensor:
    """An array of float32 or float64 on the tape.

    Arrays of float64 stay so; anything else is taken as float32.
    `grad` is None, an array, or a `RowGrad` where the tensor was a gathered table; it is only
    kept for tensors made with `requires_grad`, and added to by each `backward`. Gradients may
    share memory: treat them as read-only.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """

    __slots__ = ("_node", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # array + Tensor is Tensor.__radd__, not an array of objects

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        array = np.asarray(data)
        if array.dtype != np.float32:
            given = isinstance(data, np.ndarray | np.generic) and array.dtype == np.float64
            array = array if given else array.astype(np.float32)
        self.data: Array = array
        self.grad: Gradient | None = None
        self.requires_grad = requires_grad
        self._node: _Node | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad})"

    def item(self) -> float:
        """Return the one number the tensor holds."""
        return float(self.data.item())

    def backward(self, gradient: Array | None = None) -> None:
        """Add the gradient of this tensor to `grad` of every tensor it was made from.

        `gradient` is that of what comes after, 1 by default for a tensor of one number. The tape
        behind the tensor is used up. Raises ValueError for a tensor of several numbers without
        `gradient`, RuntimeError where no gradient was asked for or the tape is used up.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() of a tensor that does not require a gradient")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(f"backward() of shape {self.shape} needs a gradient of that shape")
            gradient = np.ones_like(self.data)
        if self._node is None:
            _keep(self, gradient)
            return
        pending: dict[int, Gradient] = {self._node.number: gradient}
        for node in _latest_first(self._node):
            _step_back(node, pending)

    def __add__(self, other: Operand) -> Tensor:
        return apply("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Tensor:
        return apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return apply("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return apply("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Tensor:
        return apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return apply("div", other, self)

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __pow__(self, exponent: float) -> Tensor:
        return apply("pow", self, exponent=float(exponent))

    def __matmul__(self, other: Operand) -> Tensor:
        return apply("matmul", self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return apply("matmul", other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return apply("slice", self, index=index)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over some axes, or all."""
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Mean over some axes, or all."""
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Largest over some axes, or all; equal ones share the gradient."""
        return apply("max", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int) -> Tensor:
        """Return the same numbers in another shape."""
        return apply("reshape", self, shape=shape)

    def transpose(self, *axes: int) -> Tensor:
        """Return the axes in another order; reversed by default."""
        return apply("transpose", self, axes=axes or None)


def apply(name: str, *operands: Operand, **options: Any) -> Tensor:
    """Run a primitive on tensors and constants, and note it on the tape if a gradient is wanted.

    Constants take the tensors' dtype. Raises TypeError if tensors of both dtypes meet.
    """
    primitive = PRIMITIVES[name]
    data, saved = primitive.forward(*_arrays(name, operands), **options)
    result = Tensor(data)
    if _recording.get():
        inputs = [
            operand if isinstance(operand, Tensor) and operand.requires_grad else None
            for operand in operands
        ]
        if inputs.count(None) < len(inputs):
            result.requires_grad = True
            result._node = _Node(primitive, inputs, saved)
    return result


@contextmanager
def no_grad() -> Iterator[None]:
    """Within, nothing is noted on the tape.

    >>> with no_grad():
    ...     (Tensor([1.0], requires_grad=True) * 2).requires_grad
    False
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def _arrays(name: str, operands: tuple[Operand, ...]) -> list[Array]:
    dtype = None
    for operand in operands:
        if isinstance(operand, Tensor):
            dtype = dtype or operand.data.dtype
            if operand.data.dtype != dtype:
                raise TypeError(f"{name}: tensors of float32 and float64 do not mix")
    return [
        operand.data if isinstance(operand, Tensor) else np.asarray(operand, dtype)
        for operand in operands
    ]


def _latest_first(last: _Node) -> list[_Node]:
    """Return all nodes behind `last`, each after those made from it: made later comes first."""
    seen = {last.number: last}
    stack = [last]
    while stack:
        for source in stack.pop().inputs:
            node = None if source is None else source._node
            if node is not None and node.number not in seen:
                seen[node.number] = node
                stack.append(node)
    return [seen[number] for number in sorted(seen, reverse=True)]


def _step_back(node: _Node, pending: dict[int, Gradient]) -> None:
    """Hand the gradient of a node's result on to its inputs, and let go of the node."""
    if node.primitive is None:
        raise RuntimeError("backward() a second time; add the losses and call it once")
    gradient = pending.pop(node.number)
    if isinstance(gradient, RowGrad):  # a table that is itself computed
        gradient = gradient.dense()
    for index, source in enumerate(node.inputs):
        if source is None:
            continue
        part = node.primitive.backward(gradient, node.saved, index)
        if source._node is None:
            _keep(source, part)
        else:
            number = source._node.number
            pending[number] = _total(pending[number], part) if number in pending else part
    node.release()


def _keep(leaf: Tensor, gradient: Gradient) -> None:
    leaf.grad = gradient if leaf.grad is None else _total(leaf.grad, gradient)


def _total(first: Gradient, second: Gradient) -> Gradient:
    if isinstance(first, RowGrad) and isinstance(second, RowGrad):
        return first + second
    dense = [part.dense() if isinstance(part, RowGrad) else part for part in (first, second)]
    return np.add(dense[0], dense[1])
