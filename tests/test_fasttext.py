"""fastText's own answers for small models that its package made: `formats/fasttext_models`."""

import json
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest

import embedcli
from embedcli import fasttext, formats
from embedcli.cli import main
from embedcli.errors import EmbedError, FormatError, StoreError, VocabularyError
from embedcli.formats.base import Options
from embedcli.formats.fasttext_bin import HIERARCHICAL, open_model
from embedcli.prediction import open_text_model, text_model

from .tasks.corpora import labelled_lines

FOLDER = Path(__file__).parent / "formats" / "fasttext_models"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
LINES, WORDS, MODELS = ANSWERS["lines"], ANSWERS["words"], ANSWERS["models"]
NAN = b"\0\0\xc0\x7f"
SUPERVISED = [name for name, answers in MODELS.items() if "first" in answers]
UNSUPERVISED = [name for name in MODELS if name not in SUPERVISED]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("".join(f"{line}\n" for line in LINES).encode())
    return path


def predicted(name, text, **options):
    """Return the labels and probabilities of each line, the former as fastText writes them."""
    lines = embedcli.predict(text, FOLDER / name, **options).lines
    return [[(f"__label__{each.name}", each.probability) for each in line] for line in lines]


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize(
    ("answers", "options"),
    [("first", {}), ("likely", {"k": 3, "threshold": 0.2}), ("all", {"k": 10**6})],
)
def test_labels_and_probabilities_are_those_of_fasttext(name, answers, options, text):
    found = predicted(name, text, **options)
    expected = [[(label, min(share, 1)) for label, share in line] for line in MODELS[name][answers]]
    found = found[: len(expected)]
    assert [len(line) for line in found] == [len(line) for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            [share for _, share in ours], [share for _, share in theirs], rtol=0, atol=2e-6
        )
        # fastText looks sigmoids up in a table, so that several labels may share a place.
        distinct = len({share for _, share in theirs}) == len(theirs) > 1 or name not in (
            "ns.bin",
            "ova.bin",
        )
        if distinct:
            assert [label for label, _ in ours] == [label for label, _ in theirs]


@pytest.mark.parametrize("at_once", [3, 7])
@pytest.mark.parametrize("name", ["softmax.bin", "pruned.ftz"])
def test_lines_may_be_read_in_any_parts(name, at_once, text, monkeypatch):
    whole = predicted(name, text, k=9)
    monkeypatch.setattr(fasttext, "_TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr(fasttext, "_REMEMBERED", 20)
    monkeypatch.setattr(fasttext, "_SCORES_AT_ONCE", 60)
    found = predicted(name, text, k=9)
    for ours, theirs in zip(found, whole, strict=True):
        assert [label for label, _ in ours] == [label for label, _ in theirs]
        np.testing.assert_allclose(
            [share for _, share in ours], [share for _, share in theirs], atol=1e-6
        )


@pytest.mark.parametrize("name", SUPERVISED)
def test_rows_may_be_multiplied_before_or_after_they_are_summed(name, text, monkeypatch):
    found = {}
    for few in (0, 1000):
        monkeypatch.setattr(fasttext, "_FEW_LABELS", few)
        found[few] = predicted(name, text, k=3)
    for ours, theirs in zip(found[0], found[1000], strict=True):
        np.testing.assert_allclose(
            [share for _, share in ours], [share for _, share in theirs], rtol=0, atol=2e-6
        )


def test_bytes_that_are_not_utf_8_belong_to_their_words(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(b"the wave\xff\nthe\nthe wave\nthe \xff\xfe wave\xff\xff\n")
    unknown, without, known, others = predicted("ns.bin", text)
    assert unknown == without == others != known


def test_the_tree_is_searched_as_well_as_scored(text, monkeypatch):
    searched = predicted("hs.bin", text)
    monkeypatch.setattr(fasttext, "_FEW_LABELS", 1000)
    scored = predicted("hs.bin", text)
    assert [line[0][0] for line in searched] == [line[0][0] for line in scored]
    np.testing.assert_allclose(
        [line[0][1] for line in searched], [line[0][1] for line in scored], atol=1e-6
    )


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_vectors_of_words_are_those_of_fasttext(name):
    table = embedcli.load(FOLDER / name)
    for word, vector in zip(WORDS, MODELS[name]["words"], strict=True):
        if word in table or table.composes:
            np.testing.assert_allclose(table[word], vector, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_vectors_of_lines_are_those_of_fasttext(name, text):
    found = list(embedcli.vectors(text, FOLDER / name).lines)
    for line, ours, theirs in zip(LINES, found, MODELS[name]["sentences"], strict=True):
        # Neither </s> nor zero bytes end words there, but where a model has labels.
        if name in SUPERVISED or ("</s>" not in line and "\0" not in line):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=line)


@pytest.mark.parametrize("name", ["skipgram.bin", "cbow.bin"])
def test_neighbors_of_an_unknown_word_are_those_of_fasttext(name):
    (near,) = embedcli.neighbors("waves", FOLDER / name, k=5)
    expected = MODELS[name]["neighbors"]
    assert {each.token for each in near.neighbors} == {word for word, _ in expected}
    np.testing.assert_allclose(
        [each.score for each in near.neighbors], [score for _, score in expected], atol=1e-5
    )


@pytest.mark.parametrize("word", ["waves", "खेतों", "wave", "</s>"])
def test_parts_of_a_word_make_its_vector(word):
    table = embedcli.load(FOLDER / "skipgram.bin")
    assert table.composer is not None
    parts = table.composer.parts(word)
    rows = open_model(FOLDER / "skipgram.bin", Options()).input
    vector = sum(part.weight * rows[part.row] for part in parts)
    np.testing.assert_allclose(vector, table[word], rtol=1e-5, atol=1e-8)
    if word == "wave":
        assert [part.text for part in parts][:4] == ["wave", "<wa", "wav", "ave"]


def test_evaluate_counts_the_labels_of_the_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "__label__sea the wave and the ship\n"
        "the tide __label__sea of foam\n"
        "__label__farm ship of the wave tide\n"
        "__label__new hay of the hen __label__farm\n"
    )
    found = embedcli.evaluate(text, FOLDER / "softmax.bin", task="classify", ks=[1, 2])
    assert found.texts == 4
    assert set(found.names) == {"sea", "farm", "sky", "new"}
    assert found.precision_at[1] == 3 / 4
    assert found.recall_at[1] == 3 / 5
    assert (found.known_words, found.unknown_words) == (18, 0)
    csv = tmp_path / "text.csv"
    csv.write_text("text,label\nthe wave and the ship,sea\nhay of the hen,farm\n")
    found = embedcli.evaluate(csv, FOLDER / "softmax.bin", task="classify")
    assert found.accuracy == 1


def test_unknown_words(text, tmp_path):
    unknown = tmp_path / "unknown.txt"
    unknown.write_text("the wave xyzzy\n")
    known = tmp_path / "known.txt"
    known.write_text("the wave\n")
    with pytest.raises(VocabularyError, match="'xyzzy' is not in the vocabulary"):
        predicted("ns.bin", unknown, oov="error")
    # A model without n-grams leaves the word out; as zeros it makes the mean smaller.
    assert predicted("ns.bin", unknown) == predicted("ns.bin", known)
    model = open_text_model(FOLDER / "ns.bin")
    means = [
        next(iter(text_model(model, oov=oov).read([unknown]))).texts.vectors[0]
        for oov in ("skip", "zero")
    ]
    np.testing.assert_allclose(means[0] * 3 / 4, means[1], rtol=1e-6)


def test_models_of_words_predict_nothing(text):
    with pytest.raises(StoreError, match="words without labels"):
        embedcli.predict(text, FOLDER / "skipgram.bin")
    with pytest.raises(StoreError, match="of labels; expected one of numbers"):
        embedcli.evaluate(text, FOLDER / "ns.bin", task="regress")


def test_the_command_line(text, capsys):
    assert main(["predict", str(text), "-m", str(FOLDER / "plain.ftz"), "--format", "json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == len(LINES)
    assert [each["label"] for each in json.loads(out[0])] == ["sea"]


@pytest.mark.parametrize("name", ["hs.bin", "plain.ftz", "pruned.ftz"])
def test_a_file_cut_anywhere_is_one_error(name, tmp_path):
    data = (FOLDER / name).read_bytes()
    for length in range(64, len(data), max(1, len(data) // 200)):
        (tmp_path / "model").write_bytes(data[:length])
        with pytest.raises(FormatError):
            _ = open_model(tmp_path / "model", Options()).output


def test_sniffed():
    assert {formats.sniff(FOLDER / name) for name in MODELS} == {"fasttext-bin"}


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A text, and classifiers that were trained on it, by name."""
    folder = tmp_path_factory.mktemp("classified")
    text = folder / "train.txt"
    text.write_text("".join(f"{line}\n" for line in labelled_lines(300, 1)))
    for name, settings in {
        "plain": {},
        "bigrams": {"word_ngrams": 2, "buckets": 500},
        "several": {"multi_label": True},
        "sums": {"pool": "sum"},
        "hidden": {"hidden": 3},
    }.items():
        chosen = {"task": "classify", "dim": 6, "epochs": 3, "workers": 1, "cache": False}
        embedcli.train(text, folder / name, **chosen, **settings)
    return folder


@pytest.mark.parametrize("name", ["plain", "bigrams", "several"])
def test_a_classifier_as_a_fasttext_model_predicts_the_same(name, classified, tmp_path):
    embedcli.convert(classified / name, tmp_path / "model.bin", "fasttext-bin")
    # Words as the model's tokenizer spells them, for fastText does not.
    text = tmp_path / "text.txt"
    lines = labelled_lines(50, 2)
    words = [" ".join(word for word in line.lower().split() if "_" not in word) for line in lines]
    text.write_text("".join(f"{line}\n" for line in words))
    own, theirs = (
        list(embedcli.predict(text, model, k=2).lines)
        for model in (classified / name, tmp_path / "model.bin")
    )
    # fastText's table of sigmoids has 32 places for each unit of a logit.
    tolerance = 1 / 128 if name == "several" else 1.2e-5
    for ours, found in zip(own, theirs, strict=True):
        for mine, their in zip(ours, found, strict=True):
            assert abs(mine.probability - their.probability) < tolerance
        if name != "several":
            assert [each.name for each in ours] == [each.name for each in found]


@pytest.mark.parametrize(("name", "what"), [("sums", "pool sum"), ("hidden", "hidden 3")])
def test_what_fasttext_cannot_express_is_an_error(name, what, classified, tmp_path, capsys):
    target = tmp_path / "model.bin"
    code = main(["convert", str(classified / name), str(target), "--to", "fasttext-bin"])
    assert code == 1
    assert f"fastText has no {what}" in capsys.readouterr().err
    assert not target.exists()


def test_a_quantized_model_is_written_dense(text, tmp_path):
    embedcli.convert(FOLDER / "wide.ftz", tmp_path / "wide.bin", "fasttext-bin")
    before, after = (
        list(embedcli.predict(text, model, k=3).lines)
        for model in (FOLDER / "wide.ftz", tmp_path / "wide.bin")
    )
    assert before == after
    with pytest.raises(FormatError, match="pruned"):
        embedcli.convert(FOLDER / "pruned.ftz", tmp_path / "pruned.bin", "fasttext-bin")


def test_words_are_written_with_counts(tmp_path):
    table = embedcli.load(FOLDER / "words.bin")
    embedcli.convert(FOLDER / "words.bin", tmp_path / "words", "model")
    embedcli.convert(tmp_path / "words", tmp_path / "again.bin", "fasttext-bin")
    model = open_model(tmp_path / "again.bin", Options())
    assert [word.decode() for word in model.words] == table.vocabulary.tokens(slice(None))
    assert model.counts.tolist() == table.vocabulary.counts.tolist()
    np.testing.assert_array_equal(model.input, table.vectors[:])
    assert model.output.shape == model.input.shape and not model.output.any()


@pytest.mark.parametrize("name", MODELS)
def test_changed_bytes_are_read_or_one_error(name, text, tmp_path):
    random, whole = Random(name), (FOLDER / name).read_bytes()
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(random.choice((1, 1, 3))):
            place = random.randrange(min(len(data), random.choice((70, 200, 1 << 20))))
            junk = random.choice(
                (b"\xff\xff\xff\x7f", b"\xff" * 4, bytes(4), b"\0\0\xc0\x7f", b"a")
            )
            data[place : place + random.choice((0, len(junk)))] = junk
        (tmp_path / "model").write_bytes(data)
        with suppress(EmbedError):
            list(embedcli.predict(text, tmp_path / "model", k=2).lines)
        with suppress(EmbedError):
            embedcli.neighbors("waves", tmp_path / "model")


@pytest.mark.parametrize("name", SUPERVISED)
def test_contributions_of_words_add_up_to_the_score(name, text):
    lines = list(embedcli.explain_predictions(text, FOLDER / name, k=2).lines)
    expected = list(embedcli.predict(text, FOLDER / name, k=2).lines)
    assert [len(line) for line in lines] == [len(line) for line in expected]
    tree = open_model(FOLDER / name, Options()).args.loss == HIERARCHICAL
    for line, labels in zip(lines, expected, strict=True):
        for of, label in zip(line, labels, strict=True):
            assert (of.label, of.probability) == (label.name, pytest.approx(label.probability))
            total = of.base + sum(each.value for each in of.contributions)
            assert of.output == pytest.approx(total + of.rest, abs=1e-5)
            assert of.exact == (not tree)
            assert of.scale == ("log probability" if tree else "logit")
            if of.exact:
                assert (of.base, of.rest) == (0, pytest.approx(0, abs=1e-5))
            else:
                assert np.exp(of.output) == pytest.approx(of.probability, abs=1e-6)


@pytest.mark.parametrize("name", ["softmax.bin", "hs.bin"])
def test_a_contribution_is_the_slope_of_the_score_along_the_rows_of_the_word(name, text):
    model = open_text_model(FOLDER / name)
    predictor = text_model(model)
    parts = next(each for each in predictor.read_parts([text]) if each is not None)
    assert parts.tokens[-1] == "</s>"
    np.testing.assert_allclose(parts.rows.sum(axis=0), parts.texts.vectors[0], atol=1e-6)
    vector = parts.texts.vectors.astype(np.float64)
    for label in range(min(3, len(predictor.labels))):
        scores = [
            predictor.outputs(fasttext.Pooled(vector + step * parts.rows[:1]))[0, label]
            for step in (-1e-3, 1e-3)
        ]
        slope = predictor.slope(label, parts.texts) @ parts.rows[0]
        assert (scores[1] - scores[0]) / 2e-3 == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_word_ngrams_are_contributions_of_their_own(text):
    name = next(n for n in SUPERVISED if open_model(FOLDER / n, Options()).args.word_ngrams > 1)
    lines = list(embedcli.explain_predictions(text, FOLDER / name).lines)
    ngrams = [each.text for line in lines for of in line for each in of.contributions
              if each.kind == "ngram"]  # fmt: skip
    assert ngrams and all(len(each.split(" ")) > 1 for each in ngrams)


def test_why_on_the_command_line(text, capsys):
    assert main(["predict", str(text), "--why", "--model", str(FOLDER / "softmax.bin")]) == 0
    assert "= logit" in capsys.readouterr().out
    assert main(["predict", str(text), "--why", "--model", str(FOLDER / "hs.bin")]) == 0
    assert "labels are in a tree" in " ".join(capsys.readouterr().out.split())
    assert main(["predict", str(text), "--why", "--model", str(FOLDER / "skipgram.bin")]) == 1
    assert "expected one of labels" in capsys.readouterr().err
