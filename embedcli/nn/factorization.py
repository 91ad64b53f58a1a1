"""GloVe's loss: weighted squares of the error with which two vectors predict a log count.

Of a pair of words that stand near each other X times, the loss is f(X)/2 · (w·c + b + b' - log X)²,
with f(X) = min(1, (X / x_max)^alpha) (Pennington, Socher & Manning 2014, equations 8 and 9). There
is a plain version on the tape, and one fused kernel for each of the two shapes of a batch: a tile,
which is many of the pairs of some words with some others, scored by one matrix product; and pairs
of any words, scored one by one.

The parameters are the tables of words and of contexts, (V, D) each, and their biases, (V, 1) each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from embedcli.autodiff import ops
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Tensor


class Pairs(NamedTuple):
    """Pairs of words with the logarithms of their counts, and their weights.

    Pair n is that of the words `words[first[n]]` and `contexts[second[n]]`. In a tile the words are
    fewer than the pairs; otherwise each pair has words of its own, and `first` and `second` count
    from 0.
    """

    words: Array  # (R,) ids
    contexts: Array  # (K,) ids
    first: Array  # (n,) numbers of words
    second: Array  # (n,) numbers of contexts
    logs: Array  # (n,)
    weights: Array  # (n,)
    is_tile: bool


def glove_weights(logs: Array, x_max: float, alpha: float) -> Array:
    """Return the weights of pairs by the logarithms of their counts: (n,) float32."""
    weights: Array = np.exp(np.minimum(alpha * (logs - np.float32(np.log(x_max))), 0))
    return weights


def glove_scores(parameters: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Score each pair on the tape: its predicted log count, (n,)."""
    table, output, bias, output_bias = parameters
    words, contexts = pairs.words[pairs.first], pairs.contexts[pairs.second]  # (n,)
    products = (ops.gather(table, words) * ops.gather(output, contexts)).sum(axis=1)
    biases = ops.gather(bias, words) + ops.gather(output_bias, contexts)  # (n, 1)
    return products + biases.sum(axis=1)


def glove_loss(parameters: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return the loss of a batch on the tape, one number."""
    roots = np.sqrt(pairs.weights / 2)  # (n,)
    scores = glove_scores(parameters, pairs) * Tensor(roots)
    return ops.squared_error(scores, pairs.logs * roots)


def glove_gradients(
    parameters: Sequence[Array], pairs: Pairs, gradients: Sequence[RowGrad]
) -> float:
    """Return the loss of a batch, and write its gradients.

    Those of words and of their biases are for the rows of `pairs.words`, those of contexts and of
    their biases for the rows of `pairs.contexts`.
    """
    kernel = _tile_gradients if pairs.is_tile else _pair_gradients
    return kernel(parameters, pairs, gradients)


def _tile_gradients(
    parameters: Sequence[Array], pairs: Pairs, gradients: Sequence[RowGrad]
) -> float:
    table, output, bias, output_bias = parameters
    # 1. Look up the rows, and lay out the pairs as a matrix; of those that never occur the weight
    # is 0.
    words, contexts = table.take(pairs.words, axis=0), output.take(pairs.contexts, axis=0)
    weights = np.zeros((len(words), len(contexts)), np.float32)  # (R, K)
    weights[pairs.first, pairs.second] = pairs.weights
    errors = np.matmul(words, contexts.T)  # (R, K)
    errors += bias.take(pairs.words, axis=0)
    errors += output_bias.take(pairs.contexts, axis=0).T
    errors[pairs.first, pairs.second] -= pairs.logs
    # 2. The slopes of the loss along the scores, and from there along rows and biases.
    slopes = weights * errors  # (R, K)
    of_words, of_contexts, of_bias, of_output_bias = gradients
    np.matmul(slopes, contexts, out=of_words.rows)
    np.matmul(slopes.T, words, out=of_contexts.rows)
    slopes.sum(axis=1, keepdims=True, out=of_bias.rows)
    slopes.sum(axis=0, out=of_output_bias.rows[:, 0])
    # 3. The curvature: the squared length of each partner, times the pair's weight.
    np.matmul(weights, np.vecdot(contexts, contexts), out=of_words.curvature)
    np.matmul(np.vecdot(words, words), weights, out=of_contexts.curvature)
    weights.sum(axis=1, out=of_bias.curvature)
    weights.sum(axis=0, out=of_output_bias.curvature)
    return float(np.vdot(slopes, errors)) / 2


def _pair_gradients(
    parameters: Sequence[Array], pairs: Pairs, gradients: Sequence[RowGrad]
) -> float:
    table, output, bias, output_bias = parameters
    words, contexts = table.take(pairs.words, axis=0), output.take(pairs.contexts, axis=0)  # (n, D)
    errors = np.vecdot(words, contexts)  # (n,)
    errors += bias[pairs.words, 0]
    errors += output_bias[pairs.contexts, 0]
    errors -= pairs.logs
    slopes = pairs.weights * errors  # (n,)
    of_words, of_contexts, of_bias, of_output_bias = gradients
    np.multiply(slopes[:, None], contexts, out=of_words.rows)
    np.multiply(slopes[:, None], words, out=of_contexts.rows)
    of_bias.rows[:, 0] = of_output_bias.rows[:, 0] = slopes
    np.multiply(pairs.weights, np.vecdot(contexts, contexts), out=of_words.curvature)
    np.multiply(pairs.weights, np.vecdot(words, words), out=of_contexts.curvature)
    of_bias.curvature[:] = of_output_bias.curvature[:] = pairs.weights
    return float(np.vdot(slopes, errors)) / 2
