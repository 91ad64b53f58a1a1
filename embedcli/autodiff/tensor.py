"""Arrays that record how they were computed, and reverse-mode differentiation over that record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.autodiff.rows import RowGrad

Array = NDArray[Any]
Gradient = Array | RowGrad
Operand = Any  # a Tensor, or a number or array that is taken as a constant
Rule = Callable[[Array], Gradient]  # from the gradient of a result to that of one operand

PRIMITIVES: dict[str, Callable[..., Tensor]] = {}  # filled by `primitive`, for the gradient check

_numbers = itertools.count()


class _Node:
    """One entry of the tape: the operands of an operation and the rule for each."""

    __slots__ = ("number", "operands", "rules")

    def __init__(self, operands: Sequence[Tensor | None], rules: Sequence[Rule]) -> None:
        self.number = next(_numbers)
        self.operands: Sequence[Tensor | None] | None = operands  # None: no gradient is needed
        self.rules = rules


class Tensor:
    """An array of float32 or float64 on the tape.

    Arrays of float64 stay so; anything else is converted to float32. `grad` is None, an array, or
    a `RowGrad` where the tensor is a table that was gathered from; it is kept only for tensors
    made with `requires_grad`, and each `backward` adds to it. Gradients may share memory: treat
    them as read-only.

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

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad})"

    def item(self) -> float:
        """Return the only number of the tensor."""
        return float(self.data.item())

    def backward(self, gradient: Array | None = None) -> None:
        """Add the gradient of this tensor to `grad` of every tensor it was computed from.

        `gradient` is that of a later result with respect to this tensor, 1 by default for a tensor
        of one number. The tape behind the tensor is used up. Raises ValueError for a tensor of
        several numbers without `gradient`, RuntimeError for a tensor that does not require a
        gradient or whose tape is used up.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() of a tensor that does not require a gradient")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(f"backward() of shape {self.shape} needs a gradient of that shape")
            gradient = np.ones_like(self.data)
        if self._node is None:
            self.grad = gradient if self.grad is None else _sum(self.grad, gradient)
            return
        # 1. Order the nodes: an operation comes after those that use its result, so the latest
        #    number comes first.
        nodes = {self._node.number: self._node}
        stack = [self._node]
        while stack:
            for operand in stack.pop().operands or ():
                node = None if operand is None else operand._node
                if node is not None and node.number not in nodes:
                    nodes[node.number] = node
                    stack.append(node)
        # 2. Apply the chain rule to each, adding up the gradients of results used several times.
        pending: dict[int, Gradient] = {self._node.number: gradient}
        for number in sorted(nodes, reverse=True):
            node, total = nodes[number], pending.pop(number)
            if node.operands is None:
                raise RuntimeError("backward() a second time; add the losses and call it once")
            if isinstance(total, RowGrad):  # the operation computed a table
                total = total.dense()
            for operand, rule in zip(node.operands, node.rules, strict=True):
                if operand is None:
                    continue
                part = rule(total)
                if operand._node is None:
                    operand.grad = part if operand.grad is None else _sum(operand.grad, part)
                else:
                    earlier = operand._node.number
                    pending[earlier] = _sum(pending[earlier], part) if earlier in pending else part
            # 3. Free what the rules hold while the others are still to come.
            node.operands, node.rules = None, ()

    def __add__(self, other: Operand) -> Tensor:
        return PRIMITIVES["add"](self, other)

    __radd__ = __add__

    def __mul__(self, other: Operand) -> Tensor:
        return PRIMITIVES["multiply"](self, other)

    __rmul__ = __mul__

    def __matmul__(self, other: Operand) -> Tensor:
        return PRIMITIVES["matmul"](self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return PRIMITIVES["matmul"](other, self)

    @property
    def mT(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its last two axes exchanged."""
        return PRIMITIVES["transpose"](self)

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        """Sum over some axes, or all."""
        return PRIMITIVES["sum"](self, axis)

    def reshape(self, *shape: int) -> Tensor:
        """Return the same numbers in another shape."""
        return PRIMITIVES["reshape"](self, shape)


def primitive(
    operands: int = 1,
) -> Callable[[Callable[..., tuple[Any, Sequence[Rule]]]], Callable[..., Tensor]]:
    """Make an operation on tensors of a function on arrays.

    The function returns its result and, for each of its first `operands` arguments, the rule that
    turns the gradient of the result into that of the argument. Those arguments are tensors, or
    constants, which take the tensors' dtype; all others are passed on as they are. A rule is
    called once at most and may overwrite what was kept for it, never the gradient it is given. The
    operation raises TypeError where tensors of float32 and float64 are mixed.
    """

    def decorate(forward: Callable[..., tuple[Any, Sequence[Rule]]]) -> Callable[..., Tensor]:
        name = forward.__name__.rstrip("_")

        @wraps(forward)
        def operation(*arguments: Any, **options: Any) -> Tensor:
            given = arguments[:operands]
            dtypes = {each.data.dtype for each in given if isinstance(each, Tensor)}
            if len(dtypes) > 1:
                raise TypeError(f"{name}: tensors of float32 and float64 do not mix")
            dtype = next(iter(dtypes), None)
            arrays = [
                each.data if isinstance(each, Tensor) else np.asarray(each, dtype) for each in given
            ]
            data, rules = forward(*arrays, *arguments[operands:], **options)
            result = Tensor(data)
            inputs = [
                each if isinstance(each, Tensor) and each.requires_grad else None for each in given
            ]
            if inputs.count(None) < len(inputs):
                result.requires_grad = True
                result._node = _Node(inputs, rules)
            return result

        PRIMITIVES[name] = operation
        return operation

    return decorate


def _sum(first: Gradient, second: Gradient) -> Gradient:
    if isinstance(first, RowGrad) and isinstance(second, RowGrad):
        return first + second
    dense = [part.dense() if isinstance(part, RowGrad) else part for part in (first, second)]
    return np.add(dense[0], dense[1])
