import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli import metrics

SCORES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30)


def slow_ranks(values):
    return [
        1 + sum(other < value for other in values) + (values.count(value) - 1) / 2
        for value in values
    ]


def slow_pearson(x, y):
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    products = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    squares = math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y)
    return products / math.sqrt(squares) if squares else math.nan


@given(SCORES)
def test_correlations_agree_with_slow_ones_also_where_numbers_tie(pairs):
    x, y = [list(column) for column in zip(*pairs, strict=True)]
    assert metrics.ranks(x).tolist() == slow_ranks(x)
    assert metrics.pearson(x, y) == pytest.approx(slow_pearson(x, y), nan_ok=True, abs=1e-12)
    expected = slow_pearson(slow_ranks(x), slow_ranks(y))
    assert metrics.spearman(x, y) == pytest.approx(expected, nan_ok=True, abs=1e-12)


@given(SCORES, st.floats(0.1, 10))
def test_spearman_sees_order_alone_and_pearson_no_scale(pairs, factor):
    x, y = [list(column) for column in zip(*pairs, strict=True)]
    bent = [math.exp(value) for value in x]
    assert metrics.spearman(bent, y) == pytest.approx(metrics.spearman(x, y), nan_ok=True)
    scaled = [factor * value + 3 for value in x]
    assert metrics.pearson(scaled, y) == pytest.approx(metrics.pearson(x, y), nan_ok=True)


def test_correlation_of_numbers_near_the_ends_of_the_range():
    assert metrics.pearson([1e-300, 2e-300, 3e-300], [1e200, 2e200, 3e200]) == pytest.approx(1)
    assert math.isnan(metrics.pearson([1.0], [2.0]))
    assert math.isnan(metrics.spearman([1, 1, 1], [1, 2, 3]))


def test_scores_of_a_confusion_matrix_worked_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 0, 0])
    matrix = metrics.confusion_matrix(truth, predicted, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    scores = metrics.scores_of_confusion(matrix)
    assert scores.precision.tolist() == pytest.approx([2 / 4, 1 / 2, 0, 0])
    assert scores.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert scores.f1.tolist() == pytest.approx([4 / 7, 1 / 2, 0, 0])
    assert scores.support.tolist() == [3, 2, 1, 0]
    assert scores.macro_f1 == pytest.approx((4 / 7 + 1 / 2) / 4)
    assert metrics.accuracy(truth, predicted) == 0.5


def test_micro_f1_of_decisions():
    assert metrics.f1(3, 5, 4) == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert metrics.f1(0, 0, 0) == 0


def test_best_labels_come_greatest_first_and_ties_by_column():
    scores = np.array([[0.1, 0.9, 0.9, 0.3], [0.0, 0.0, 0.0, 1.0]])
    assert metrics.top_k(scores, 3).tolist() == [[1, 2, 3], [3, 0, 1]]
    assert metrics.top_k(scores, 1).tolist() == [[1], [3]]
    assert metrics.top_k(scores, 9).shape == (2, 4)
    truth = np.array([[True, False, True, False], [False, True, False, True]])
    assert metrics.hits_at_k(scores, truth, 1).tolist() == [0, 1]
    assert metrics.hits_at_k(scores, truth, 4).tolist() == [2, 2]


def test_errors_of_numbers_worked_by_hand():
    truth, predicted = [[1.0], [2.0], [6.0]], [[1.0], [4.0], [5.0]]
    assert metrics.mean_squared_error(truth, predicted) == pytest.approx(5 / 3)
    assert metrics.mean_absolute_error(truth, predicted) == pytest.approx(1)
    assert metrics.r2(truth, predicted) == pytest.approx(1 - 5 / 14)
    assert metrics.r2(truth, [[3.0]] * 3) == pytest.approx(0)
    assert math.isnan(metrics.r2([[1.0], [1.0]], [[1.0], [1.0]]))
