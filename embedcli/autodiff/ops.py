"""The primitives: each function computes a result and states its rules of differentiation.

`g` in a rule is the gradient of the result. To add a primitive, write such a function; the tests
find it in `PRIMITIVES` and compare its rules with central differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from embedcli.autodiff.rows import RowGrad, sum_runs
from embedcli.autodiff.tensor import Array, Rule, primitive

Axis = int | tuple[int, ...] | None
Result = tuple[Any, Sequence[Rule]]
FEW_COLUMNS, SMALL_PRODUCT = 8, 1_000_000  # see `product`


@primitive(operands=2)
def add(a: Array, b: Array) -> Result:
    """Return a + b."""
    return a + b, (lambda g: _unbroadcast(g, a.shape), lambda g: _unbroadcast(g, b.shape))


@primitive(operands=2)
def multiply(a: Array, b: Array) -> Result:
    """Return a · b, element by element."""
    return a * b, (lambda g: _unbroadcast(g * b, a.shape), lambda g: _unbroadcast(g * a, b.shape))


@primitive(operands=2)
def matmul(a: Array, b: Array) -> Result:
    """Return the matrix product of two stacks of matrices; each needs two axes or more."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul of shapes {a.shape} and {b.shape}: at least two axes each")

    def back_to_b(g: Array) -> Array:
        # One product does it for a matrix that all examples of the batch share.
        if b.ndim == 2 and a.ndim > 2 and a.shape[:-1] == g.shape[:-1]:
            return a.reshape(-1, a.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        return _unbroadcast(product(a.mT, g), b.shape)

    return product(a, b), (lambda g: _unbroadcast(np.matmul(g, b.mT), a.shape), back_to_b)


def product(a: Array, b: Array) -> Array:
    """Return a @ b of arrays; some rows of `a` at a time where `b` is a matrix of few columns.

    BLAS first copies the factors of a large product to another order (OpenBLAS: of more than 10⁶
    multiplications), which takes longer than multiplying where the columns are few.
    """
    if a.ndim > 2 or b.ndim > 2 or b.shape[1] > FEW_COLUMNS or a.size * b.shape[1] <= SMALL_PRODUCT:
        whole: Array = np.matmul(a, b)
        return whole
    result = np.empty((len(a), b.shape[1]), a.dtype)  # (N, M)
    rows = max(SMALL_PRODUCT // b.size, 1)
    for first in range(0, len(a), rows):
        np.matmul(a[first : first + rows], b, out=result[first : first + rows])
    return result


@primitive()
def transpose(x: Array) -> Result:
    """Exchange the last two axes."""
    return x.mT, (lambda g: g.mT,)


@primitive()
def reshape(x: Array, shape: tuple[int, ...]) -> Result:
    """Return the same numbers in another shape."""
    return x.reshape(shape), (lambda g: g.reshape(x.shape),)


@primitive()
def sum_(x: Array, axis: Axis = None) -> Result:
    """Sum over some axes, or all."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    kept = tuple(axes)
    return x.sum(kept), (lambda g: np.broadcast_to(np.expand_dims(g, kept), x.shape),)


@primitive()
def relu(x: Array) -> Result:
    """Return the larger of each number and 0; the gradient at 0 is 0."""
    result = np.maximum(x, 0)
    return result, (lambda g: g * (result > 0),)


@primitive()
def gather(table: Array, ids: Array) -> Result:
    """Look up rows: a table (V, D) and ids of any shape (...) give (..., D).

    The gradient is a `RowGrad`, never a dense table. Raises IndexError for an id outside the table.

    >>> from embedcli.autodiff import Tensor
    >>> gather(Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1, 0])).data.tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise IndexError(f"ids from {ids.min()} to {ids.max()} in a table of {len(table)} rows")
    shape = table.shape

    def back(g: Array) -> RowGrad:
        return RowGrad(ids.reshape(-1), g.reshape(-1, *shape[1:]), shape)

    return np.take(table, ids, axis=0), (back,)


@primitive()
def segment_sum(x: Array, offsets: Array) -> Result:
    """Sum rows [offsets[b], offsets[b+1]) of (N, D) for each b: (B, D); zeros for an empty one.

    Raises ValueError unless the offsets (B+1,) rise from 0 to N.
    """
    lengths = _segment_lengths(x, offsets)
    return _sum_segments(x, offsets, lengths), (lambda g: np.repeat(g, lengths, axis=0),)  # (N, D)


@primitive()
def segment_mean(x: Array, offsets: Array) -> Result:
    """Average the rows of each segment, as `segment_sum`."""
    lengths = _segment_lengths(x, offsets)
    share = 1 / np.maximum(lengths, 1)[:, None].astype(x.dtype)  # (B, 1)
    result = _sum_segments(x, offsets, lengths)
    result *= share
    return result, (lambda g: np.repeat(g * share, lengths, axis=0),)  # (N, D)


@primitive()
def segment_max(x: Array, offsets: Array) -> Result:
    """Return the largest of each segment's rows, as `segment_sum`; equals share the gradient."""
    lengths = _segment_lengths(x, offsets)
    filled = np.flatnonzero(lengths)
    result = np.zeros((len(lengths), *x.shape[1:]), x.dtype)  # (B, D)
    if len(filled):
        result[filled] = np.maximum.reduceat(x, offsets[filled], axis=0)
    largest = x == np.repeat(result, lengths, axis=0)  # (N, D)

    def back(g: Array) -> Array:
        share = np.array(g)  # (B, D)
        if len(filled):
            share[filled] /= np.add.reduceat(largest, offsets[filled], axis=0, dtype=share.dtype)
        share = np.repeat(share, lengths, axis=0)  # (N, D)
        share *= largest
        return share

    return result, (back,)


@primitive()
def pad_segments(x: Array, offsets: Array, length: int, side: str = "right") -> Result:
    """Lay out segments of (N, D) as a stack, each padded with zeros to `length`: (B, L, D).

    Segments as in `segment_sum`; `side` says where the zeros go. Raises ValueError for a segment
    longer than `length`.

    >>> from embedcli.autodiff import Tensor
    >>> rows = Tensor([[1.0], [2.0], [3.0]])
    >>> pad_segments(rows, np.array([0, 1, 3]), 2, "left").data[..., 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    lengths = _segment_lengths(x, offsets)
    if lengths.max(initial=0) > length:
        raise ValueError(f"a segment of {lengths.max()} rows does not fit a length of {length}")
    firsts = np.arange(len(lengths)) * length  # (B,)
    if side == "left":
        firsts += length - lengths
    places = np.repeat(firsts - offsets[:-1], lengths) + np.arange(len(x))  # (N,)
    padded = np.zeros((len(lengths) * length, *x.shape[1:]), x.dtype)  # (B·L, D)
    padded[places] = x
    return (
        padded.reshape(len(lengths), length, *x.shape[1:]),
        (lambda g: np.take(g.reshape(-1, *g.shape[2:]), places, axis=0),),  # (N, D)
    )


@primitive()
def softmax_cross_entropy(logits: Array, labels: Array, weights: Array | None = None) -> Result:
    """Return Σ_b weights[b] · -log softmax(logits[b])[labels[b]], one number.

    Logits (B, C), labels (B,) integer, weights (B,), 1 by default. For class weights pass
    `class_weights[labels]`.
    """
    rows = np.arange(len(labels))
    log_shares = log_softmax(logits)  # (B, C)
    losses = -log_shares[rows, labels]  # (B,)
    if weights is not None:
        weights = np.asarray(weights, logits.dtype)
        losses *= weights

    def back(g: Array) -> Array:
        shares: Array = np.exp(log_shares, out=log_shares)  # (B, C)
        shares[rows, labels] -= 1
        shares *= g if weights is None else (weights * g)[:, None]
        return shares

    return losses.sum(), (back,)


@primitive()
def sigmoid_cross_entropy(
    logits: Array, labels: Array | float, weights: Array | float = 1.0
) -> Result:
    """Return Σ weights · (softplus(x) - labels · x) over all logits x, one number.

    `labels` in [0, 1] and `weights` are constants that broadcast to the logits.
    """
    labels = np.asarray(labels, logits.dtype)
    weights = np.asarray(weights, logits.dtype)
    loss, squashed = sigmoid_losses(logits, labels)
    loss *= weights
    return loss.sum(), (lambda g: sigmoid_slopes(squashed, labels, weights * g),)


@primitive()
def squared_error(x: Array, target: Array) -> Result:
    """Return Σ (x - target)², one number; the target is a constant of the same shape."""
    target = np.asarray(target, x.dtype)
    if x.shape != target.shape:
        raise ValueError(f"squared error of shapes {x.shape} and {target.shape}")
    difference = np.asarray(x - target)
    return np.vdot(difference, difference), (
        lambda g: np.multiply(difference, 2 * g, out=difference),
    )


@primitive()
def dropout(x: Array, rate: float, rng: Generator) -> Result:
    """Set a random share of the numbers to 0, and divide the others by 1 - rate.

    Source: Srivastava et al. 2014, §10 ("inverted" dropout, as Keras and PyTorch do it).
    """
    keep = rng.random(x.shape, np.float32) >= rate
    scale = 1 / (1 - rate)
    return x * keep * scale, (lambda g: g * keep * scale,)


# The following work on arrays, for the primitives above and for what is computed without a tape.


def log_softmax(x: Array) -> Array:
    """Return the logarithm of the softmax along the last axis, for logits of any size."""
    result: Array = x - x.max(-1, keepdims=True)
    result -= np.log(np.exp(result).sum(-1, keepdims=True))
    return result


def sigmoid(x: Array) -> Array:
    """Return σ(x) = 1 / (1 + exp(-x)) for numbers of any size, precise in both tails."""
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def sigmoid_losses(x: Array, labels: Array | float) -> tuple[Array, Array]:
    """Return softplus(x) - labels · x for logits x of any size, and tanh(x/2).

    softplus(x) - y·x = |x|/2 - log(½ + ½·|tanh(x/2)|) + x·(½ - y): nothing overflows, and the slope
    needs no second exponential.
    """
    half = np.asarray(x * 0.5)
    squashed = np.tanh(half)
    loss = np.abs(squashed)
    loss *= 0.5
    loss += 0.5
    np.log(loss, out=loss)
    np.subtract(np.abs(half), loss, out=loss)
    half *= 1 - 2 * labels
    loss += half
    return loss, squashed


def sigmoid_slopes(squashed: Array, labels: Array | float, weights: Array) -> Array:
    """Return (σ(x) - labels) · weights, given tanh(x/2), which is overwritten."""
    squashed += 1 - 2 * labels
    squashed *= weights * 0.5
    return squashed


def _unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    repeated = tuple(
        axis + extra
        for axis, size in enumerate(shape)
        if size == 1 and gradient.shape[axis + extra] != 1
    )
    summed: Array = gradient.sum(axis=tuple(range(extra)) + repeated, keepdims=True)
    return summed.reshape(shape)


def _segment_lengths(x: Array, offsets: Array) -> Array:
    lengths = np.diff(offsets)  # (B,)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(x) or (lengths < 0).any():
        raise ValueError(f"offsets of segments must rise from 0 to {len(x)}")
    return lengths


def _sum_segments(x: Array, offsets: Array, lengths: Array) -> Array:
    filled = np.flatnonzero(lengths)
    result = np.zeros((len(lengths), *x.shape[1:]), x.dtype)  # (B, D)
    result[filled] = sum_runs(x, offsets[filled])
    return result
