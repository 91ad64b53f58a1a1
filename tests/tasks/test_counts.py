"""The tasks that learn from counts: GloVe and SVD."""

from __future__ import annotations

import numpy as np
import pytest

import embedcli
from embedcli import model as models
from embedcli import pmi, tiling
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.pmi import PMI, truncated_svd
from embedcli.tasks import glove
from embedcli.tasks.glove import GloVe
from embedcli.tasks.svd import SVD
from embedcli.text.encode import encode


def natural(lines: int = 300) -> str:
    """Lines about two topics, whose words stand with their own kind."""
    rng = np.random.default_rng(5)
    topics = [[f"{kind}{n}" for n in range(30)] for kind in "ab"]
    made = []
    for number in range(lines):
        words = [*rng.choice(topics[number % 2], 8).tolist(), "the", "of"]
        made.append(" ".join(rng.permutation(words)))
    return "\n".join(made) + "\n"


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text(natural())
    return tmp_path / "corpus.txt"


def source(corpus, task, **settings):
    chosen = TrainSettings(task=task.__name__.lower(), cache=False, **settings)
    folder = corpus.parent / "encoded"
    folder.mkdir(exist_ok=True)
    encoded = encode([corpus], chosen, folder=folder)
    return task.source(encoded, chosen, folder), chosen


@pytest.mark.parametrize("task", ["glove", "svd"])
def test_words_of_the_sample_find_their_like(tmp_path, task):
    trained = embedcli.train(out=tmp_path / "m", task=task)
    table = trained.table
    nearest = {
        word: table.neighbors([word], k=1)[0].neighbors[0].token for word in ("king", "राजा")
    }
    assert nearest == {"king": "queen", "राजा": "रानी"}
    assert trained.settings.lr == TrainSettings(task=task).lr  # not the sample's for skip-gram


@pytest.mark.parametrize("task", ["glove", "svd"])
def test_any_workers_and_any_memory_give_the_same_bytes(corpus, tmp_path, monkeypatch, task):
    monkeypatch.setattr(tiling, "TILE", 16)
    monkeypatch.setattr(tiling, "DENSE", 0.4)
    monkeypatch.setattr(pmi, "CHUNK", 7)
    monkeypatch.setattr(pmi, "FREQUENT", 9)
    settings = {"task": task, "dim": 6, "min_count": 1}
    if task == "glove":
        settings |= {"batch_size": 64, "epochs": 5}
    one = embedcli.train(corpus, tmp_path / "one", workers=1, **settings)
    monkeypatch.setattr("embedcli.counting.BYTES_PER_PAIR", 20_000)
    monkeypatch.setattr("embedcli.counting.BYTES_PER_CELL", 20_000)
    two = embedcli.train(corpus, tmp_path / "two", workers=3, memory="2g", **settings)
    assert one.digest == two.digest


def test_batches_hold_every_pair_once(corpus, monkeypatch):
    monkeypatch.setattr(tiling, "TILE", 16)
    monkeypatch.setattr(tiling, "DENSE", 0.4)
    monkeypatch.setattr(tiling, "DRAWN_AT_ONCE", 7)
    counts, settings = source(corpus, GloVe, dim=4, batch_size=50)
    task = GloVe(counts, settings)
    expected = np.zeros((len(counts.vocabulary),) * 2)
    for rows, columns, found in counts.parts:
        expected[rows, columns] = np.log(found)
    for epoch in (0, 1):
        seen = np.full(expected.shape, np.nan)
        kinds = set()
        for index in range(task.batches):
            batch = task.batch(epoch, index)
            kinds.add(batch.is_tile)
            words, contexts = batch.words[batch.first], batch.contexts[batch.second]
            assert np.isnan(seen[words, contexts]).all()
            seen[words, contexts] = batch.logs
            assert max(len(batch.words), len(batch.contexts)) <= task.most_rows["table"]
        assert kinds == {True, False}
        np.testing.assert_allclose(np.nan_to_num(seen), expected, rtol=1e-6)


def test_the_sum_of_both_tables_is_saved_with_its_parts(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "sum", task="glove", dim=4, epochs=2)
    embedcli.train(corpus, tmp_path / "own", task="glove", dim=4, epochs=2, sum_tables=False)
    both, own = (models.load_model(tmp_path / name) for name in ("sum", "own"))
    np.testing.assert_array_equal(both.head["input"], own.table.vectors)
    np.testing.assert_array_equal(both.table.vectors, both.head["input"] + both.head["output"])
    assert "input" not in own.head


def test_the_biases_start_where_they_predict_best_alone(corpus):
    counts, settings = source(corpus, GloVe, dim=4)
    biases = glove._fitted_biases(counts, settings)
    rows, columns, found = counts.parts[0]
    logs = np.log(found)
    weights = np.minimum((found / settings.x_max) ** settings.alpha, 1)

    def loss(of: np.ndarray) -> float:
        return float(weights @ (of[rows] + of[columns] - logs) ** 2)

    best = loss(biases)
    assert best < 0.5 * float(weights @ (logs - np.average(logs, weights=weights)) ** 2)
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert loss(biases + 0.05 * rng.standard_normal(len(biases))) > best


def test_a_stopped_run_goes_on_to_the_same_bytes(corpus, tmp_path):
    settings = {"task": "glove", "dim": 4, "epochs": 3, "workers": 1}
    whole = embedcli.train(corpus, tmp_path / "whole", **settings)
    asked = iter([False, True])
    with pytest.raises(embedcli.Stopped):
        embedcli.train(corpus, tmp_path / "m", stop=lambda: next(asked, True), **settings)
    assert embedcli.train(out=tmp_path / "m", resume=True).digest == whole.digest


@pytest.mark.parametrize(
    ("smoothing", "shift"), [(1.0, 1.0), (0.75, 1.0), (0.75, 2.0)]
)  # fmt: skip
def test_svd_is_that_of_the_whole_matrix(corpus, monkeypatch, smoothing, shift):
    monkeypatch.setattr(pmi, "CHUNK", 7)
    monkeypatch.setattr(pmi, "FREQUENT", 9)
    counts, settings = source(corpus, SVD, dim=5, context_power=smoothing, shift=shift)
    size = len(counts.vocabulary)
    matrix = np.zeros((size, size))
    for rows, columns, found in counts.parts:
        matrix[rows, columns] = found
    totals = matrix.sum(axis=1)
    smoothed = totals**smoothing
    with np.errstate(divide="ignore"):
        expected = np.log(matrix / totals[:, None] / (smoothed / smoothed.sum()) / shift)
    expected = np.maximum(expected, 0)
    vectors = np.eye(size, dtype=np.float32)
    found = PMI(counts.parts, size, context_power=smoothing, shift=shift)
    for transposed, whole in ((False, expected), (True, expected.T)):
        product = found.product(vectors, transposed=transposed)
        np.testing.assert_allclose(product, whole, rtol=1e-5, atol=1e-6)
    left, values, right = truncated_svd(found, settings.dim, settings.seed)
    best = np.linalg.svd(expected)
    np.testing.assert_allclose(values, best[1][:5], rtol=1e-4)
    assert (left[np.abs(left).argmax(axis=0), np.arange(5)] > 0).all()
    approximated = (left * values) @ right.T
    closest = (best[0][:, :5] * best[1][:5]) @ best[2][:5]
    np.testing.assert_allclose(approximated, closest, atol=0.02)


def test_the_tables_of_svd_share_the_singular_values(corpus, tmp_path):
    products = []
    for power in (0.0, 0.5, 1.0):
        settings = {"task": "svd", "dim": 5, "singular_power": power}
        embedcli.train(corpus, tmp_path / "m", **settings)
        model = models.load_model(tmp_path / "m")
        products.append(model.table.vectors @ model.head["output"].T)
    np.testing.assert_allclose(products[0], products[2], atol=1e-4)
    np.testing.assert_allclose(products[1], products[2], atol=1e-4)


@pytest.mark.parametrize("task", ["glove", "svd"])
def test_a_model_of_counts_is_not_updated(corpus, tmp_path, task):
    embedcli.train(corpus, tmp_path / "m", task=task, dim=4)
    with pytest.raises(ConfigError, match=r"^update: .* counts of a whole text") as refused:
        embedcli.train(corpus, tmp_path / "n", update=str(tmp_path / "m"))
    assert "train anew" in refused.value.hint


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"task": "svd", "lr": 0.1}, "lr: has no effect with task svd"),
        ({"task": "svd", "epochs": 3}, "epochs: has no effect with task svd"),
        ({"task": "svd", "vectors": "v.txt"}, "vectors: has no effect with task svd"),
        ({"task": "glove", "negatives": 3}, "negatives: has no effect with task glove"),
        ({"task": "skipgram", "x_max": 10}, "x_max: has no effect with task skipgram"),
        ({"task": "glove", "shift": 2}, "shift: has no effect with task glove"),
        ({"task": "svd", "dim": 4000}, "dim: found 4000; expected at most 62"),
        ({"task": "glove", "memory": "1m"}, "memory: found 1.0 MiB"),
    ],
)
def test_settings_without_effect_are_errors(corpus, tmp_path, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        embedcli.train(corpus, tmp_path / "m", **settings)


@pytest.mark.parametrize("task", ["glove", "svd"])
def test_a_text_without_pairs_is_an_error(tmp_path, task):
    (tmp_path / "alone.txt").write_text("alone\nagain\n")
    with pytest.raises(CorpusError, match="expected lines of several words"):
        embedcli.train(tmp_path / "alone.txt", tmp_path / "m", task=task, dim=2)
    assert not (tmp_path / "m").exists()


def test_glove_is_explained(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "m", task="glove", dim=4, epochs=2)
    step = embedcli.explain("a1 the a2 the", tmp_path / "m")
    model = models.load_model(tmp_path / "m")
    first = step.examples[0]
    assert first.title == "a1"
    the = next(each for each in first.candidates if each.name == "the")
    assert the.target_in_units == pytest.approx(1 + 1 / 3, rel=1e-6)
    assert the.target == pytest.approx(np.log(1 + 1 / 3), rel=1e-5)
    ids = [model.table.vocabulary.id_of(word) for word in ("a1", "the")]
    head = model.head
    score = head["input"][ids[0]] @ head["output"][ids[1]]
    score += head["bias"][ids[0], 0] + head["output_bias"][ids[1], 0]
    assert the.score == pytest.approx(score, rel=1e-4)
    total = sum(each.loss for example in step.examples for each in example.candidates)
    assert step.total == pytest.approx(total, rel=1e-4)
    assert {change.parameter for change in step.changes} == set(glove.PARAMETERS)
    for output in ("text", "json", "svg", "html"):
        from embedcli.views import explain as views

        assert "a1" in views.formatted(step, output, language="en")
    word = embedcli.explain_word("a1", tmp_path / "m")
    assert word.trained > 0
    assert word.moved is not None


def test_svd_is_explained_by_its_words(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "m", task="svd", dim=4)
    assert embedcli.explain_word("a1", tmp_path / "m").solved
    with pytest.raises(ConfigError, match="no step of learning"):
        embedcli.explain("a1 the", tmp_path / "m")
