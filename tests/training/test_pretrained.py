"""Training that starts from vectors others trained, as Keras's example of pretrained embeddings."""

from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.cli import main
from embedcli.errors import ConfigError
from embedcli.model import Model, load_model
from embedcli.training import run
from embedcli.training.pretrained import Coverage

TEXT = """\
__label__good a warm and lovely film
__label__bad a dull and endless film
__label__good lovely, lovely music
__label__bad the music is dull
"""
# GloVe's text: no header, a word and its numbers a line.
VECTORS = {
    "a": (0.1, 0.0, 0.2),
    "and": (0.0, 0.1, 0.1),
    "lovely": (1.0, 0.5, -0.5),
    "dull": (-1.0, 0.25, 0.5),
    "Music": (0.3, 0.3, 0.3),
    "MUSIC": (9.0, 9.0, 9.0),
    "unheard-of": (7.0, 7.0, 7.0),
}
SETTINGS = {"task": "classify", "dim": 3, "epochs": 4}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in VECTORS.items()]
    (tmp_path / "glove.txt").write_text("".join(lines))
    return tmp_path


def train(place: Path, **other: object) -> tuple[Model, run.Prepared]:
    events = []
    vectors = str(place / "glove.txt")
    settings = {**SETTINGS, "vectors": vectors, **other}
    embedcli.train(place / "text.txt", place / "m", report=events.append, **settings)
    return load_model(place / "m"), events[0]


@pytest.mark.parametrize("freeze", ["all", "found", "none"])
def test_words_start_from_the_file_and_are_frozen_as_asked(place, freeze):
    model, start = train(place, freeze=freeze)
    assert start.coverage == Coverage(words=10, found=5, respelt=1)
    begun = embedcli.train(place / "text.txt", place / "n", **SETTINGS, freeze="all").table
    for word in model.table.vocabulary:
        given = VECTORS.get("Music" if word == "music" else word)
        first = begun[word] if given is None else np.array(given, np.float32)
        stays = freeze == "all" or (freeze == "found" and given is not None)
        assert np.array_equal(model.table[word], first) == stays, word
    assert model.head["output.weight"].any()


def test_with_all_rows_frozen_the_head_is_a_softmax_regression(place):
    rate, epochs = 0.5, 30
    same = {"optimizer": "sgd", "lr": rate, "schedule": "constant", "epochs": epochs}
    model, _ = train(place, freeze="all", init="uniform", batch_size=4, **same)
    texts = [line.split()[1:] for line in TEXT.replace(",", "").splitlines()]
    rows = np.array([model.table.lookup(words).vectors.mean(axis=0) for words in texts], np.float64)
    wanted = np.eye(2)[[0, 1, 0, 1]]  # (B, C)
    weight, bias = np.zeros((3, 2)), np.log([0.5, 0.5])
    for _ in range(epochs):
        scores = np.exp(rows @ weight + bias)
        error = (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(rows)  # (B, C)
        weight -= rate * rows.T @ error
        bias -= rate * error.sum(axis=0)
    np.testing.assert_allclose(model.head["output.weight"], weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.head["output.bias"], bias, rtol=1e-5, atol=1e-6)


def test_a_spelling_that_the_tokenizer_keeps_apart_is_not_found(place):
    model, start = train(place, fold_case=False, freeze="all")
    assert start.coverage == Coverage(words=10, found=4, respelt=0)
    assert not np.array_equal(model.table["music"], np.float32(VECTORS["Music"]))


@pytest.mark.parametrize("to", ["word2vec-binary", "fasttext", "safetensors", "model", "npy"])
def test_vectors_of_any_format(place, to):
    target = place / {"model": "given", "npy": "given.npy"}.get(to, f"given.{to}")
    embedcli.convert(place / "glove.txt", target, to)
    model, start = train(place, vectors=str(target), freeze="all")
    assert start.coverage.found == 5
    assert np.array_equal(model.table["lovely"], np.float32(VECTORS["lovely"]))


def test_vectors_of_another_length_are_refused(place):
    with pytest.raises(ConfigError, match="found vectors of 3 numbers; expected 4") as caught:
        train(place, dim=4)
    assert caught.value.hint == "--dim 3"
    with pytest.raises(ConfigError, match="no vectors to look in"):
        train(place, vectors=None, freeze="found")


def test_the_command_says_what_was_found_before_it_trains(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    flags = ["--task", "classify", "--dim", "3", "--vectors", "glove.txt", "--freeze", "found"]
    assert main(["train", "text.txt", *flags]) == 0
    said = capsys.readouterr().err
    expected = (
        "vectors: 5 of 10 words found (50.0%), 1 of them by another spelling; "
        "the other 5 start uniform; those found are frozen\n"
    )
    assert expected in said
    assert said.index(expected) < said.index("epoch ")
    assert main(["predict", "text.txt"]) == 0
    assert capsys.readouterr().out.startswith("good ")
