import numpy as np
import pytest

from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.tensor import Tensor
from embedcli.errors import ConfigError, CorpusError
from embedcli.tasks.classify import class_weights

from .corpora import labelled_lines, make_task, trained


@pytest.mark.parametrize("pool", ["mean", "sum", "max", "flatten"])
@pytest.mark.parametrize("hidden", [None, 8])
def test_planted_topics_are_learnt(tmp_path, pool, hidden):
    task = make_task(
        tmp_path,
        labelled_lines(600, 1),
        labelled_lines(200, 2),
        task="classify",
        pool=pool,
        hidden=hidden,
        length=16 if pool == "flatten" else None,
    )
    state = trained(task)
    assert state.log[-1]["accuracy"] > (0.8 if pool == "flatten" else 0.95)
    assert state.log[-1]["loss"] < state.log[0]["loss"]
    assert task.baseline() < 0.4


def test_several_labels_are_learnt_each_by_itself(tmp_path):
    task = make_task(
        tmp_path,
        labelled_lines(800, 1, several=True),
        labelled_lines(200, 2, True),
        task="classify",
    )
    assert task.multi_label
    log = trained(task).log
    assert log[-1]["precision_at_1"] > 0.95
    assert log[-1]["f1"] > 0.9
    assert 0.6 < log[-1]["recall_at_1"] < 0.8  # one of one or two labels


def test_before_learning_outputs_say_how_often_labels_are_borne(tmp_path):
    lines = ["__label__a one two", "__label__a two", "__label__a one", "__label__b one"]
    task = make_task(tmp_path / "one", lines, task="classify")
    shares = np.exp(task.parameters["output.bias"].data)
    np.testing.assert_allclose(shares, [0.75, 0.25], rtol=1e-6)
    assert task.baseline() == 0.75
    task = make_task(tmp_path / "any", [*lines, "__label__a __label__b two"], task="classify")
    shares = 1 / (1 + np.exp(-task.parameters["output.bias"].data))
    np.testing.assert_allclose(shares, [0.8, 0.4], rtol=1e-6)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_gradients_of_the_whole_loss_are_central_differences(tmp_path, several, weights):
    task = make_task(
        tmp_path,
        labelled_lines(12, 3, several),
        task="classify",
        dim=4,
        class_weights=weights,
        multi_label=several,
    )
    batch = task.batch(0, 0)
    trainable = [name for name, tensor in task.parameters.items() if tensor.requires_grad]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=task.parameters[name].shape) for name in trainable]

    def loss(*tensors):
        task.parameters |= dict(zip(trainable, tensors, strict=True))
        return task.loss(batch).mean

    check_gradient(loss, values)


def test_batches_are_functions_of_seed_epoch_and_index(tmp_path):
    lines = labelled_lines(70, 1)
    one = make_task(tmp_path / "a", lines, task="classify")
    other = make_task(tmp_path / "b", lines, task="classify")
    assert one.batches == 3
    wanted = [(epoch, index) for epoch in range(3) for index in range(3)]
    forward = {at: one.batch(*at) for at in wanted}
    backward = {at: other.batch(*at) for at in reversed(wanted)}
    for at in wanted:
        np.testing.assert_array_equal(forward[at].targets, backward[at].targets)
        np.testing.assert_array_equal(forward[at].inputs.counts, backward[at].inputs.counts)
    for epoch in range(3):
        words = sum(one.words(forward[epoch, index]) for index in range(3))
        assert words == sum(len(line.split()) - 1 for line in lines)
    assert not np.array_equal(forward[0, 0].targets, forward[1, 0].targets)


def test_each_batch_drops_other_numbers(tmp_path):
    task = make_task(tmp_path, labelled_lines(70, 1), task="classify", dropout=0.5)
    drawn = [task.batch(*at).dropout.random() for at in [(0, 0), (0, 1), (1, 0), (0, 0)]]
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


@pytest.mark.parametrize("balance", [None, "balanced"])
def test_weights_to_go_on_from_are_kept(balance, tmp_path):
    settings = {"task": "classify", "class_weights": balance}
    lines = ["__label__a one", "__label__a one", "__label__b two"]
    first = make_task(tmp_path / "a", lines, **settings)
    weights = {name: tensor.data + 1 for name, tensor in first.parameters.items()}
    again = make_task(tmp_path / "b", [*lines, "__label__b two"], weights=weights, **settings)
    for name, tensor in again.parameters.items():
        np.testing.assert_array_equal(tensor.data, weights[name])


def test_class_weights_worked_by_hand():
    names, counts = ("a", "b"), np.array([6, 2])
    assert class_weights(None, names, counts) is None
    assert class_weights("balanced", names, counts).tolist() == pytest.approx([8 / 12, 2])
    assert class_weights("balanced", names, np.array([6, 0])).tolist() == [0.5, 3]
    assert class_weights("b=3", names, counts).tolist() == [1, 3]
    assert class_weights(" b = 3 , a=0.5", names, counts).tolist() == [0.5, 3]
    for wrong, message in [
        ("c=1", "'c' is no label"),
        ("a=x", "expected label=weight"),
        ("a=-1", "expected label=weight"),
        ("a", "expected label=weight"),
    ]:
        with pytest.raises(ConfigError, match=message):
            class_weights(wrong, names, counts)


def test_balanced_weights_make_a_rare_label_heard(tmp_path):
    rare = [line for line in labelled_lines(400, 1) if "sea" in line][:6]
    lines = [line for line in labelled_lines(400, 2) if "farm" in line] + rare
    plain, balanced = (
        make_task(tmp_path / str(name), lines, task="classify", class_weights=name, epochs=1)
        for name in (None, "balanced")
    )
    for task in (plain, balanced):
        trained(task)
    # Both know the words; balanced weights lift the rare label's standing.
    lift = [task.parameters["output.bias"].data for task in (plain, balanced)]
    assert lift[1][1] - lift[1][0] > lift[0][1] - lift[0][0]


def test_unknown_labels_of_validation_count_as_missed(tmp_path):
    task = make_task(
        tmp_path, labelled_lines(300, 1), ["__label__moon wave tide"] * 10, task="classify"
    )
    log = trained(task).log
    assert log[-1]["accuracy"] == 0
    assert log[-1]["valid_loss"] == 0


def test_the_loss_of_validation_is_that_of_known_labels(tmp_path):
    lines = ["__label__a one", "__label__a one", "__label__a two", "__label__b two"]
    valid = ["__label__moon one", "__label__a two", "__label__b two", "__label__b one"]
    task = make_task(tmp_path, lines, valid, task="classify")
    loss = task.validate().metrics["valid_loss"]  # with nothing learnt: by the labels' shares
    assert loss == pytest.approx(-(np.log(0.75) + 2 * np.log(0.25)) / 3)


def test_there_is_room_for_the_words_of_the_longest_texts(tmp_path):
    lines = [f"__label__{n % 2} " + " ".join(f"w{n}x{m}" for m in range(n)) for n in range(1, 9)]
    task = make_task(tmp_path, lines, task="classify", batch_size=3)
    assert task.most_rows == {"table": 8 + 7 + 6}


def test_early_stopping_restores_the_best_epoch(tmp_path):
    lines = labelled_lines(120, 1)
    odd = [line.replace("__label__sea", "__label__farm") for line in labelled_lines(60, 2)]
    task = make_task(tmp_path, lines, odd, task="classify", epochs=40, patience=2, lr=0.5)
    state = trained(task)
    losses = [record["valid_loss"] for record in state.log]
    assert len(losses) < 40
    assert state.best_epoch == int(np.argmin(losses)) + 1
    assert -task.validate().score == pytest.approx(min(losses))


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["__label__a", "__label__b one"], {"min_count": 2}, "word"),
        (["__label__a one two", "__label__a two"], {}, "one label only"),
        (["__label__a __label__b one two"], {"multi_label": False}, "several labels"),
    ],
)
def test_what_cannot_be_learnt_is_refused(tmp_path, lines, settings, message):
    with pytest.raises(CorpusError, match=message):
        make_task(tmp_path, lines, task="classify", **settings)


def test_lines_without_words_are_not_learnt_from(tmp_path):
    task = make_task(
        tmp_path, ["__label__a", "", "__label__a one", "__label__b two"], task="classify"
    )
    assert task.batches == 1
    assert len(task.batch(0, 0).targets) == 2


def test_more_labels_than_columns_are_pooled_first_with_the_same_result(tmp_path):
    lines = [f"__label__{n} word{n} common" for n in range(12)] * 30
    task = make_task(tmp_path, lines, lines, task="classify", dim=4, epochs=30)
    assert trained(task).log[-1]["accuracy"] > 0.95
    assert isinstance(task.loss(task.batch(0, 0)).mean, Tensor)


def test_the_first_bias_knows_the_class_weights(tmp_path):
    lines = ["__label__rare red blue"] * 2 + ["__label__flower pink green"] * 38
    task = make_task(tmp_path, lines, task="classify", class_weights="flower=0")
    shares = np.exp(task.parameters["output.bias"].data)
    assert shares[0] > 0.99 > 0.01 > shares[1]
    alike = make_task(tmp_path / "b", lines, task="classify", class_weights="balanced")
    np.testing.assert_allclose(np.exp(alike.parameters["output.bias"].data), 0.5, rtol=1e-5)
