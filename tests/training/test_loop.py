"""The loop: the same bytes for any workers, from any point; what it reports, and how it stops."""

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from embedcli.errors import TrainingError
from embedcli.parallel import stretches
from embedcli.tasks.task import Validation
from embedcli.training import loop
from embedcli.training.loop import Training
from embedcli.training.state import TrainState
from tests.tasks.corpora import labelled_lines, make_task
from tests.tasks.test_words import planted_lines

SETTINGS = {
    "task": "skipgram",
    "tile": 16,
    "tile_negatives": 8,
    "batch_size": 48,
    "group": 4,
    "epochs": 3,
    "dim": 12,
    "optimizer": "damped_sgd",
    "lr": 0.1,
    "schedule": "linear",
}


@pytest.fixture
def make(tmp_path):
    def make(count=120, **settings):
        chosen = {**SETTINGS, **settings}
        lines = planted_lines(count, 1)
        return make_task(tmp_path / str(len(list(tmp_path.iterdir()))), lines, **chosen)

    return make


def run(task, **options):
    training = Training(task, task.settings, **options)
    return training, list(training.steps())


def table(training):
    return training.state.parameters["table"].tobytes()


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_any_number_of_workers_gives_the_same_bytes(kind, make):
    alone, steps = run(make(task=kind))
    assert alone.workers == 1
    for workers in (2, 3):
        shared, found = run(make(task=kind, workers=workers))
        assert shared.workers == workers
        assert table(shared) == table(alone)
        assert shared.state.trained.tolist() == alone.state.trained.tolist()
        busy = np.sum([step.shares for step in found], axis=0)
        assert busy.sum() == 3 * shared.task.batches
        assert (busy >= 3 * (shared.task.batches // 4)).all()  # at least one of each group
        assert [step.loss for step in found] == [step.loss for step in steps]


def test_workers_share_a_task_with_a_dense_head(tmp_path):
    settings = {"task": "classify", "batch_size": 8, "group": 4, "epochs": 4, "hidden": 5}
    made = []
    for workers in (1, 2, 4):
        lines = labelled_lines(200, 1)
        task = make_task(tmp_path / str(workers), lines, workers=workers, **settings)
        training, steps = run(task)
        assert training.workers == workers
        arrays = training.state.arrays().items()
        made.append(({n: a.tobytes() for n, a in arrays}, [step.loss for step in steps]))
    assert made[0] == made[1] == made[2]


def test_an_epoch_of_one_batch_is_work_for_one(make):
    alone, _ = run(make(count=4, epochs=70))
    shared, _ = run(make(count=4, epochs=70, workers=3))
    assert shared.task.batches == shared.workers == 1
    assert table(shared) == table(alone)


def test_batches_made_ahead_are_those_of_the_next_group(make):
    training = Training(make(workers=2), make(workers=2).settings)
    made = training.task.batch
    asked = []
    training.task.batch = lambda *key: (asked.append(key), made(*key))[1]
    for step in training.steps():
        while training.make_ahead():  # as this process does while it waits for the other
            pass
        ahead = [key for key in asked if key in training._made]
        assert ahead == ([] if step.number == step.total else sorted(training._made))
        assert bool(ahead) == (step.number < step.total)
        assert {epoch for epoch, _ in ahead} <= {(step.number // training.plan.steps(0))}
    assert not training._made
    assert len(asked) == len(set(asked))
    assert table(training) == table(run(make())[0])


@pytest.mark.parametrize(("optimizer", "growth"), [("damped_sgd", 1), ("adam", 1), ("adam", 1.2)])
@pytest.mark.parametrize("stop", [1, 7, 8, 20])
def test_a_run_goes_on_from_any_step_to_the_same_bytes(optimizer, growth, stop, make):
    settings = {"optimizer": optimizer, "group_growth": growth}
    whole, steps = run(make(**settings))
    first = Training(make(**settings), whole.settings)
    for number, _ in enumerate(first.steps(), 1):
        if number == stop:
            break
    arrays = {name: array.copy() for name, array in first.state.arrays().items()}
    place = json.loads(json.dumps(first.state.place()))
    rest, found = run(make(**settings), state=TrainState.restored(arrays, place))
    assert table(rest) == table(whole)
    assert found == steps[stop:]
    assert rest.state.log == whole.state.log


def test_a_command_to_merge_needs_what_merges(make):
    task = make()
    training = Training(task, task.settings)
    command = loop.COMMAND.pack(loop.END_TURN, *[0] * 6)
    with pytest.raises(RuntimeError, match="make_merger was not called"):
        training.work(0, command, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_groups_grow_over_the_run(workers, make):
    growth = {"epochs": 2, "group": 2, "group_growth": 3}
    training, steps = run(make(**growth, workers=workers))
    sizes = [sum(step.shares) for step in steps]
    assert (sizes[0], max(sizes)) in [(2, 5), (2, 6)]
    first, second = training.plan.steps(0), training.plan.steps(1)
    assert first > second
    growing_sizes = sizes[: first - 1] + sizes[first:-1]  # the last of an epoch is what is left
    assert growing_sizes == sorted(growing_sizes)
    assert sum(sizes[:first]) == sum(sizes[first:]) == training.task.batches
    assert [step.number for step in steps] == list(range(1, steps[0].total + 1))
    assert [record["steps"] for record in training.state.log] == [first, first + second]
    assert table(training) == table(run(make(**growth))[0])


def test_steps_tell_where_the_run_stands(make):
    training, steps = run(make())
    groups = math.ceil(training.task.batches / 4)
    assert [step.number for step in steps] == list(range(1, 3 * groups + 1))
    assert {step.total for step in steps} == {3 * groups}
    assert [step.epoch for step in steps[::groups]] == [1, 2, 3]
    assert sum(step.words for step in steps) == 3 * 1200
    assert steps[0].rate == 0.1
    assert all(after.rate < before.rate for before, after in pairwise(steps))
    records = [step.record for step in steps if step.record]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert records == training.state.log
    assert [record["words"] for record in records] == [1200] * 3
    assert records[-1]["loss"] < records[0]["loss"]
    # The curve of a short epoch has a point a group.
    for epoch, record in enumerate(records):
        losses = [step.loss for step in steps if step.epoch == epoch + 1]
        assert record["curve"] == pytest.approx(losses, rel=1e-5)


def test_a_curve_has_no_more_points_in_a_run(make, monkeypatch):
    monkeypatch.setattr(loop, "CURVE_POINTS", 11)
    training, _ = run(make())
    assert training.plan.steps(0) > 3
    for record in training.state.log:
        assert len(record["curve"]) == 3
        assert min(record["curve"]) < record["loss"] < max(record["curve"])
    monkeypatch.setattr(loop, "CURVE_POINTS", 2)
    training, _ = run(make())
    assert all("curve" not in record for record in training.state.log)


def test_a_run_goes_on_from_a_checkpoint_without_a_curve(make):
    first = Training(make(), run(make())[0].settings)
    next(first.steps())
    place = json.loads(json.dumps(first.state.place()))
    for name in ("curve", "part_loss", "part_count"):
        del place[name]
    arrays = {name: array.copy() for name, array in first.state.arrays().items()}
    rest, _ = run(make(), state=TrainState.restored(arrays, place))
    assert table(rest) == table(run(make())[0])


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_group_s_gradients_make_one_step(clip_norm, make):
    """With plain descent and a constant rate, a group is a batch of all its words.

    What limits a batch's norm leaves rows that are frozen out of it.
    """
    task = make(
        optimizer="sgd", schedule="constant", lr=0.01, epochs=1, group=3, clip_norm=clip_norm
    )
    task.parameters["output"].data[:] = 0.1
    frozen = np.arange(len(task.parameters["table"].data)) % 2 == 0
    trained = {name: task.parameters[name] for name in task.tables}
    before = {name: tensor.data.copy() for name, tensor in trained.items()}
    total = {name: np.zeros(array.shape) for name, array in before.items()}
    for index in range(3):
        task.loss(task.batch(0, index)).total.backward()
        found = {name: tensor.grad.dense() for name, tensor in trained.items()}
        found["table"][frozen] = 0
        norm = math.sqrt(sum(np.square(each).sum() for each in found.values()))
        assert norm > 1
        for name, tensor in trained.items():
            total[name] += found[name] * (1 if clip_norm is None else clip_norm / norm)
            tensor.grad = None
    training = Training(task, task.settings, frozen={"table": frozen})
    next(training.steps())
    for name, array in before.items():
        expected = array - 0.01 * total[name]
        np.testing.assert_allclose(task.parameters[name].data, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_a_word_that_fills_up_batches_is_not_trained_by_that(kind, tmp_path):
    lines = ["first of all", *planted_lines(60, 1)]
    settings = {**SETTINGS, "task": kind, "group": 1}
    training, _ = run(make_task(tmp_path, lines, **settings))
    assert training.state.trained[0] == 2  # not in the first step, as the output is all zeros


def test_freed_memory_is_given_back_now_and_then(make, monkeypatch):
    given_back = []
    monkeypatch.setattr("embedcli.training.loop.trim_heap", lambda: given_back.append(1))
    monkeypatch.setattr("embedcli.training.loop.TRIM_EVERY", 10)
    training, _ = run(make())
    assert len(given_back) == 1 + 3 * training.task.batches // 10


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_frozen_rows_stay(clip_norm, make):
    task = make(clip_norm=clip_norm)
    before = task.parameters["table"].data.copy()
    frozen = np.arange(len(before)) % 3 == 0
    training, _ = run(task, frozen={"table": frozen})
    after = training.state.parameters["table"]
    assert ((after != before).any(1) == ~frozen).all()
    assert ((training.state.trained > 0) == ~frozen).all()


@pytest.mark.parametrize("total", [math.nan, 1.0])
def test_no_number_stops_the_run_with_the_last_good_state(total, make):
    """Be it the loss, or a gradient alone: an estimate of the loss may leave out what is not."""
    task = make(optimizer="sgd", lr=0.01)
    training = Training(task, task.settings)
    steps = training.steps()
    next(steps)
    good = table(training)
    clean = task.loss

    def broken(batch):
        return dataclasses.replace(clean(batch), total=total)

    task.loss = broken
    task.parameters["output"].data[:] = 1e30
    with pytest.raises(TrainingError, match=r"step 2 \(epoch 1, batch 5\) at rate 0.00") as caught:
        next(steps)
    assert caught.value.hint is not None
    assert "--lr 0.001" in caught.value.hint
    assert training.whole
    assert table(training) == good


def test_a_rate_far_too_large_is_an_error_not_a_table_of_nan(make):
    task = make(optimizer="sgd", lr=1e6, epochs=30)
    training = Training(task, task.settings)
    with pytest.raises(TrainingError, match="not a finite number"):
        list(training.steps())
    assert np.isfinite(training.state.parameters["table"]).all()


def test_a_run_of_which_no_word_stays_has_no_loss(make):
    training, steps = run(make(subsample=1e-12))
    assert {step.loss for step in steps} == {0}
    assert not training.state.trained.any()


@pytest.mark.parametrize("workers", [1, 2])
def test_blas_has_one_thread_while_a_run_goes(workers, make):
    task = make(workers=workers, epochs=1)
    with threadpool_limits(2, user_api="blas"):
        for _ in Training(task, task.settings).steps():
            pools = [each for each in threadpool_info() if each["user_api"] == "blas"]
            assert {each["num_threads"] for each in pools} == {1}


def test_early_stopping_restores_the_best_epoch(make):
    task = make(epochs=20, patience=2)
    scores = iter([0.1, 0.5, 0.5, 0.3, 0.9])  # of equals the first is best
    tables = []

    def validate():
        tables.append(task.parameters["table"].data.copy())
        score = next(scores)
        return Validation(score, {"accuracy": score})

    task.validate = validate
    training, steps = run(task)
    assert [step.record["accuracy"] for step in steps if step.record] == [0.1, 0.5, 0.5, 0.3]
    np.testing.assert_array_equal(training.state.parameters["table"], tables[1])
    assert training.state.best_epoch == 2


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 7, 12, 100])
def test_workers_take_every_batch_once_and_ever_fewer_at_a_time(size, workers):
    found = stretches(size, workers)
    assert [number for each in found for number in each] == list(range(size))
    lengths = [len(each) for each in found]
    assert lengths == sorted(lengths, reverse=True)
    assert len(found) >= min(size, workers)


def test_a_small_run_needs_no_other_process(make):
    task = make(batch_size=1200, epochs=1, workers=2)
    assert Training(task, task.settings).workers == 1
