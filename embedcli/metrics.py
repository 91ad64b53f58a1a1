"""Scores of predictions, on plain arrays: correlations, classification, ranking, regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.integer]


@dataclass(frozen=True)
class LabelScores:
    """Precision, recall, F1 and number of texts of every label.

    Each is float64 (C,), `support` int64 (C,). 0/0 is 0, as in scikit-learn's
    `precision_recall_fscore_support(zero_division=0)`.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]

    @property
    def macro_f1(self) -> float:
        """Mean F1 of all labels, with equal weights."""
        return float(self.f1.mean()) if len(self.f1) else 0.0


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Return Pearson's correlation of two arrays (N,).

    It is NaN for fewer than two pairs, or if one array is constant.
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
    """Return ranks from 1; ties have the mean of their ranks.

    >>> ranks([10, 20, 20, 5]).tolist()
    [2.0, 3.5, 3.5, 1.0]
    """
    _, group, sizes = np.unique(np.asarray(x), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean = last - (sizes - 1) / 2
    return np.asarray(mean[group], dtype=np.float64)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rank correlation: Pearson's correlation of the ranks."""
    return pearson(ranks(x), ranks(y))


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of equal entries; NaN of none."""
    equal = np.asarray(truth) == np.asarray(predicted)
    return float(equal.mean()) if equal.size else float("nan")


def confusion_matrix(truth: Ids, predicted: Ids, classes: int) -> NDArray[np.int64]:
    """Return how many texts of class i (row) were predicted as class j, int64 (C, C)."""
    cells = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)  # (C, C)


def label_scores(correct: ArrayLike, predicted: ArrayLike, support: ArrayLike) -> LabelScores:
    """Return the scores of labels from counts (C,) of texts.

    `correct` counts those with the label that were predicted to have it, `predicted` all that were
    predicted to have it, `support` all that have it.
    """
    hits, positive, true = (
        np.asarray(count, dtype=np.int64) for count in (correct, predicted, support)
    )
    return LabelScores(
        precision=_ratio(hits, positive),
        recall=_ratio(hits, true),
        f1=_ratio(2 * hits, positive + true),
        support=true,
    )


def scores_of_confusion(matrix: NDArray[np.int64]) -> LabelScores:
    """Return the scores of labels from a confusion matrix (C, C)."""
    return label_scores(np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1))


def f1(correct: int, predicted: int, support: int) -> float:
    """Return the micro F1: the harmonic mean of precision and recall of all decisions together."""
    return 2 * correct / (predicted + support) if predicted + support else 0.0


def hits_at_k(scores: NDArray[np.floating], truth: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return how many of each text's k labels with the best scores are true, int64 (B,).

    `scores` and `truth` are (B, C).
    """
    best = top_k(scores, k)  # (B, k)
    return np.asarray(np.take_along_axis(truth, best, axis=1).sum(axis=1), dtype=np.int64)  # (B,)


def top_k(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Return the columns of the k greatest scores of each row, greatest first: (B, k).

    Ties are ordered by column.
    """
    k = min(k, scores.shape[1])
    if k == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])  # (B, 1)
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, :k])  # (B, k)


def mean_squared_error(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean of the squared differences of all rows and columns."""
    return float(np.mean(_difference(truth, predicted) ** 2))


def mean_absolute_error(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean of the absolute differences of all rows and columns."""
    return float(np.mean(np.abs(_difference(truth, predicted))))


def r2(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of the targets' variance that is explained, the mean over columns.

    1 is perfect, 0 is as good as predicting the mean of these targets. It is NaN if the targets of
    a column are all equal.
    """
    target = np.asarray(truth, dtype=np.float64)
    residual = (_difference(target, predicted) ** 2).sum(axis=0)
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    if not np.all(spread > 0):
        return float("nan")
    return float(np.mean(1 - residual / spread))


def errors(truth: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Return the three measures of numbers by name: `mse`, `mae` and `r2`."""
    return {
        "mse": mean_squared_error(truth, predicted),
        "mae": mean_absolute_error(truth, predicted),
        "r2": r2(truth, predicted),
    }


def _difference(truth: ArrayLike, predicted: ArrayLike) -> Floats:
    """Return truth minus prediction, in float64."""
    return np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    """Return part / whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
