import numpy as np
import pytest

from embedcli.errors import CorpusError
from embedcli.training.gradients import LocalGradients

from .corpora import make_task, numbered_lines, trained

WITH = {"task": "regress", "pool": "sum", "epochs": 30, "dim": 8}


def test_planted_numbers_of_any_scale_are_learnt(tmp_path):
    task = make_task(tmp_path, numbered_lines(500, 1), numbered_lines(200, 2), **WITH)
    record = trained(task).log[-1]
    assert record["r2"] > 0.9
    assert record["mse"] < 0.05 * task.baseline()
    assert record["mae"] ** 2 <= record["mse"]


def test_before_learning_the_mean_is_said_and_the_loss_is_one(tmp_path):
    lines = ["__label__1 one", "__label__2 two", "__label__6 three"]
    task = make_task(tmp_path, lines, lines, **WITH)
    loss = task.gradients(task.batch(0, 0), LocalGradients(task.parameters))
    assert loss.value == pytest.approx(1)
    assert loss.total / loss.count == pytest.approx(1)
    found = task.validate()
    assert found.metrics["mse"] == pytest.approx(task.baseline())
    assert task.baseline() == pytest.approx(np.var([1, 2, 6]))
    assert found.metrics["r2"] == pytest.approx(0, abs=1e-6)
    assert found.score == -found.metrics["mse"]


def test_numbers_that_are_all_the_same_are_said(tmp_path):
    task = make_task(tmp_path, ["__label__7 one", "__label__7 two"], ["__label__7 one"], **WITH)
    record = trained(task).log[-1]
    assert record["mse"] == pytest.approx(0)
    assert np.isnan(record["r2"])


def test_texts_without_numbers_are_not_validated_on(tmp_path):
    lines = ["__label__1 one", "__label__3 two"]
    task = make_task(tmp_path, lines, [*lines, "", "__label__5 one"], **WITH)
    assert task.validate().metrics["mse"] == pytest.approx((1 + 1 + 9) / 3)


def test_weights_to_go_on_from_are_kept(tmp_path):
    first = make_task(tmp_path / "a", ["__label__1 one", "__label__3 two"], **WITH)
    weights = {name: tensor.data + 1 for name, tensor in first.parameters.items()}
    again = make_task(tmp_path / "b", ["__label__7 one", "__label__9 two"], weights=weights, **WITH)
    for name, tensor in again.parameters.items():
        np.testing.assert_array_equal(tensor.data, weights[name])


def test_what_cannot_be_learnt_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="numbers"):
        make_task(tmp_path / "a", ["__label__1 __label__2 x", "__label__1 y"], **WITH)
    with pytest.raises(CorpusError, match="2 numbers a text to validate on; expected 1"):
        make_task(
            tmp_path / "b", ["__label__1 x", "__label__2 y"], ["__label__1 __label__2 x"], **WITH
        )
