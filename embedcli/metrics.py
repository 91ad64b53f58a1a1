"""Scores of predictions, on plain arrays: correlations, classification, ranking, regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.integer]


@dataclass(frozen=True)
class LabelScores:
    """Precision, recall and F1 of every label, with how often it is borne.

    Each is float64 (C,), `support` int64 (C,). What would be 0/0 is 0, as in scikit-learn's
    `precision_recall_fscore_support(zero_division=0)`.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]

    @property
    def macro_f1(self) -> float:
        """Mean F1 of all labels, each weighing the same."""
        return float(self.f1.mean()) if len(self.f1) else 0.0


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation of two equally long rows of numbers.

    NaN when there are fewer than two pairs or one side is constant.
    """
    a = np.asarray(x, dtype=np.float64)
    b = np.asarray(y, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    a = a - a.mean()
    b = b - b.mean()
    a /= np.abs(a).max()  # the squares of very small or very large numbers stay in range
    b /= np.abs(b).max()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def ranks(x: ArrayLike) -> Floats:
    """Ranks from 1, ties sharing the mean of their places.

    >>> ranks([10, 20, 20, 5]).tolist()
    [2.0, 3.5, 3.5, 1.0]
    """
    _, group, sizes = np.unique(np.asarray(x), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean = last - (sizes - 1) / 2
    return np.asarray(mean[group], dtype=np.float64)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing theirs."""
    return pearson(ranks(x), ranks(y))


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of equal entries; NaN of none."""
    right = np.asarray(truth) == np.asarray(predicted)
    return float(right.mean()) if right.size else float("nan")


def confusion_matrix(truth: Ids, predicted: Ids, classes: int) -> NDArray[np.int64]:
    """How often a text of class i was called j, int64 (C, C), row i the truth."""
    cells = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)  # (C, C)


def label_scores(right: ArrayLike, predicted: ArrayLike, support: ArrayLike) -> LabelScores:
    """Precision, recall and F1 a label from counts (C,): right, predicted, borne."""
    hits, called, borne = (
        np.asarray(count, dtype=np.int64) for count in (right, predicted, support)
    )
    return LabelScores(
        precision=_ratio(hits, called),
        recall=_ratio(hits, borne),
        f1=_ratio(2 * hits, called + borne),
        support=borne,
    )


def scores_of_confusion(matrix: NDArray[np.int64]) -> LabelScores:
    """Precision, recall and F1 a label of a confusion matrix (C, C)."""
    return label_scores(np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1))


def f1(right: int, predicted: int, borne: int) -> float:
    """Micro F1: harmonic mean of precision and recall over all decisions together."""
    return 2 * right / (predicted + borne) if predicted + borne else 0.0


def hits_at_k(scores: NDArray[np.floating], truth: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """How many of each text's k best scored labels it bears, int64 (B,), from two (B, C)."""
    k = min(k, scores.shape[1])
    best = top_k(scores, k)
    return np.asarray(np.take_along_axis(truth, best, axis=1).sum(axis=1), dtype=np.int64)  # (B,)


def top_k(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Columns of the k greatest scores of each row, greatest first, ties by column: (B, k)."""
    k = min(k, scores.shape[1])
    if k == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])  # (B, 1)
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, :k])  # (B, k)


def mean_squared_error(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean of the squared differences, over all rows and columns."""
    return float(np.mean(_difference(truth, predicted) ** 2))


def mean_absolute_error(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean of the absolute differences, over all rows and columns."""
    return float(np.mean(np.abs(_difference(truth, predicted))))


def r2(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the targets' variance that is explained, the mean over columns.

    1 is perfect, 0 is as good as the mean of these targets; NaN where every target of a column
    is the same.
    """
    target = np.asarray(truth, dtype=np.float64)
    residual = (_difference(target, predicted) ** 2).sum(axis=0)
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    if not np.all(spread > 0):
        return float("nan")
    return float(np.mean(1 - residual / spread))


def _difference(truth: ArrayLike, predicted: ArrayLike) -> Floats:
    """Truth less prediction, in float64."""
    return np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    """Part by whole, 0 where the whole is."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
