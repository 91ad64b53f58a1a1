"""The primitives: what each computes, and its one rule of differentiation, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from embedcli.autodiff.rows import RowGrad, sum_runs
from embedcli.autodiff.tensor import PRIMITIVES, Array, Operand, Primitive, Tensor, apply

Axis = int | tuple[int, ...] | None
FEW_COLUMNS, SMALL_PRODUCT = 8, 1_000_000  # see `_product`
Made = tuple[Any, Any]  # what a forward function returns: the result, and what its rule needs


def exp(x: Operand) -> Tensor:
    """Return e to the power of each number."""
    return apply("exp", x)


def log(x: Operand) -> Tensor:
    """Return the natural logarithm of each number."""
    return apply("log", x)


def tanh(x: Operand) -> Tensor:
    """Return the hyperbolic tangent of each number."""
    return apply("tanh", x)


def sigmoid(x: Operand) -> Tensor:
    """Return σ(x) = 1 / (1 + exp(-x)), for numbers of any size."""
    return apply("sigmoid", x)


def relu(x: Operand) -> Tensor:
    """Return the larger of each number and 0; at 0 the gradient is 0."""
    return apply("relu", x)


def concatenate(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Join tensors along an axis."""
    return apply("concatenate", *tensors, axis=axis)


def gather(table: Tensor, ids: Array) -> Tensor:
    """Look up rows: a table (V, D) and ids of any shape (...) give (..., D).

    The gradient is a `RowGrad`, never a dense table. Raises IndexError for an id outside the table.

    >>> gather(Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1, 0])).data.tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """
    return apply("gather", table, ids=ids)


def masked_sum(x: Operand, mask: Array) -> Tensor:
    """Sum the rows of each example that count: (B, L, D) and a mask (B, L) give (B, D)."""
    return apply("masked_sum", x, mask=mask)


def masked_mean(x: Operand, mask: Array) -> Tensor:
    """Average the rows of each example that count, (B, D); zeros where none does."""
    counts = np.maximum(np.count_nonzero(mask, axis=1, keepdims=True), 1)  # (B, 1)
    return apply("masked_sum", x, mask=mask / counts)


def masked_max(x: Operand, mask: Array) -> Tensor:
    """Return the largest of the rows that count, (B, D); zeros where none does."""
    return apply("masked_max", x, mask=mask)


def segment_sum(x: Operand, offsets: Array) -> Tensor:
    """Sum rows [offsets[b], offsets[b+1]) of (N, D) for each b: (B, D); zeros for an empty one.

    Raises ValueError unless the offsets (B+1,) rise from 0 to N.
    """
    return apply("segment_sum", x, offsets=offsets)


def segment_mean(x: Operand, offsets: Array) -> Tensor:
    """Average the rows of each segment, as `segment_sum`."""
    return apply("segment_mean", x, offsets=offsets)


def segment_max(x: Operand, offsets: Array) -> Tensor:
    """Return the largest of each segment's rows, as `segment_sum`; equals share the gradient."""
    return apply("segment_max", x, offsets=offsets)


def pad_segments(x: Operand, offsets: Array, length: int, side: str = "right") -> Tensor:
    """Lay segments of (N, D) side by side, each padded with zeros to `length`: (B, L, D).

    Segments as in `segment_sum`; `side` says where the zeros go. Raises ValueError for a segment
    longer than `length`.

    >>> rows = Tensor([[1.0], [2.0], [3.0]])
    >>> pad_segments(rows, np.array([0, 1, 3]), 2, "left").data[..., 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    return apply("pad_segments", x, offsets=offsets, length=length, side=side)


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """Return the logarithm of the softmax along an axis, for logits of any size."""
    return apply("log_softmax", x, axis=axis)


def softmax_cross_entropy(logits: Operand, labels: Array, weights: Array | None = None) -> Tensor:
    """Return Σ_b weights[b] · -log softmax(logits[b])[labels[b]], one number.

    Logits (B, C), labels (B,) integer, weights (B,), 1 by default. For class weights pass
    `class_weights[labels]`.
    """
    return apply("softmax_cross_entropy", logits, labels=labels, weights=weights)


def sigmoid_cross_entropy(
    logits: Operand, labels: Array | float, weights: Array | float = 1.0
) -> Tensor:
    """Return Σ weights · (softplus(x) - labels · x) over all logits x, one number.

    `labels` in [0, 1] and `weights` are constants that broadcast to the logits. The loss is
    taken as -log σ(|x|) plus a part linear in x, so that no size of logit overflows.
    """
    return apply("sigmoid_cross_entropy", logits, labels=labels, weights=weights)


def squared_error(x: Operand, target: Array) -> Tensor:
    """Return Σ (x - target)², one number; the target is a constant of the same shape."""
    return apply("squared_error", x, target=target)


def dropout(x: Operand, rate: float, rng: Generator) -> Tensor:
    """Set a random share of the numbers to 0, and divide the others by 1 - rate.

    Source: Srivastava et al. 2014, §10 ("inverted" dropout, as Keras and PyTorch do it).
    """
    shape = np.shape(x.data if isinstance(x, Tensor) else x)
    keep = rng.random(shape, np.float32) >= rate
    return apply("dropout", x, keep=keep, rate=rate)


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


def _add(a: Array, b: Array) -> Made:
    return a + b, (a.shape, b.shape)


def _add_back(gradient: Array, saved: Any, index: int) -> Array:
    return _unbroadcast(gradient, saved[index])


def _sub(a: Array, b: Array) -> Made:
    return a - b, (a.shape, b.shape)


def _sub_back(gradient: Array, saved: Any, index: int) -> Array:
    part = _unbroadcast(gradient, saved[index])
    return -part if index else part


def _mul(a: Array, b: Array) -> Made:
    return a * b, (a, b)


def _mul_back(gradient: Array, saved: Any, index: int) -> Array:
    return _unbroadcast(gradient * saved[1 - index], saved[index].shape)


def _div(a: Array, b: Array) -> Made:
    return a / b, (a, b)


def _div_back(gradient: Array, saved: tuple[Array, Array], index: int) -> Array:
    a, b = saved
    part = gradient / b if index == 0 else gradient * (-a / (b * b))
    return _unbroadcast(part, saved[index].shape)


def _pow(x: Array, exponent: float) -> Made:
    return x**exponent, (x, exponent)


def _pow_back(gradient: Array, saved: tuple[Array, float], _: int) -> Array:
    x, exponent = saved
    return gradient * (exponent * x ** (exponent - 1))


def _exp(x: Array) -> Made:
    result = np.exp(x)
    return result, result


def _tanh(x: Array) -> Made:
    result = np.tanh(x)
    return result, result


def _sigmoid(x: Array) -> Made:
    result = np.asarray(x * 0.5)
    np.tanh(result, out=result)  # σ(x) = ½ + ½·tanh(x/2): one pass of exponentials, no overflow
    result *= 0.5
    result += 0.5
    return result, result


def _relu(x: Array) -> Made:
    result = np.maximum(x, 0)
    return result, result


def _sum(x: Array, axis: Axis, keepdims: bool) -> Made:
    return x.sum(axis, keepdims=keepdims), (x.shape, axis, keepdims)


def _sum_back(gradient: Array, saved: Any, _: int) -> Array:
    shape, axis, keepdims = saved
    if not keepdims:
        gradient = _with_axes(gradient, axis, len(shape))
    return np.broadcast_to(gradient, shape)


def _mean(x: Array, axis: Axis, keepdims: bool) -> Made:
    result = x.mean(axis, keepdims=keepdims)
    return result, ((x.shape, axis, keepdims), x.size // max(np.size(result), 1))


def _mean_back(gradient: Array, saved: Any, index: int) -> Array:
    summed, count = saved
    return _sum_back(gradient / count, summed, index)


def _max(x: Array, axis: Axis, keepdims: bool) -> Made:
    largest = x.max(axis, keepdims=True)
    result = largest if keepdims else largest.reshape(_without_axes(x.shape, axis))
    return result, (x == largest, axis, keepdims)


def _max_back(gradient: Array, saved: Any, _: int) -> Array:
    reached, axis, keepdims = saved
    if not keepdims:
        gradient = _with_axes(gradient, axis, reached.ndim)
    count = np.count_nonzero(reached, axis=axis, keepdims=True)
    part: Array = reached * (gradient / np.asarray(count, gradient.dtype))
    return part


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(one % ndim for one in (axis if isinstance(axis, tuple) else (axis,)))


def _with_axes(gradient: Array, axis: Axis, ndim: int) -> Array:
    return np.expand_dims(gradient, _axes(axis, ndim))


def _without_axes(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    gone = _axes(axis, len(shape))
    return tuple(size for index, size in enumerate(shape) if index not in gone)


def _reshape(x: Array, shape: tuple[int, ...]) -> Made:
    return x.reshape(shape), x.shape


def _transpose(x: Array, axes: tuple[int, ...] | None) -> Made:
    return x.transpose(axes), None if axes is None else np.argsort(np.mod(axes, x.ndim))


def _concatenate(*arrays: Array, axis: int) -> Made:
    ends = np.cumsum([array.shape[axis] for array in arrays])
    return np.concatenate(arrays, axis), (ends, axis)


def _concatenate_back(gradient: Array, saved: tuple[Array, int], index: int) -> Array:
    ends, axis = saved
    part = slice(ends[index - 1] if index else 0, ends[index])
    return gradient[(slice(None),) * (axis % gradient.ndim) + (part,)]


def _slice(x: Array, index: Any) -> Made:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
        raise TypeError("a tensor takes numbers and slices; use gather() for ids")
    return x[index], (x.shape, index)


def _slice_back(gradient: Array, saved: Any, _: int) -> Array:
    shape, index = saved
    whole = np.zeros(shape, gradient.dtype)
    whole[index] = gradient
    return whole


def _matmul(a: Array, b: Array) -> Made:
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul of shapes {a.shape} and {b.shape}: at least two axes each")
    return _product(a, b), (a, b)


def _product(a: Array, b: Array) -> Array:
    """Return a @ b; by some rows of `a` at a time where `b` is a matrix of few columns.

    BLAS copies the factors of a large product to another order first (OpenBLAS: of more than 10⁶
    multiplications), which for few columns takes more time than to multiply.
    """
    if a.ndim > 2 or b.ndim > 2 or b.shape[1] > FEW_COLUMNS or a.size * b.shape[1] <= SMALL_PRODUCT:
        whole: Array = np.matmul(a, b)
        return whole
    result = np.empty((len(a), b.shape[1]), a.dtype)  # (N, M)
    rows = max(SMALL_PRODUCT // b.size, 1)
    for first in range(0, len(a), rows):
        np.matmul(a[first : first + rows], b, out=result[first : first + rows])
    return result


def _matmul_back(gradient: Array, saved: tuple[Array, Array], index: int) -> Array:
    a, b = saved
    if index == 0:
        return _unbroadcast(np.matmul(gradient, b.mT), a.shape)
    return _shared_product(a, gradient, b.shape)


def _shared_product(a: Array, b: Array, shape: tuple[int, ...]) -> Array:
    """Return aᵀ @ b summed to `shape`; one product does it for a matrix shared by the batch."""
    if len(shape) == 2 and a.ndim > 2 and a.shape[:-1] == b.shape[:-1]:
        return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])
    return _unbroadcast(_product(a.mT, b), shape)


def _gather(table: Array, ids: Array) -> Made:
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise IndexError(f"ids from {ids.min()} to {ids.max()} in a table of {len(table)} rows")
    return np.take(table, ids, axis=0), (table.shape, ids)


def _gather_back(gradient: Array, saved: Any, _: int) -> RowGrad:
    shape, ids = saved
    return RowGrad(ids.reshape(-1), gradient.reshape(-1, *shape[1:]), shape)


def _masked_sum(x: Array, mask: Array) -> Made:
    mask = np.asarray(mask, x.dtype)[:, None, :]  # (B, 1, L)
    return np.matmul(mask, x)[:, 0], mask


def _masked_sum_back(gradient: Array, mask: Array, _: int) -> Array:
    return mask.transpose(0, 2, 1) * gradient[:, None]  # (B, L, D)


def _masked_max(x: Array, mask: Array) -> Made:
    mask = np.asarray(mask, bool)[:, :, None]  # (B, L, 1)
    largest = x.max(1, keepdims=True, initial=-np.inf, where=mask)  # (B, 1, D)
    largest[np.count_nonzero(mask, axis=(1, 2)) == 0] = 0
    return largest[:, 0], (x == largest) & mask


def _masked_max_back(gradient: Array, reached: Array, _: int) -> Array:
    count = np.maximum(np.count_nonzero(reached, axis=1), 1)  # (B, D)
    share: Array = gradient / count.astype(gradient.dtype)  # (B, D)
    return reached * share[:, None]  # (B, L, D)


def _segment_lengths(x: Array, offsets: Array) -> Array:
    lengths = np.diff(offsets)  # (B,)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(x) or (lengths < 0).any():
        raise ValueError(f"offsets of segments must rise from 0 to {len(x)}")
    return lengths


def _segment_sum(x: Array, offsets: Array) -> Made:
    lengths = _segment_lengths(x, offsets)
    filled = np.flatnonzero(lengths)
    result = np.zeros((len(lengths), *x.shape[1:]), x.dtype)  # (B, D)
    result[filled] = sum_runs(x, offsets[filled])
    return result, lengths


def _segment_sum_back(gradient: Array, saved: Any, _: int) -> Array:
    return np.repeat(gradient, saved, axis=0)  # (N, D)


def _segment_mean(x: Array, offsets: Array) -> Made:
    result, lengths = _segment_sum(x, offsets)
    share = 1 / np.maximum(lengths, 1)[:, None].astype(x.dtype)  # (B, 1)
    result *= share
    return result, (lengths, share)


def _segment_mean_back(gradient: Array, saved: tuple[Array, Array], _: int) -> Array:
    lengths, share = saved
    return np.repeat(gradient * share, lengths, axis=0)  # (N, D)


def _segment_max(x: Array, offsets: Array) -> Made:
    lengths = _segment_lengths(x, offsets)
    filled = np.flatnonzero(lengths)
    result = np.zeros((len(lengths), *x.shape[1:]), x.dtype)  # (B, D)
    if len(filled):
        result[filled] = np.maximum.reduceat(x, offsets[filled], axis=0)
    return result, (x == np.repeat(result, lengths, axis=0), offsets, filled, lengths)


def _segment_max_back(gradient: Array, saved: tuple[Array, ...], _: int) -> Array:
    reached, offsets, filled, lengths = saved
    share = np.array(gradient)  # (B, D)
    if len(filled):
        share[filled] /= np.add.reduceat(reached, offsets[filled], axis=0, dtype=share.dtype)
    share = np.repeat(share, lengths, axis=0)  # (N, D)
    share *= reached
    return share


def _pad_segments(x: Array, offsets: Array, length: int, side: str) -> Made:
    lengths = _segment_lengths(x, offsets)
    if lengths.max(initial=0) > length:
        raise ValueError(f"a segment of {lengths.max()} rows does not fit a length of {length}")
    firsts = np.arange(len(lengths)) * length  # (B,)
    if side == "left":
        firsts += length - lengths
    places = np.repeat(firsts - offsets[:-1], lengths) + np.arange(len(x))  # (N,)
    padded = np.zeros((len(lengths) * length, *x.shape[1:]), x.dtype)  # (B·L, D)
    padded[places] = x
    return padded.reshape(len(lengths), length, *x.shape[1:]), places


def _pad_segments_back(gradient: Array, places: Array, _: int) -> Array:
    return np.take(gradient.reshape(-1, *gradient.shape[2:]), places, axis=0)  # (N, D)


def _log_softmax(x: Array, axis: int) -> Made:
    result = x - x.max(axis, keepdims=True)
    result -= np.log(np.exp(result).sum(axis, keepdims=True))
    return result, (result, axis)


def _log_softmax_back(gradient: Array, saved: tuple[Array, int], _: int) -> Array:
    result, axis = saved
    part: Array = gradient - np.exp(result) * gradient.sum(axis, keepdims=True)
    return part


def _softmax_cross_entropy(logits: Array, labels: Array, weights: Array | None) -> Made:
    log_shares = _log_softmax(logits, -1)[0]  # (B, C)
    losses = -log_shares[np.arange(len(labels)), labels]  # (B,)
    if weights is not None:
        weights = np.asarray(weights, logits.dtype)
        losses *= weights
    return losses.sum(), (log_shares, labels, weights)


def _softmax_cross_entropy_back(gradient: Array, saved: Any, _: int) -> Array:
    log_shares, labels, weights = saved
    shares: Array = np.exp(log_shares, out=log_shares)  # (B, C)
    shares[np.arange(len(labels)), labels] -= 1
    shares *= gradient if weights is None else (weights * gradient)[:, None]
    return shares


def _sigmoid_cross_entropy(logits: Array, labels: Array | float, weights: Array | float) -> Made:
    labels = np.asarray(labels, logits.dtype)
    weights = np.asarray(weights, logits.dtype)
    half = np.asarray(logits * 0.5)
    squashed = np.tanh(half)
    # softplus(x) - y·x = |x|/2 - log(½ + ½·|tanh(x/2)|) + x·(½ - y)
    loss = np.abs(squashed)
    loss *= 0.5
    loss += 0.5
    np.log(loss, out=loss)
    np.subtract(np.abs(half), loss, out=loss)
    half *= 1 - 2 * labels
    loss += half
    loss *= weights
    return loss.sum(), (squashed, labels, weights)


def _sigmoid_cross_entropy_back(gradient: Array, saved: tuple[Array, ...], _: int) -> Array:
    squashed, labels, weights = saved
    return sigmoid_errors(squashed, labels, weights * gradient)


def sigmoid_errors(squashed: Array, labels: Array | float, weights: Array) -> Array:
    """Return (σ(x) - labels) · weights, given tanh(x/2), which is used up."""
    squashed += 1 - 2 * labels
    squashed *= weights * 0.5
    return squashed


def _squared_error(x: Array, target: Array) -> Made:
    target = np.asarray(target, x.dtype)
    if x.shape != target.shape:
        raise ValueError(f"squared error of shapes {x.shape} and {target.shape}")
    difference = np.asarray(x - target)
    return np.vdot(difference, difference), difference


def _squared_error_back(gradient: Array, difference: Array, _: int) -> Array:
    difference *= 2 * gradient
    return difference


def _dropout(x: Array, keep: Array, rate: float) -> Made:
    scale = 1 / (1 - rate)
    return x * keep * scale, (keep, scale)


def _dropout_back(gradient: Array, saved: tuple[Array, float], _: int) -> Array:
    keep, scale = saved
    return gradient * keep * scale


PRIMITIVES.update(
    add=Primitive(_add, _add_back),
    sub=Primitive(_sub, _sub_back),
    mul=Primitive(_mul, _mul_back),
    div=Primitive(_div, _div_back),
    neg=Primitive(lambda x: (-x, None), lambda gradient, _, __: -gradient),
    pow=Primitive(_pow, _pow_back),
    exp=Primitive(_exp, lambda gradient, result, _: gradient * result),
    log=Primitive(lambda x: (np.log(x), x), lambda gradient, x, _: gradient / x),
    tanh=Primitive(_tanh, lambda gradient, result, _: gradient * (1 - result * result)),
    sigmoid=Primitive(_sigmoid, lambda gradient, result, _: gradient * result * (1 - result)),
    relu=Primitive(_relu, lambda gradient, result, _: gradient * (result > 0)),
    sum=Primitive(_sum, _sum_back),
    mean=Primitive(_mean, _mean_back),
    max=Primitive(_max, _max_back),
    reshape=Primitive(_reshape, lambda gradient, shape, _: gradient.reshape(shape)),
    transpose=Primitive(_transpose, lambda gradient, axes, _: gradient.transpose(axes)),
    concatenate=Primitive(_concatenate, _concatenate_back),
    slice=Primitive(_slice, _slice_back),
    matmul=Primitive(_matmul, _matmul_back),
    gather=Primitive(_gather, _gather_back),
    masked_sum=Primitive(_masked_sum, _masked_sum_back),
    masked_max=Primitive(_masked_max, _masked_max_back),
    segment_sum=Primitive(_segment_sum, _segment_sum_back),
    segment_mean=Primitive(_segment_mean, _segment_mean_back),
    segment_max=Primitive(_segment_max, _segment_max_back),
    pad_segments=Primitive(_pad_segments, _pad_segments_back),
    log_softmax=Primitive(_log_softmax, _log_softmax_back),
    softmax_cross_entropy=Primitive(_softmax_cross_entropy, _softmax_cross_entropy_back),
    sigmoid_cross_entropy=Primitive(_sigmoid_cross_entropy, _sigmoid_cross_entropy_back),
    squared_error=Primitive(_squared_error, _squared_error_back),
    dropout=Primitive(_dropout, _dropout_back),
)
