"""Contributions of words: they add up to the output, exactly where the network is linear."""

from __future__ import annotations

import json

import numpy as np
import pytest

import embedcli
from embedcli.attribution import explain_line
from embedcli.cli import main
from embedcli.model import load_model
from embedcli.prediction import Predictor

REVIEWS = (
    "__label__good a warm and lovely film\n__label__bad a dull film , not good\n"
    "__label__good not bad at all , and lovely\n__label__bad not warm , dull and long <b>\n"
) * 8
NUMBERS = (
    "__label__1.5 __label__10 a warm and lovely film\n__label__-2 __label__30 dull and long\n"
    "__label__0 __label__20 not bad at all\n"
) * 8
TEXT = "a warm film and not a dull zzz film"
LINEAR = {
    "mean": {},
    "sum": {"pool": "sum", "lr": 0.05},
    "max": {"pool": "max"},
    "flatten": {"pool": "flatten", "length": 5, "pad_side": "left"},
    "length": {"length": 4},
    "several labels": {"multi_label": True},
    "n-grams": {"word_ngrams": 3},
    "n-grams summed": {"word_ngrams": 2, "pool": "sum", "lr": 0.05},
    "numbers": {"task": "regress"},
    "many labels": {"dim": 1},
}


def trained(tmp_path, **settings):
    task = settings.get("task", "classify")
    (tmp_path / "text.txt").write_text(REVIEWS if task == "classify" else NUMBERS)
    how = {"task": task, "dim": 7, "epochs": 6, "batch_size": 4, "dropout": 0.1, **settings}
    embedcli.train(tmp_path / "text.txt", tmp_path / "embeddings", **how)
    return load_model(tmp_path / "embeddings")


@pytest.mark.parametrize("variant", LINEAR)
@pytest.mark.parametrize("oov", ["skip", "zero"])
def test_contributions_add_up_to_what_is_predicted(variant, oov, tmp_path):
    model = trained(tmp_path, **LINEAR[variant])
    line = explain_line(Predictor(model, oov=oov), TEXT.split(), k=2)
    (tmp_path / "asked.txt").write_text(TEXT + "\n")
    told = embedcli.predict(tmp_path / "asked.txt", tmp_path / "embeddings", k=2, oov=oov)
    (predicted,) = told.lines
    assert len(line) == len(predicted) == 2
    for of, expected in zip(line, predicted, strict=True):
        assert of.exact and of.rest == pytest.approx(0, abs=1e-4)
        parts = [each.value for each in of.contributions]
        assert of.base + sum(parts) == pytest.approx(of.output, abs=1e-4)
        if of.label is None:
            assert of.output == pytest.approx(expected, rel=1e-5)
        else:
            assert (of.label, of.probability) == (
                expected.name,
                pytest.approx(expected.probability),
            )
    if len(model.labels) and variant != "several labels":
        one, two = (of.output for of in line)
        assert line[0].probability == pytest.approx(1 / (1 + np.exp(two - one)), abs=1e-5)


def test_of_a_mean_a_contribution_is_the_word_s_score_over_their_number(tmp_path):
    model = trained(tmp_path)
    (of,) = explain_line(Predictor(model), ["warm", "film", "warm"])
    weight = model.head["output.weight"][:, model.labels.index(of.label)]
    for each in of.contributions:
        assert each.value == pytest.approx(model.table[each.text] @ weight / 3, abs=1e-6)
    assert [each.text for each in of.contributions] == ["warm", "film", "warm"]
    assert of.base == pytest.approx(model.head["output.bias"][model.labels.index(of.label)])


def test_ngrams_are_contributions_of_their_own(tmp_path):
    model = trained(tmp_path, word_ngrams=2)
    (of,) = explain_line(Predictor(model), ["not", "bad", "not", "bad"])
    ngrams = [each for each in of.contributions if each.kind == "ngram"]
    assert [each.text for each in ngrams] == ["not bad", "bad not", "not bad", "bad </s>"]
    assert ngrams[0].value == pytest.approx(ngrams[2].value) and ngrams[0].value != 0
    assert ngrams[1].value == 0  # not met in training


def test_with_a_hidden_layer_the_rest_is_told(tmp_path):
    model = trained(tmp_path, hidden=5)
    predictor = Predictor(model)
    (of,) = explain_line(predictor, TEXT.split())
    assert not of.exact and of.rest != 0
    total = of.base + of.rest + sum(each.value for each in of.contributions)
    assert total == pytest.approx(of.output)
    # The slope along a word's row is what its contribution says.
    nudged = model.table.vectors.copy()
    index = model.table.vocabulary.id_of("warm")
    nudged[index] *= 1.001
    changed = load_model(tmp_path / "embeddings")
    changed.table.vectors = nudged
    (then,) = explain_line(Predictor(changed), TEXT.split())
    value = next(each.value for each in of.contributions if each.text == "warm")
    assert (then.output - of.output) / 0.001 == pytest.approx(value, rel=0.02, abs=1e-4)


@pytest.fixture
def why(tmp_path, monkeypatch, capsys):
    trained(tmp_path, tokenizer="whitespace")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "asked.txt").write_text("a warm film\n\n<b> zzz\nzzz\n")

    def run(*argv):
        code = main(["predict", "asked.txt", "--why", *argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_every_form(why, tmp_path):
    code, text, err = why()
    assert code == 0 and "= logit" in text and "  a " in text and "2 not in" in err
    assert text.split("\n\n")[0].splitlines()[0].split()[0] in ("good", "bad")
    lines = why("--format", "json")[1].splitlines()
    assert [len(json.loads(line)) for line in lines] == [1, 0, 1, 1]
    assert json.loads(lines[3])[0]["contributions"] == []
    rows = [line.split("\t") for line in why("--format", "tsv")[1].splitlines()]
    assert {row[0] for row in rows} == {"1", "3", "4"} and {len(row) for row in rows} == {5}
    total = sum(float(row[4]) for row in rows if row[0] == "1")
    assert total == pytest.approx(json.loads(lines[0])[0]["output"], abs=1e-5)
    assert why("--out", "why.html")[:2] == (0, "")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;</span>" in page and "<b>" not in page and "background:" in page
    assert why("--out", "why.txt")[0] == 2
    assert main(["predict", "asked.txt", "--out", "x.html"]) == 2


def test_an_unknown_word_can_be_an_error(why):
    code, _, err = why("--oov", "error")
    assert code == 1 and "zzz" in err


def test_a_notebook_shows_it(tmp_path):
    trained(tmp_path)
    (tmp_path / "asked.txt").write_text("a warm film\n")
    found = embedcli.explain_predictions(tmp_path / "asked.txt", tmp_path / "embeddings")
    ((of,),) = found.lines
    assert "warm</span>" in of._repr_html_()
