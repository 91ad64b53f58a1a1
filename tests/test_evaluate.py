import math
from dataclasses import asdict

import numpy as np
import pytest

import embedcli
from embedcli import evaluation
from embedcli.cli import main
from embedcli.errors import ConfigError, CorpusError, VocabularyError
from embedcli.evaluation import (
    Pair,
    Question,
    analogies,
    classification,
    holds_questions,
    read_pairs,
    read_questions,
    regression,
    similarity,
)
from embedcli.model import load_model
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

from .tasks.corpora import PRESET, labelled_lines, numbered_lines, write

# Gender along the second axis, rank along the first: man, woman, king, queen, boy, girl.
WORDS = ["man", "woman", "king", "queen", "boy", "girl", "Man"]
ROWS = [[1, 0, 1], [1, 1, 1], [3, 0, 1], [3, 1, 1], [0, 0, 1], [0, 1, 1], [9, 9, 9]]
TABLE = EmbeddingTable(Vocabulary(WORDS), np.array(ROWS, np.float32))


@pytest.mark.parametrize(
    "text",
    [
        "man\twoman\t8.5\nking\tboy\t2\n",
        "# Word 1\tWord 2\tHuman (mean)\nman\twoman\t8.5\r\nking\tboy\t2\r\n",
        "Word 1,Word 2,Human (mean)\nman,woman,8.5\nking,boy,2\n",
        "word1\tword2\tPOS\tSimLex999\tconc(w1)\nman\twoman\tN\t8.5\t4.9\nking\tboy\tN\t2\t1\n",
        "man woman 8.5\n\nking   boy   2",
        "\ufeffword1;word2;score\nman; woman; 8.5\nking; boy; 2\n",
        "word1,word2,score,deviation\nman,woman,8.5,1\nking,boy,2,1\n",
        'one;two;score\n"man";"woman";"8.5"\nking;boy;2\n',
    ],
)
def test_the_usual_layouts_of_word_pairs(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_bytes(text.encode())
    assert not holds_questions(path)
    assert read_pairs(path) == [Pair("man", "woman", 8.5), Pair("king", "boy", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("man\twoman\t1\nking\tboy\n", r"pairs.txt:2: found 'king\\tboy'"),
        ("man\twoman\t1\nking\tboy\tmany\n", "pairs.txt:2"),
        ("prose of any kind\nand more\n", "pairs.txt:2"),
        ("", "no word pairs"),
        ("a b nan\n", "no word pairs"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path, text, message):
    path = tmp_path / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        read_pairs(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CorpusError, match="No such file"):
        read_pairs(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 bar 1\n")
    with pytest.raises(CorpusError, match="byte 3 is not UTF-8"):
        read_pairs(tmp_path / "latin.txt")


def asked(a, b, c, d):
    return Question(a, b, c, (d,))


def test_decimal_commas_are_refused_by_name(tmp_path):
    path = tmp_path / "pairs.txt"
    for line in ("love\tsex\t6,77", "love;sex;6,77", "love sex 6,77", '"love","sex","6,77"'):
        path.write_text(f"{line}\ntiger cat 7\n")
        with pytest.raises(CorpusError, match=r"pairs.txt:1: found the decimal comma of 6,77"):
            read_pairs(path)


def test_a_file_of_another_kind_names_the_task_that_it_is_for(tmp_path):
    path = tmp_path / "file"
    path.write_text("a b c d\ne f g h\n")
    with pytest.raises(CorpusError) as caught:
        read_pairs(path)
    assert "--task analogy" in caught.value.hint
    path.write_text("love sex 6.77\n")
    with pytest.raises(CorpusError) as caught:
        read_questions(path)
    assert "--task similarity" in caught.value.hint


def test_pairs_of_a_relation_are_asked_with_each_other(tmp_path):
    path = tmp_path / "I05 [adj - comparative].txt"
    path.write_text("man\tking\nwoman\tqueen/duchess\nboy\tprince\n")
    assert holds_questions(path)
    sections = read_questions(path)
    questions = sections["I05 [adj - comparative]"]
    assert len(questions) == 6
    assert Question("man", "king", "woman", ("queen", "duchess")) in questions
    assert Question("woman", "queen", "man", ("king",)) in questions
    found = analogies(TABLE, sections)
    assert (found.syntactic.used, found.semantic.used, found.total.skipped) == (2, 0, 4)
    assert found.total.right == 2
    with pytest.raises(VocabularyError, match="'prince'"):
        analogies(TABLE, sections, oov="error")
    path.write_text("a\tb\n" * 501)
    with pytest.raises(CorpusError, match=r":501: found over 500 pairs"):
        read_questions(path)


def test_similarity_worked_by_hand():
    pairs = [
        Pair("man", "WOMAN", 9),
        Pair("king", "boy", 1),
        Pair("girl", "woman", 5),
        Pair("x", "boy", 3),
    ]
    cosines = [2 / math.sqrt(2 * 3), 1 / math.sqrt(10), 2 / math.sqrt(2 * 3)]
    found = similarity(TABLE, pairs)
    assert (found.used, found.skipped) == (3, 1)
    assert found.pearson == pytest.approx(np.corrcoef([9, 1, 5], cosines)[0, 1])
    assert found.spearman == pytest.approx(np.corrcoef([3, 1, 2], [2.5, 1, 2.5])[0, 1])
    found = similarity(TABLE, pairs, fold_case=False)
    assert (found.used, found.skipped) == (2, 2)
    assert math.isnan(similarity(TABLE, pairs[3:]).spearman)


def test_words_of_pairs_and_questions_stand_so_or_composed_as_in_a_text():
    tokens = ["\u091c\u093cमीन", "café", "x", "x\u0301", "ẋ", "x\u0307"]
    table = EmbeddingTable(Vocabulary(tokens), np.eye(6, dtype=np.float32))
    words = ["\u095bमीन", "cafe\u0301", "x\u0301", "x\u0307"]  # the first two in other code points
    found = similarity(table, [Pair(words[0], words[1], 1), Pair("x\u0307", "ẋ", 2)])
    assert (found.used, found.known_words) == (2, 4)
    assert np.isnan(found.pearson)  # both cosines are 0: the last two are two words
    assert analogies(table, {"": [asked(*words)]}).total.used == 1


def test_unknown_words_of_pairs_and_questions_as_zeros():
    """As gensim's `dummy4unknown`: the cosine is 0, the answer wrong."""
    pairs = [Pair("man", "woman", 9), Pair("king", "boy", 1), Pair("x", "boy", 3)]
    cosines = [2 / math.sqrt(2 * 3), 1 / math.sqrt(10), 0]
    found = similarity(TABLE, pairs, oov="zero")
    assert (found.used, found.skipped, found.known_words, found.unknown_words) == (3, 0, 5, 1)
    assert found.pearson == pytest.approx(np.corrcoef([9, 1, 3], cosines)[0, 1])
    questions = {
        "a": [asked("man", "woman", "king", "queen")],
        "b": [asked("x", "woman", "king", "queen")],
    }
    found = analogies(TABLE, questions, oov="zero")
    assert [(s.right, s.used, s.skipped) for s in found.sections] == [(1, 1, 0), (0, 1, 0)]
    assert (found.known_words, found.unknown_words) == (7, 1)
    with pytest.raises(VocabularyError, match="'x' is not in the vocabulary"):
        similarity(TABLE, pairs, oov="error")
    with pytest.raises(VocabularyError, match="'x' is not in the vocabulary"):
        analogies(TABLE, questions, oov="error")


def test_analogies_by_section(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(
        ": family\nman woman King Queen\nman woman boy girl\nman woman duke duchess\n"
        ": gram1-rank\nman king woman queen\nman king woman girl\n: empty\n",
        encoding="utf-8",
    )
    found = analogies(TABLE, read_questions(path))
    assert [(s.name, s.right, s.used, s.skipped) for s in found.sections] == [
        ("family", 2, 2, 1),
        ("gram1-rank", 1, 2, 0),
        ("empty", 0, 0, 0),
    ]
    assert found.semantic.accuracy == 1
    assert found.syntactic.accuracy == 0.5
    assert (found.total.right, found.total.used, found.total.skipped) == (3, 4, 1)
    assert math.isnan(found.sections[2].accuracy)


def test_other_spellings_of_the_questions_words_are_no_answers():
    # man - man + woman is nearest to Woman, which without case is a word of the question.
    table = EmbeddingTable(
        Vocabulary(["a", "b", "c", "B", "d"]),
        np.array([[1, 0], [0, 1], [1, 0], [0.1, 1], [0.5, 1]], np.float32),
    )
    questions = {"": [asked("a", "b", "c", "d")]}
    assert analogies(table, questions).total.right == 1
    assert analogies(table, questions, fold_case=False).total.right == 0


def test_what_is_no_list_of_questions_is_refused(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": family\nman woman king\n", encoding="utf-8")
    with pytest.raises(
        CorpusError, match=r"questions.txt:2: found 'man woman king'; expected four"
    ):
        read_questions(path)
    path.write_text(": family\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no questions"):
        read_questions(path)


def train(folder, lines, **settings):
    text = write(folder / "train.txt", lines)
    out = folder / "model"
    embedcli.train(text, out, workers=1, checkpoint_every="off", **{**PRESET, **settings})
    return load_model(out)


def test_classification_with_labels_and_words_never_learnt(tmp_path):
    model = train(tmp_path, labelled_lines(400, 1), task="classify")
    lines = (
        ["__label__sea wave tide"] * 5 + ["__label__farm cow"] * 2 + ["", "__label__moon ship xyz"]
    )
    text = write(tmp_path / "test.txt", lines)
    found = classification(model, [text], ks=(1, 2, 9))
    assert found.texts == 8
    assert found.unknown_words == 1
    assert found.accuracy == found.micro_f1 == pytest.approx(7 / 8)
    assert found.names == (*model.labels, "moon")
    at = {name: place for place, name in enumerate(found.names)}
    assert found.labels.precision[at["sea"]] == pytest.approx(5 / 6)
    assert found.labels.recall[at["sea"]] == 1
    assert found.labels.recall[at["moon"]] == 0
    assert found.labels.support.sum() == 8
    assert found.confusion[at["moon"], at["sea"]] == 1
    assert found.confusion.sum() == 8
    assert found.precision_at == pytest.approx({1: 7 / 8, 2: 7 / 16, 9: 8 / 32})
    assert found.recall_at == pytest.approx({1: 7 / 8, 2: 7 / 8, 9: 1})
    assert (found.baseline_label, found.baseline) == ("sea", 5 / 8)
    assert found.macro_f1 == pytest.approx((2 * 5 / 11 + 1 + 0 + 0) / 4)


def test_classification_of_several_labels(tmp_path):
    model = train(tmp_path, labelled_lines(600, 1, several=True), task="classify")
    lines = ["__label__sea __label__farm wave ship cow hay", "__label__town street market"]
    found = classification(model, [write(tmp_path / "test.txt", lines)], ks=(1, 2))
    assert found.confusion is None
    assert found.accuracy == found.micro_f1 == found.macro_f1 == 1
    assert found.precision_at == {1: 1, 2: 3 / 4}
    assert found.recall_at == pytest.approx({1: 2 / 3, 2: 1})


def test_regression_beside_the_mean(tmp_path):
    model = train(tmp_path, numbered_lines(300, 1), task="regress", pool="sum", epochs=30)
    found = regression(model, [write(tmp_path / "test.txt", numbered_lines(100, 2))])
    assert found.texts == 100
    assert found.unknown_words == 0
    assert found.r2 > 0.9
    assert found.mse < 0.1 * found.baseline_mse


def test_no_labels_at_all_is_no_rank(tmp_path, capsys):
    train(tmp_path, labelled_lines(60, 1), task="classify")
    (tmp_path / "test.txt").write_text("".join(f"{line}\n" for line in labelled_lines(9, 2)))
    command = f"evaluate {tmp_path}/test.txt --model {tmp_path}/model --task classify -k 0"
    assert main(command.split()) == 1
    assert "k: found 0; expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize("several", [False, True])
def test_texts_are_scored_a_few_at_a_time_to_the_same_numbers(tmp_path, monkeypatch, several):
    model = train(tmp_path, labelled_lines(200, 1, several=several), task="classify")
    text = write(tmp_path / "test.txt", labelled_lines(50, 2, several=several))
    whole = classification(model, [text], (1, 2))
    sizes, hits_at_k = [], evaluation.metrics.hits_at_k

    def counted(logits, truth, k):
        sizes.append(len(logits))
        return hits_at_k(logits, truth, k)

    monkeypatch.setattr(evaluation, "_TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(evaluation.metrics, "hits_at_k", counted)
    np.testing.assert_equal(asdict(classification(model, [text], (1, 2))), asdict(whole))
    assert max(sizes) == 7


@pytest.mark.parametrize("task", ["nonsense", "skipgram", ""])
def test_an_unknown_kind_of_evaluation_is_one_error(task, tmp_path):
    with pytest.raises(ConfigError, match=f"task: found '{task}'; expected one of similarity"):
        embedcli.evaluate(tmp_path / "pairs.tsv", task=task)
