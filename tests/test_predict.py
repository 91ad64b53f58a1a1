from dataclasses import replace

import numpy as np
import pytest

import embedcli
from embedcli.autodiff.tensor import Tensor
from embedcli.config import TextSettings
from embedcli.errors import StoreError, VocabularyError
from embedcli.evaluation import classification
from embedcli.model import load_model
from embedcli.prediction import (
    Predictor,
    predict_labels,
    predict_numbers,
    probabilities,
    read_lines,
    sif_weights,
    text_vectors,
    vectors_of_lines,
    without_common_component,
)
from embedcli.table import EmbeddingTable
from embedcli.tasks.regress import Regress
from embedcli.tasks.supervised import Network
from embedcli.text.texts import Texts
from embedcli.text.vocabulary import Coverage, Vocabulary

from .tasks.corpora import PRESET, labelled_lines, numbered_lines, ordered_lines, write

TABLE = EmbeddingTable(
    Vocabulary(["a", "b", "c"], np.array([6, 3, 1])),
    np.array([[1, 0], [0, 2], [4, 4]], np.float32),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    corpora = {
        "classify": labelled_lines(400, 1),
        "several": labelled_lines(600, 1, several=True),
        "regress": numbered_lines(300, 1),
        "ngrams": ordered_lines(400, 1),
    }
    for name, lines in corpora.items():
        settings = {**PRESET, "task": name if name == "regress" else "classify"}
        if name == "ngrams":
            settings |= {"word_ngrams": 2, "buckets": 5000, "epochs": 20}
        if name == "regress":
            settings |= {"pool": "sum", "epochs": 30}
        text = write(folder / f"{name}.txt", lines)
        embedcli.train(text, folder / name, workers=1, checkpoint_every="off", **settings)
    return {name: load_model(folder / name) for name in corpora}


def test_labels_of_new_texts_with_probabilities(models, tmp_path):
    lines = ["The WAVE and the ship, in a harbour", "", "hay of the hen", "xyzzy!", "--"]
    text = write(tmp_path / "text.txt", lines)
    predictor = Predictor(models["classify"], "class")
    found = list(predict_labels(predictor, [text], k=3))
    assert [labels[0].name if labels else None for labels in found][:3] == ["sea", None, "farm"]
    assert found[0][0].probability > 0.8
    for labels in (found[0], found[2], found[3]):
        shares = [label.probability for label in labels]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
    assert found[4] == ()  # no word at all; xyzzy is one, of which nothing is known
    prior = np.exp(models["classify"].head["output.bias"])
    assert found[3][0].probability == pytest.approx(prior.max() / prior.sum(), rel=1e-5)
    assert (predictor.coverage.known, predictor.coverage.unknown) == (12, 1)


@pytest.mark.parametrize("end", ["", "\n"])
def test_one_answer_a_line_whatever_the_last_newline(models, tmp_path, end):
    text = tmp_path / "text.txt"
    text.write_text("ship\n\ncow" + end, encoding="utf-8")
    found = list(predict_labels(Predictor(models["classify"], "class"), [text]))
    assert [[label.name for label in labels] for labels in found] == [["sea"], [], ["farm"]]


def test_lines_are_the_same_however_many_are_read_at_once(models, tmp_path):
    lines = [line.split(" ", 1)[1] for line in labelled_lines(600, 5)]
    whole = write(tmp_path / "text.txt", lines)
    predictor = Predictor(models["classify"], "class")
    together = list(predict_labels(predictor, [whole]))
    assert len(together) == 600
    for number in (0, 255, 256, 257, 599):
        alone = list(predict_labels(predictor, [write(tmp_path / "one.txt", [lines[number]])]))
        assert alone[0][0].name == together[number][0].name
        assert alone[0][0].probability == pytest.approx(together[number][0].probability, abs=1e-5)


def test_the_order_of_words_is_told_by_their_ngrams(models, tmp_path):
    lines = ordered_lines(200, 2)
    found = classification(models["ngrams"], [write(tmp_path / "new.txt", lines)])
    assert found.accuracy > 0.95
    text = [line.split(" ", 1)[1] for line in lines[:20]]
    predictor = Predictor(models["ngrams"])
    whole = list(predict_labels(predictor, [write(tmp_path / "text.txt", text)]))
    # A word that is not known is left out, or is one of an n-gram that was not met.
    text = [f"zzz {line}" for line in text]
    strange = write(tmp_path / "strange.txt", text)
    assert list(predict_labels(predictor, [strange])) == whole
    zero = Predictor(models["ngrams"], oov="zero")
    logits = [zero.outputs(lines.texts) for lines in zero.read([strange])]
    assert np.isfinite(logits).all()
    names = [label.name for (label,) in predict_labels(zero, [strange])]
    assert names == [label.name for (label,) in whole]


def test_several_labels_by_threshold(models, tmp_path):
    text = write(tmp_path / "text.txt", ["wave ship cow hay", "tram street", "tide"])
    predictor = Predictor(models["several"], "class")
    found = list(predict_labels(predictor, [text], k=3, threshold=0.5))
    assert [{label.name for label in labels} for labels in found] == [
        {"sea", "farm"},
        {"town"},
        {"sea"},
    ]


def test_several_labels_are_ranked_by_scores_where_probabilities_are_rounded(models, tmp_path):
    model = models["several"]
    sure = {**model.head, "output.bias": np.float32([40, 60, 50])}
    sure["output.weight"] = np.zeros_like(model.head["output.weight"])
    predictor = Predictor(replace(model, head=sure), "class")
    (found,) = predict_labels(predictor, [write(tmp_path / "text.txt", ["wave"])], k=3)
    assert [label.name for label in found] == [model.labels[each] for each in (1, 2, 0)]
    assert [label.probability for label in found] == [1, 1, 1]
    best, last = model.labels[1], model.labels[0]
    text = write(tmp_path / "b.txt", [f"__label__{best} wave", f"__label__{last} wave"])
    assert classification(replace(model, head=sure), [text]).precision_at == {1: 0.5}


def test_numbers_come_in_the_units_of_the_text(models, tmp_path):
    text = write(tmp_path / "text.txt", ["cheap cheap cheap the", "", "dear dear dear dear of"])
    low, none, high = predict_numbers(Predictor(models["regress"], "number"), [text])
    assert none == ()
    assert low[0] == pytest.approx(-3000, abs=800)
    assert high[0] == pytest.approx(4000, abs=800)
    assert low[1] < high[1]


def test_a_model_of_another_task_is_refused(models):
    with pytest.raises(StoreError, match="trained for regress; expected classify"):
        Predictor(models["regress"], "class")


@pytest.mark.parametrize("pool", ["mean", "sum", "max", "flatten"])
@pytest.mark.parametrize("name", ["classify", "regress"])
def test_unknown_words_as_zeros_are_a_row_more(models, name, pool):
    settings = replace(models[name].settings, pool=pool, length=4 if pool == "flatten" else None)
    shapes = Network(settings).head_shapes(len(models[name].head["output.bias"]))
    rng = np.random.default_rng(0)
    head = {part: rng.normal(size=shape).astype(np.float32) for part, shape in shapes.items()}
    constants = {part: each for part, each in models[name].head.items() if part not in head}
    model = replace(models[name], settings=settings, head=head | constants)
    size, dim = model.table.vectors.shape
    texts = Texts(np.array([3, size, 5, size, 1]), np.array([0, 3, 3, 4, 5]))
    predictor = Predictor(model, oov="zero")
    rows = np.concatenate([model.table.vectors, np.zeros((1, dim), np.float32)])
    parameters = {**predictor.parameters, "table": Tensor(rows)}
    expected = predictor.network.outputs(parameters, texts)
    if name == "regress":
        expected = Regress.in_units(expected, parameters)
    np.testing.assert_allclose(predictor.outputs(texts), expected, rtol=1e-4, atol=1e-5)


def test_probabilities_of_large_logits():
    logits = np.array([[1000.0, 0.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(probabilities(logits, False), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(probabilities(logits, True), [[1, 0.5], [0, 0]])


def test_text_vectors_worked_by_hand(tmp_path):
    texts = Texts(np.array([0, 0, 2, 1]), np.array([0, 3, 3, 4]))
    np.testing.assert_allclose(text_vectors(TABLE, texts), [[2, 4 / 3], [0, 0], [0, 2]], rtol=1e-6)
    weights = sif_weights(TABLE.vocabulary.counts, a=0.1)
    np.testing.assert_allclose(weights, [1 / 7, 1 / 4, 1 / 2], rtol=1e-6)
    expected = [[(2 / 7 + 2) / 3, 2 / 3], [0, 0], [0, 1 / 2]]
    np.testing.assert_allclose(text_vectors(TABLE, texts, weights), expected, rtol=1e-6)
    text = write(tmp_path / "text.txt", ["A a C", "zzz", "b"])
    coverage = Coverage()
    rows = np.concatenate(list(vectors_of_lines(TABLE, [text], coverage, sif=0.1)))
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert (coverage.known, coverage.unknown) == (4, 1)
    zeros = list(vectors_of_lines(TABLE, [text], coverage, oov="zero"))
    np.testing.assert_allclose(zeros[0], [[2, 4 / 3], [0, 0], [0, 2]], rtol=1e-6)
    write(tmp_path / "more.txt", ["a zzz"])
    more = [tmp_path / "more.txt"], Coverage()
    np.testing.assert_allclose(list(vectors_of_lines(TABLE, *more, oov="zero")), [[[0.5, 0]]])
    with pytest.raises(VocabularyError, match="zzz"):
        list(vectors_of_lines(TABLE, *more, oov="error"))
    left = list(vectors_of_lines(TABLE, [text], coverage, 0.1, remove_common=True))
    np.testing.assert_allclose(left[0], without_common_component(rows), atol=1e-6)


def test_sif_needs_counts(tmp_path):
    table = EmbeddingTable(Vocabulary(["a"]), np.ones((1, 2), np.float32))
    text = write(tmp_path / "text.txt", ["a"])
    with pytest.raises(VocabularyError, match="no counts"):
        list(vectors_of_lines(table, [text], Coverage(), sif=1e-3))


def test_the_common_component_is_taken_out():
    rng = np.random.default_rng(0)
    shared = np.array([3.0, 4.0, 0.0]) / 5
    vectors = (rng.normal(size=(50, 3)) * 0.1 + 5 * shared).astype(np.float32)
    left = without_common_component(vectors)
    first = np.linalg.svd(vectors)[2][0]
    np.testing.assert_allclose(left @ first, 0, atol=1e-4)
    np.testing.assert_allclose(left, vectors - np.outer(vectors @ first, first), atol=1e-4)
    assert without_common_component(vectors[:0]).shape == (0, 3)


def test_lines_are_read_in_parts_with_what_was_left_out(tmp_path):
    text = write(tmp_path / "text.txt", ["a b", "", "x", "c x a"] * 200)
    coverage = Coverage()
    parts = list(read_lines([text], TextSettings(), TABLE, coverage))
    assert [len(part.texts) for part in parts] == [256, 256, 256, 32]
    assert parts[0].words[:4].tolist() == [2, 0, 1, 3]
    assert parts[0].texts.lengths[:4].tolist() == [2, 0, 0, 2]
    assert (coverage.known, coverage.unknown) == (800, 400)
