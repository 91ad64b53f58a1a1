from __future__ import annotations

import io
import json

import numpy as np
import pytest

from embedcli.cli import main

REVIEWS = """\
__label__good what a lovely warm film
__label__bad what a dull cold film
__label__good warm and lovely and bright
__label__bad cold and dull and grey
"""


@pytest.fixture
def reviews(embed, tmp_path):
    (tmp_path / "reviews.txt").write_text(REVIEWS)
    assert embed("train", "reviews.txt", "--task", "classify", "--epochs", "60", "-q").code == 0


@pytest.mark.parametrize("end", ["", "\n"])
def test_predict_says_a_line_for_a_line(embed, reviews, stdin, end):
    stdin(f"warm lovely\n\ncold zzzz{end}")
    found = embed("predict", "--format", "tsv")
    assert [line.split("\t")[0] for line in found.out.split("\n")] == ["good", "", "bad", ""]
    assert found.err == "3 found, 1 not in the vocabulary\n"


@pytest.mark.parametrize("command", ["predict", "vectors"])
def test_labels_of_texts_are_no_words(embed, reviews, stdin, command):
    found = []
    for text in ("warm lovely\n", "__label__bad warm __label__zzz lovely\n"):
        stdin(text)
        found.append(embed(command, "--oov", "error"))
    assert found[0] == found[1]
    assert found[0].err == "2 found, 0 not in the vocabulary\n"


def test_columns_of_files(embed, reviews, stdin, tmp_path):
    (tmp_path / "new").write_text("warm lovely\ncold dull\n")
    expected = embed("predict", "new").out
    (tmp_path / "new.csv").write_text("text\nwarm lovely\ncold dull\n")
    assert embed("predict", "new.csv").out == expected
    stdin("class;body\ngood;warm lovely\nbad;cold dull\n")
    assert embed("predict", "--text-column", "body").out == expected
    (tmp_path / "rows").write_text("good;warm lovely\nbad;cold dull\n")
    columns = ("--text-column", "2", "--no-header")
    assert embed("predict", "rows", *columns).out == expected
    found = embed("evaluate", "rows", *columns, "--label-column", "1", "--task", "classify")
    assert "1.0000" in found.out
    found = embed("evaluate", "rows", "--label-column", "none", "--task", "classify")
    assert "rows:1: a line without a label" in found.err
    found = embed("evaluate", "rows", *columns)
    assert found.err.startswith("error: text_column: only labelled text has columns\nhint: ")
    assert "no column 'x'" in embed("predict", "new.csv", "--label-column", "x").err


def test_the_columns_of_a_model_are_those_of_files_named_so(embed, stdin, tmp_path):
    (tmp_path / "r").write_text("class,body\n" + "good,warm film\nbad,cold film\n" * 9)
    columns = ("--text-column", "body", "--label-column", "class")
    assert embed("train", "r", "--task", "classify", *columns, "-q").code == 0
    stdin("warm film\n")
    expected = embed("predict")
    assert expected.err == "2 found, 0 not in the vocabulary\n"
    (tmp_path / "new.csv").write_text("body\nwarm film\n")
    assert embed("predict", "new.csv") == expected


@pytest.mark.parametrize("command", ["predict", "vectors", "evaluate --task classify reviews.txt"])
def test_unknown_words_of_texts(embed, reviews, stdin, tmp_path, command):
    (tmp_path / "reviews.txt").write_text("__label__good warm zzzz lovely\n")

    def said(oov):
        stdin("warm zzzz lovely\n")
        found = embed(*command.split(), "--oov", oov, "--format", "json")
        if oov != "error":
            assert found.err == "2 found, 1 not in the vocabulary\n"
        return found

    assert "'zzzz' is not in the vocabulary" in said("error").err
    assert said("error").code == 1
    assert said("skip").code == said("zero").code == 0
    stdin("warm zzzz lovely\n")
    assert embed(*command.split(), "--format", "json").out == said("skip").out
    if command == "vectors":
        (skip,), (zero,) = (json.loads(said(oov).out) for oov in ("skip", "zero"))
        np.testing.assert_allclose(np.array(skip["vector"]) * 2 / 3, zero["vector"], rtol=1e-5)
    if command == "predict":
        (skip,), (zero,) = (json.loads(said(oov).out) for oov in ("skip", "zero"))
        assert 0.5 < zero["probability"] < skip["probability"]


def test_predict_several_labels_with_probabilities(embed, reviews, tmp_path):
    (tmp_path / "new.txt").write_text("warm lovely\n")
    found = embed("predict", "new.txt", "-k", "2", "--format", "json", "-q")
    said = json.loads(found.out)
    assert [each["label"] for each in said] == ["good", "bad"]
    assert sum(each["probability"] for each in said) == pytest.approx(1, abs=1e-5)
    above = embed("predict", "new.txt", "-k", "2", "--threshold", "0.5", "-q")
    assert above.out.startswith("good ")
    assert "bad" not in above.out
    assert embed("predict", "new.txt", "--threshold", "2").code == 2


def test_predict_numbers(embed, tmp_path, stdin):
    (tmp_path / "numbers.txt").write_text("__label__1 one\n__label__9 nine\n")
    embed("train", "numbers.txt", "--task", "regress", "--epochs", "200", "-q")
    stdin("nine\none\n")
    nine, one = (json.loads(line)[0] for line in embed("predict", "--format", "json").out.split())
    assert nine > one
    measured = json.loads(
        embed("evaluate", "numbers.txt", "--task", "regress", "--format", "json").out
    )
    assert measured[0]["mse"] < measured[0]["baseline_mse"]


def test_predict_needs_a_model_with_labels(embed, model, stdin):
    stdin("king\n")
    found = embed("predict")
    assert found.code == 1
    assert "expected classify" in found.err


def test_vectors_are_the_mean_of_their_words(embed, model):
    found = embed("vectors", "king queen", "zzzz", "--format", "json")
    mean, zeros = json.loads(found.out)
    np.testing.assert_allclose(mean["vector"], (model["king"] + model["queen"]) / 2)
    assert zeros == {"line": 2, "vector": [0.0] * 4}
    assert found.err == "2 found, 1 not in the vocabulary\n"
    tsv = embed("vectors", "king", "--format", "tsv", "-q")
    assert tsv == (0, "0.5\t0.625\t0.75\t0.875\n", "")
    assert embed("vectors", "king").out.startswith("line 1\n  0.5000")


def test_vectors_weighed_as_npy_from_stdin(model, stdin, capfdbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stdin("king queen\nthe\n")
    assert main(["vectors", "--sif", "0.001", "--format", "npy", "-q"]) == 0
    vectors = np.load(io.BytesIO(capfdbinary.readouterr().out))
    assert vectors.shape == (2, 4)
    weights = [1e-3 / (1e-3 + count / 36) for count in (7, 6)]
    expected = (weights[0] * model["king"] + weights[1] * model["queen"]) / 2
    np.testing.assert_allclose(vectors[0], expected, rtol=1e-5)


def test_vectors_without_what_all_texts_share(embed, model):
    found = embed("vectors", "king", "queen man", "--remove-common", "--format", "json")
    rows = np.array([record["vector"] for record in json.loads(found.out)])
    whole = np.stack([model["king"], (model["queen"] + model["man"]) / 2])
    first = np.linalg.svd(whole)[2][0]
    np.testing.assert_allclose(rows, whole - np.outer(whole @ first, first), atol=1e-5)


def test_a_text_of_several_lines_is_one(embed, model):
    found = embed("vectors", "king\r\nqueen\n", "the", "--format", "json")
    mean, _ = json.loads(found.out)
    np.testing.assert_allclose(mean["vector"], (model["king"] + model["queen"]) / 2)


def test_evaluate_labels(embed, reviews):
    found = embed("evaluate", "reviews.txt", "--task", "classify", "-k", "2")
    assert "accuracy         1.0000" in found.out
    assert "P@2, R@2         0.5000, 1.0000" in found.out
    record = json.loads(
        embed("evaluate", "reviews.txt", "--task", "classify", "--format", "json").out
    )[0]
    assert record["file"] == "reviews.txt"
    assert record["confusion"] == [[2, 0], [0, 2]]
    assert record["baseline"] == 0.5
    assert record["labels"]["f1"] == [1.0, 1.0]


def test_evaluate_tells_of_words_that_are_too_long(embed, reviews, tmp_path):
    (tmp_path / "test.txt").write_text(f"__label__good warm {'a' * 1001} lovely\n")
    found = embed("evaluate", "--task", "classify", "test.txt", "--format", "json")
    assert json.loads(found.out)[0]["too_long_words"] == 1
    said = "2 found, 0 not in the vocabulary\n1 words of over 1,000 characters left out\n"
    assert found.err == said


def test_evaluate_pairs_and_questions_are_told_apart(embed, model, tmp_path):
    (tmp_path / "pairs.tsv").write_text("king\tqueen\t9\nking\triver\t1\nking\tzzzz\t5\n")
    (tmp_path / "questions.txt").write_text(": family\nman king woman queen\nman king zzzz queen\n")
    argv = ["evaluate", "pairs.tsv", "questions.txt"]
    pairs, questions = json.loads(embed(*argv, "--format", "json").out)
    assert (pairs["used"], pairs["skipped"]) == (2, 1)
    assert pairs["spearman"] == pytest.approx(1)
    assert (questions["total"]["used"], questions["total"]["skipped"]) == (1, 1)
    assert questions["sections"][0]["name"] == "family"
    assert (pairs["known_words"], pairs["unknown_words"]) == (5, 1)
    assert (questions["known_words"], questions["unknown_words"]) == (7, 1)
    page = embed(*argv)
    assert "  spearman       1.0000\n" in page.out
    assert "family" in page.out
    assert page.err == "12 found, 2 not in the vocabulary\n"


def test_evaluate_with_unknown_words_as_zeros_or_errors(embed, model, tmp_path):
    (tmp_path / "pairs.tsv").write_text("king\tqueen\t9\nking\triver\t5\nking\tzzzz\t1\n")
    (tmp_path / "questions.txt").write_text(": family\nman king woman queen\nman king zzzz queen\n")
    argv = ["evaluate", "pairs.tsv", "questions.txt", "--format", "json", "-q", "--oov"]
    found = embed(*argv, "zero")
    pairs, questions = json.loads(found.out)
    assert (pairs["used"], pairs["skipped"], found.err) == (3, 0, "")
    assert (questions["total"]["used"], questions["total"]["skipped"]) == (2, 0)
    found = embed(*argv, "error")
    assert found.code == 1
    assert "'zzzz' is not in the vocabulary" in found.err


def test_evaluate_by_a_file_that_holds_neither(embed, model, tmp_path):
    (tmp_path / "prose.txt").write_text("Once upon a time there was a table.\n")
    found = embed("evaluate", "prose.txt")
    assert found.code == 1
    assert "prose.txt: found no word pairs" in found.err
    for text in ("__label__bad dull\n", "__label__good a warm film\n__label__bad dull\n"):
        (tmp_path / "labelled.txt").write_text(text)
        found = embed("evaluate", "labelled.txt")
        assert "hint: labelled text is for --task classify or regress" in found.err
    assert embed("evaluate", "nowhere.txt").code == 1
    assert embed("evaluate").code == 2
