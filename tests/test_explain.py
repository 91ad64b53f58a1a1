from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError, VocabularyError
from embedcli.explanation import explain_step, explain_word
from embedcli.model import Model, verify_model
from embedcli.nn.initializers import initial_rows
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.text.vocabulary import Vocabulary
from embedcli.training.loop import Training
from embedcli.views.explain import record_of
from tests.explained import ANSWERS, ASKED, CASES, REVIEWS, SEVERAL, TALE, TEXTS, trained


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {
        name: trained(tmp_path_factory.mktemp(name), TEXTS.get(settings["task"], TALE), **settings)
        for name, settings in CASES.items()
    }


def as_json(step) -> dict:
    return json.loads(json.dumps(record_of(step)))


@pytest.fixture(scope="module")
def records(models):
    return {
        name: as_json(explain_step(model, ASKED, ANSWERS[model.settings.task]))
        for name, model in models.items()
    }


class Weights(dict):
    """The numbers of a record, in float64: arrays by (parameter, row)."""

    def __init__(self, record: dict) -> None:
        rows = {("table", each["id"]): each["row"] for each in record["rows"]}
        met = [each for each in record["ngrams"] if each["row"] is not None]
        rows |= {("ngrams", each["row"]): each["vector"] for each in met}
        rows |= {(c["parameter"], c["row"]): c["before"] for c in record["changes"]}
        super().__init__({key: np.array(value, np.float64) for key, value in rows.items()})


def loss_of(record: dict, weights: Weights) -> float:
    """What the loss is by the formulas of the papers, from nothing but the JSON."""
    total = sum(LOSSES[record["task"]](record, example, weights) for example in record["examples"])
    return total / record["count"] if record["task"] in TEXTS else total


def pooled(record: dict, example: dict, weights: Weights) -> np.ndarray:
    of = record["settings"]
    rows = [weights["table", record["tokens"][place]["id"]] for place in example["inputs"]]
    # An n-gram that was not met has zeros, which no step changes.
    blank = np.zeros(record["shape"][1])
    rows += [weights.get(("ngrams", each["row"]), blank) for each in record["ngrams"]]
    if of["pool"] == "flatten":
        blank = [np.zeros_like(rows[0])] * (of["length"] - len(rows))
        x = np.concatenate(blank + rows if of["pad_side"] == "left" else rows + blank)
    else:
        x = getattr(np, of["pool"])(rows, axis=0)
    if of["hidden"]:
        x = np.maximum(x @ weights["hidden.weight", None] + weights["hidden.bias", None], 0)
    return x @ weights["output.weight", None] + weights["output.bias", None]


def classify_loss(record: dict, example: dict, weights: Weights) -> float:
    logits = pooled(record, example, weights)
    wanted = np.array([each["target"] for each in example["candidates"]])
    weight = np.array([each["weight"] for each in example["candidates"]])
    if record["settings"]["multi_label"]:
        return float((weight * (np.log1p(np.exp(logits)) - wanted * logits)).sum())
    log_said = logits - np.log(np.exp(logits).sum())
    return float(-(weight * wanted * log_said).sum())


def regress_loss(record: dict, example: dict, weights: Weights) -> float:
    wanted = np.array([each["target"] for each in example["candidates"]])
    return float(((pooled(record, example, weights) - wanted) ** 2).sum())


def words_loss(record: dict, example: dict, weights: Weights) -> float:
    rows = [weights["table", record["tokens"][place]["id"]] for place in example["inputs"]]
    total = 0.0
    for each in example["candidates"]:
        score = np.mean(rows, axis=0) @ weights["output", each["id"]] + each["bias"]
        total += each["weight"] * np.log1p(np.exp(-score if each["target"] else score))
    return float(total)


LOSSES = {
    "classify": classify_loss,
    "regress": regress_loss,
    "skipgram": words_loss,
    "cbow": words_loss,
}


def slopes(record: dict, key: tuple) -> np.ndarray:
    """Central differences of the loss along one row or parameter, in float64."""
    weights = Weights(record)
    row, step = weights[key], 1e-5
    found = np.zeros_like(row)
    for at in np.ndindex(row.shape):
        value = row[at]
        row[at] = value + step
        above = loss_of(record, weights)
        row[at] = value - step
        found[at] = (above - loss_of(record, weights)) / (2 * step)
        row[at] = value
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_json_s_own_numbers(records, name):
    record = records[name]
    assert record["loss"] == pytest.approx(loss_of(record, Weights(record)), rel=1e-5)
    answers = [each for example in record["examples"] for each in example["candidates"]]
    assert sum(each["loss"] for each in answers) == pytest.approx(record["total"], rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_finite_differences(records, name):
    record = records[name]
    found = {(c["parameter"], c["row"]): c for c in record["changes"]}
    expected = {key: slopes(record, key) for key in Weights(record)}
    factor = 1.0
    limit = record["settings"]["clip_norm"]
    if limit is not None:
        norm = np.sqrt(sum((each**2).sum() for each in expected.values()))
        assert norm > limit
        factor = limit / norm
    for key, slope in expected.items():
        gradient = found[key]["gradient"] if key in found else np.zeros_like(slope)
        np.testing.assert_allclose(gradient, slope * factor, rtol=1e-3, atol=2e-6)
        if key in found:
            parts = np.array(found[key]["parts"]).sum(axis=0)
            np.testing.assert_allclose(parts * factor, slope * factor, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_rows_after_the_step_follow_from_the_optimizer_s_formula(records, name):
    record = records[name]
    for change in record["changes"]:
        expected = STEPS[record["optimizer"]["name"]](record, change)
        np.testing.assert_allclose(change["after"], expected, rtol=1e-4, atol=1e-7)
        moved = np.abs(np.array(change["gradient"])).max() > 1e-6
        assert not moved or change["after"] != change["before"]


def sgd(record: dict, change: dict) -> np.ndarray:
    before, g = np.array(change["before"]), np.array(change["gradient"])
    if not record["optimizer"]["momentum"]:
        return before - record["rate"] * g
    velocity = np.array(change["state_before"]["velocity"])
    return before + record["optimizer"]["momentum"] * velocity - record["rate"] * g


def adagrad(record: dict, change: dict) -> np.ndarray:
    g = np.array(change["gradient"])
    square = np.array(change["state_before"]["square"]) + g**2
    return change["before"] - record["rate"] * g / (np.sqrt(square) + 1e-10)


def adam(record: dict, change: dict) -> np.ndarray:
    g, t = np.array(change["gradient"]), record["number"]
    mean = 0.9 * np.array(change["state_before"]["mean"]) + 0.1 * g
    square = 0.999 * np.array(change["state_before"]["square"]) + 0.001 * g**2
    rate = record["rate"] * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return change["before"] - rate * mean / (np.sqrt(square) + 1e-7)


def damped_sgd(record: dict, change: dict) -> np.ndarray:
    damping = 1 + record["rate"] * record["optimizer"]["damping"] * change["curvature"]
    return change["before"] - record["rate"] / damping * np.array(change["gradient"])


STEPS = {"sgd": sgd, "adagrad": adagrad, "adam": adam, "damped_sgd": damped_sgd}


@pytest.mark.parametrize("name", ["classify-sgd", "regress-sgd", "skipgram-damped", "cbow-damped"])
def test_the_rows_are_those_of_a_step_of_training(models, name):
    """One batch of `Training` on the same line, from the same weights, to the same bytes."""
    model = models[name]
    answer = ANSWERS[model.settings.task]
    step = explain_step(model, ASKED, answer)
    ids = [token.id for token in step.tokens if token.id is not None]
    task = TASKS[model.settings.task](
        corpus_of(ids, model, answer),
        TrainSettings(**vars(model.settings) | {"epochs": 1, "schedule": "constant"}),
        weights={"table": model.table.vectors, **model.head},
    )
    training = Training(task, task.settings)
    list(training.steps())
    for name, before in {"table": model.table.vectors, **model.head}.items():
        changed = {change.row: change for change in step.changes if change.parameter == name}
        trained = training.state.parameters[name]
        if None in changed:
            assert trained.tobytes() == changed[None].after.tobytes()
            continue
        for row in range(len(trained)):
            expected = changed[row].after if row in changed else before[row]
            assert trained[row].tobytes() == expected.tobytes()
        assert step.unchanged.get(name, len(trained)) == len(trained) - len(changed)


def test_windows_and_noise_are_drawn_by_the_seed(models):
    model = models["skipgram-sgd"]
    steps = [explain_step(model, "hope to see you again", seed=seed) for seed in (None, 0, 1, 2, 3)]
    assert as_json(steps[0]) == as_json(steps[1]) != as_json(steps[2])
    reached = set()
    for example in (example for step in steps for example in step.examples):
        right = [each for each in example.candidates if each.kind == "context"]
        noise = [each for each in example.candidates if each.kind == "noise"]
        distances = [each.place - example.centre for each in right]
        reached |= set(distances)
        assert 0 not in distances and len(set(distances)) == len(distances)
        assert all(model.table.vocabulary.token(c.id) == c.name for c in example.candidates)
        assert sum(each.weight for each in noise) == pytest.approx(5 * len(right), rel=1e-5)
    assert reached == {-2, -1, 1, 2}


def test_a_word_alone_has_no_neighbours(models):
    for name in ("skipgram-sgd", "cbow-sgd"):
        with pytest.raises(VocabularyError, match="'see' stands alone"):
            explain_step(models[name], "see zzz")
        with pytest.raises(ConfigError, match="makes its own"):
            explain_step(models[name], "see you", ["good"])


def test_a_long_text_is_read_as_far_as_the_first_batch(models):
    step = explain_step(models["skipgram-sgd"], "see you again " * 50)
    kept = [token.kept for token in step.tokens]
    assert kept[0] and not kept[-1] and kept == sorted(kept, reverse=True)
    assert len(step.examples) == sum(kept)


def corpus_of(ids: list[int], model: Model, labels: list[str]):
    from embedcli.explanation.step import _corpus

    answer = TASKS[model.settings.task].parse_answer(labels, model.labels, model.head)
    return _corpus(np.array(ids, np.int32), model.table.vocabulary, answer)


def test_several_labels_and_the_model_left_as_it_was(tmp_path):
    model = trained(tmp_path, SEVERAL, task="classify", optimizer="sgd", lr=0.5)
    record = as_json(explain_step(model, ASKED, ["new", "warm"]))
    assert [c["target"] for c in record["examples"][0]["candidates"]] == [1, 1, 0]
    assert record["loss"] == pytest.approx(loss_of(record, Weights(record)) / 1, rel=1e-5)
    for key in Weights(record):
        found = next(c for c in record["changes"] if (c["parameter"], c["row"]) == key)
        np.testing.assert_allclose(found["gradient"], slopes(record, key), rtol=1e-3, atol=2e-6)
    assert verify_model(tmp_path / "model")


def test_look_up_is_a_product_with_one_hot_vectors(records):
    for record in records.values():
        assert record["one_hot_difference"] == 0
        known = {token["id"] for token in record["tokens"] if token["kept"]}
        assert {each["id"] for each in record["rows"]} == known


def test_tokens_unknown_or_cut_off_are_told(records):
    tokens = records["regress-flatten"]["tokens"]
    assert [t["token"] for t in tokens] == ["see", "it", "again", "see", "you", "zzz"]
    assert [t["kept"] for t in tokens] == [False, True, True, True, True, False]
    assert tokens[-1]["id"] is None and tokens[-1]["count"] is None
    assert tokens[0]["count"] == 9


def test_frozen_rows_get_no_step(tmp_path):
    model = trained(tmp_path, REVIEWS, task="classify", optimizer="sgd", freeze="all")
    step = explain_step(model, ASKED, ["good"])
    assert {change.parameter for change in step.changes} == {"output.weight", "output.bias"}
    assert step.unchanged == {"table": len(model.table)}
    assert len(step.rows) == 3
    told = explain_word(model, "see")
    assert told.frozen and told.trained == 0 and told.moved == 0


@pytest.mark.parametrize(
    ("name", "text", "answer", "error"),
    [
        ("classify-sgd", "zzz qqq", ["good"], VocabularyError),
        ("classify-sgd", "...", ["good"], VocabularyError),
        ("classify-sgd", ASKED, [], ConfigError),
        ("classify-sgd", ASKED, ["goood"], ConfigError),
        ("regress-sgd", ASKED, ["1"], ConfigError),
        ("regress-sgd", ASKED, ["1", "many"], CorpusError),
    ],
)
def test_what_cannot_be_explained(models, name, text, answer, error):
    with pytest.raises(error):
        explain_step(models[name], text, answer)


def test_a_large_table_is_not_copied():
    words, dim = 60_000, 100
    rows = np.zeros((words, dim), np.float32)
    rows[:] = np.arange(words, dtype=np.float32)[:, None] / words
    head = {
        "output.weight": np.eye(dim, 2, dtype=np.float32),
        "output.bias": np.zeros(2, np.float32),
    }
    model = Model(
        table=EmbeddingTable(Vocabulary(f"w{i}" for i in range(words)), rows),
        settings=TrainSettings(task="classify", dim=dim, optimizer="sgd"),
        head=head,
        labels=("a", "b"),
        trained=np.zeros(words, np.int64),
        first_lines=np.zeros(words, np.int64),
        start={"init": "uniform", "scale": 0.05, "seed": 0},
    )
    rows.flags.writeable = False
    tracemalloc.start()
    try:
        step = explain_step(model, "w7 w59999", ["a"])
        told = explain_word(model, "w7")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [change.row for change in step.changes if change.parameter == "table"] == [7, 59999]
    assert told.neighbors_now and told.moved is not None
    assert peak < rows.nbytes / 2


def test_the_story_of_a_word(models):
    model = models["classify-sgd"]
    told = explain_word(model, "again")
    assert (told.count, told.first_line, told.trained) == (9, 1, model.trained[told.id])
    assert told.rank == 1 + sum(c > 9 for c in model.table.vocabulary.counts)
    assert told.share == pytest.approx(9 / sum(model.table.vocabulary.counts))
    begun = initial_rows("uniform", 0, range(len(model.table)), 4, 0.05)
    np.testing.assert_array_equal(told.start, begun[told.id])
    assert told.moved == pytest.approx(np.linalg.norm(model.table.vectors[told.id] - told.start))
    moves = np.linalg.norm(model.table.vectors - begun, axis=1)
    assert told.usually_moved == pytest.approx(np.median(moves))
    unit = begun / np.linalg.norm(begun, axis=1, keepdims=True)
    cosines = unit @ unit[told.id]
    cosines[told.id] = -2
    assert [n.id for n in told.neighbors_then] == np.argsort(-cosines)[:10].tolist()
    expected = np.sort(cosines)[::-1][:10]
    np.testing.assert_allclose([n.cosine for n in told.neighbors_then], expected, atol=1e-6)


def test_filling_up_a_batch_does_not_count_as_training(tmp_path):
    model = trained(tmp_path, "once upon a time\n" + TALE * 10, task="skipgram", optimizer="sgd")
    assert model.log[-1]["steps"] >= 3 * 5
    assert 0 < explain_word(model, "once").trained <= 3
    assert explain_word(model, "see").trained > 20


def test_the_story_of_a_word_that_began_elsewhere(tmp_path):
    given = tmp_path / "given.txt"
    given.write_text("see 1 2 3 4\nfilm 4 3 2 1\n")
    model = trained(tmp_path, REVIEWS, task="classify", optimizer="sgd", vectors=str(given))
    told = explain_word(model, "see")
    assert told.start is None and told.moved is None and told.neighbors_then == []
    assert told.neighbors_now


def test_a_word_that_comes_twice_gets_the_sum(records):
    for name in ("classify-sgd", "classify-max", "regress-sgd"):
        record = records[name]
        see = next(c for c in record["changes"] if c["name"] == "see")
        assert len(see["parts"]) == (2 if name != "classify-max" else len(see["parts"]))
        np.testing.assert_allclose(np.sum(see["parts"], axis=0), see["gradient"], rtol=1e-5)
