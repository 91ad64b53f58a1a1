"""Training of words that are composed of character n-grams, from text to answers."""

import json

import numpy as np
import pytest

import embedcli
from embedcli.autodiff.rows import RowGrad
from embedcli.cli import main
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, StoreError, VocabularyError
from embedcli.formats.base import Options
from embedcli.formats.fasttext_bin import open_model
from embedcli.model import load_model
from embedcli.nn.composition import Composition
from embedcli.nn.optimizers import make_optimizer
from embedcli.table import COMPOSED, unit
from embedcli.text.subwords import Subwords
from embedcli.training import limits
from embedcli.training.composed import ComposedWords
from embedcli.views import explain, scripts

# Pairs of words whose second has the stem of the first: what is said of one holds for the other.
STEMS = ["walk", "paint", "climb", "laugh", "whisper", "gather", "borrow", "travel"]
PLACES = ["garden", "market", "river", "tower", "harbour", "forest", "village", "bridge"]
LINES = "".join(
    f"they {stem}ed in the {place} and {stem}ing in the {place} they were\n"
    for stem, place in zip(STEMS, PLACES, strict=True)
    for _ in range(30)
)
HINDI = "लड़की किताब पढ़ती है\nलड़के किताबें पढ़ते हैं\nलड़कियाँ किताब पढ़ेंगी\n" * 20
SETTINGS = {
    "dim": 16, "max_n": 5, "epochs": 8, "batch_size": 128, "group": 2, "tile": 16,
    "workers": 1, "cache": False, "min_count": 1,
}  # fmt: skip


@pytest.fixture
def train(tmp_path):
    def go(out="m", text=LINES, **other):
        (tmp_path / "text.txt").write_text(text)
        if "update" in other:
            chosen = {**other, "workers": 1, "update": str(tmp_path / other["update"])}
        else:
            chosen = {**SETTINGS, **other}
        embedcli.train(tmp_path / "text.txt", tmp_path / out, **chosen)
        return load_model(tmp_path / out)

    return go


def composition_of(model):
    words = list(model.table.vocabulary)
    return Composition.of(*model.parts.subwords.hashed(words), len(words))


def assert_composed(model):
    """The table holds the means of the parts beside it."""
    composition = composition_of(model)
    assert composition.buckets.tolist() == model.parts.buckets.tolist()
    assert composition.bucket_rows.tolist() == model.parts.rows.tolist()
    found = composition.compose(model.head["parts"], np.arange(len(model.table)))
    np.testing.assert_allclose(model.table.vectors, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", ["skipgram", "cbow"])
def test_a_word_never_seen_is_near_those_it_shares_ngrams_with(train, task):
    model = train(task=task)
    assert_composed(model)
    for stem, place in zip(STEMS, PLACES, strict=True):
        (near,) = model.table.neighbors(f"{stem}er", 4)
        assert stem in " ".join(each.token for each in near.neighbors)
        # It is composed of words spelt like it and of the mean of all: nothing else is known of it.
        parts = model.table.composer.parts(f"{stem}er")
        mean = model.table.vectors.mean(axis=0)
        moved = sum(part.weight * (model.table.vectors[part.row] - mean) for part in parts)
        np.testing.assert_allclose(model.table[f"{stem}er"], mean + moved, rtol=1e-4, atol=1e-6)
        assert place in model.table


def test_a_misspelt_word_is_nearest_to_the_word_that_is_meant(train):
    model = train()
    for wrong, right in [("gaerden", "garden"), ("trvael", "travel"), ("whipsered", "whispered")]:
        (near,) = model.table.neighbors(wrong, 2)
        assert right in near.neighbors[0].token
        assert right in model.table.composer.parts(wrong)[0].text
    (near,) = train(text=HINDI, epochs=20).table.neighbors("लडकियाँ", 1)
    assert near.neighbors[0].token == "लड़कियाँ"


def test_a_word_is_compared_by_code_points_with_words_spelt_like_it(train, tmp_path):
    model = train(text="स्त्रियाँ गाती हैं\nबालक पढ़ते हैं\n" * 100)
    wrong, right = "स्त्रीयाँ", "स्त्रियाँ"  # two syllables, the first of which differs
    assert model.table.composer.parts(wrong)[0].text == right
    word = embedcli.explain_word(wrong, tmp_path / "m")
    assert f"{right} → 0 (" in explain.formatted(word, "text", language="hi")
    with pytest.raises(VocabularyError, match="'उमस'"):
        model.table["उमस"]  # shares characters with words, but no two of them


@pytest.mark.parametrize(("to", "prune"), [("quantized", None), ("quantized", 15), ("model", 15)])
def test_smaller_models_compose_unknown_words(train, tmp_path, to, prune):
    model = train()
    embedcli.convert(tmp_path / "m", tmp_path / "small", to, options=Options(prune=prune))
    small = load_model(tmp_path / "small")
    assert "parts" not in small.head
    assert len(small.table) == (prune or len(model.table))
    parts = small.table.composer.parts("walker")
    assert {part.text for part in parts} <= set(small.table.vocabulary)
    mean = small.table.vectors[:].mean(axis=0)
    moved = sum(part.weight * (small.table.vectors[[part.row]][0] - mean) for part in parts)
    np.testing.assert_allclose(small.table["walker"], mean + moved, rtol=1e-4, atol=1e-5)
    if prune is None:
        cosine = unit(np.array([small.table["walker"], model.table["walker"]]))
        assert cosine[0] @ cosine[1] > 0.99
    for word in ("walker", parts[0].text):
        assert explain.formatted(embedcli.explain_word(word, tmp_path / "small"), "text")
    embedcli.convert(tmp_path / "small", tmp_path / "again", "quantized")
    assert embedcli.load(tmp_path / "again").lookup(["walker"]).ids.tolist() == [COMPOSED]
    embedcli.convert(tmp_path / "small", tmp_path / "small.bin", "fasttext-bin")
    assert list(embedcli.load(tmp_path / "small.bin").vocabulary) == list(small.table.vocabulary)


def test_the_parts_of_a_known_word_make_its_vector(train):
    model = train()
    parts = model.table.composer.parts("walking")
    assert parts[0].text == "walking"
    assert {part.text for part in parts[1:]} == {
        text for text, _ in Subwords(3, 5, 2_000_000).spelled("walking")
    }
    rows, sizes = model.head["parts"], model.parts.sizes(len(model.table))
    mean = sum(part.weight * rows[part.row] / sizes[part.row] for part in parts)
    np.testing.assert_allclose(mean, model.table["walking"], rtol=1e-4, atol=1e-6)
    assert len({part.row for part in parts}) < len(parts)  # "walki" and "lking" share a row
    with pytest.raises(VocabularyError):
        model.table["ж"]


def test_commands_compose_and_say_so(train, tmp_path, monkeypatch, capsys):
    train()
    monkeypatch.chdir(tmp_path)
    assert main(["neighbors", "walker", "-m", "m", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["token"] == "walker"
    assert "0 found, 1 not in the vocabulary, 1 of them composed" in err
    assert main(["lookup", "walker", "walked", "-m", "m", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row.get("composed", False) for row in rows] == [True, False]
    assert main(["neighbors", "walker", "-m", "m", "--oov", "error"]) == 1
    assert "'walker'" in capsys.readouterr().err
    assert main(["vectors", "the walker laughs", "-m", "m", "--format", "json"]) == 0
    assert "2 of them composed" in capsys.readouterr().err
    (tmp_path / "pairs.tsv").write_text("walker\twalking\t9\nriver\tpainter\t1\ntower\triver\t2\n")
    assert main(["evaluate", "pairs.tsv", "-m", "m", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["composed_words"] == 2


def test_a_model_without_parts_has_none_in_its_folder(train, tmp_path):
    model = train(max_n=0)
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert not any("parts" in name for name in names)
    assert model.parts is None and not model.table.composes
    assert "parts" not in json.loads((tmp_path / "m/manifest.json").read_text())


def test_an_update_keeps_the_parts_and_adds_those_of_new_words(train):
    old = train()
    new = train("n", "a walker and a talker talk of walkers in the towers\n" * 20, update="m")
    assert_composed(new)
    assert set(old.parts.buckets.tolist()) < set(new.parts.buckets.tolist())
    # Without a step (all rows frozen) each old n-gram, and each old word, is what it was.
    same = train("f", "a walker and a talker talk of walkers in the towers\n", update="m", lr=1e-30)
    buckets = old.parts.buckets.astype(np.int64)
    for each, words in ((old, len(old.table)), (same, len(old.table))):
        rows = each.parts.find(buckets)
        sizes = each.parts.sizes(len(each.table))
        each.__dict__["ngrams"] = each.head["parts"][rows] / sizes[rows, None]
        each.__dict__["words"] = each.head["parts"][:words] / sizes[:words, None]
    np.testing.assert_allclose(vars(same)["ngrams"], vars(old)["ngrams"], rtol=1e-5)
    np.testing.assert_allclose(vars(same)["words"], vars(old)["words"], rtol=1e-5)
    size = len(old.table)
    np.testing.assert_allclose(same.table.vectors[:size], old.table.vectors, atol=1e-6)
    assert_composed(same)


def test_an_update_cannot_change_how_words_are_cut(train):
    train()
    for name, value in (("max_n", 4), ("min_n", 2), ("buckets", 100), ("ngram_unit", "codepoint")):
        with pytest.raises(ConfigError, match=f"found {name}"):
            train("n", update="m", **{name: value})


def test_vectors_of_a_file_are_those_of_the_words_at_first(train, tmp_path):
    (tmp_path / "v.txt").write_text("river " + " ".join(["2"] * 16) + "\n")
    model = train(vectors=str(tmp_path / "v.txt"), lr=1e-30, epochs=1)
    np.testing.assert_allclose(model.table["river"], np.full(16, 2), atol=1e-5)
    assert_composed(model)


def test_frozen_words_stay_while_their_ngrams_learn(train, tmp_path):
    (tmp_path / "v.txt").write_text("walking " + " ".join(["2"] * 16) + "\n")
    model = train(vectors=str(tmp_path / "v.txt"), freeze="found", workers=2)
    np.testing.assert_array_equal(model.table["walking"], np.full(16, 2))
    assert_composed(model)
    assert np.linalg.norm(model.table["walked"]) > 0


def test_words_of_one_bucket_still_have_rows_of_their_own(train):
    model = train(buckets=1)
    assert_composed(model)
    assert len(model.parts.buckets) == 1
    assert not np.allclose(model.table["river"], model.table["tower"])


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"min_n": 7, "max_n": 6}, "min_n: found 7; expected at most max_n, which is 6"),
        ({"max_n": 2}, "min_n: found 3; expected at most max_n, which is 2"),
        ({"max_n": 0, "min_n": 2}, "min_n: has no effect without max_n"),
        ({"max_n": 0, "buckets": 9}, "buckets: has no effect without word_ngrams or max_n"),
        ({"task": "classify"}, "max_n: has no effect with task classify"),
    ],
)
def test_settings_that_make_no_sense_are_errors(train, settings, found):
    with pytest.raises(ConfigError, match=found):
        train(**settings)


def test_memory_and_disk_are_asked_for_the_parts_too(tmp_path):
    plain, settings = (TrainSettings(max_n=longest, dim=10) for longest in (0, 6))
    without, with_parts = 3 * 4 * 100 * 10, (100 + 100 + 300 + 300) * 4 * 10
    limits.require_for_tables(tmp_path, 100, plain, without)
    limits.require_for_tables(tmp_path, 100, settings, with_parts, 200)
    with pytest.raises(StoreError, match="of memory"):
        limits.require_for_tables(tmp_path, 100, settings, with_parts - 1, 200)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("parts.buckets", lambda array: array[::-1]),
        ("parts.buckets", lambda array: array.astype(np.int64)),
        ("parts.rows", lambda array: array + 100_000),
        ("parts.rows", lambda array: array - 100_000),
        ("parts.rows", lambda array: array[1:]),
        ("head.parts", lambda array: array[:, 1:]),
        ("head.parts", lambda array: array[:10]),
        ("head.parts", lambda array: array.astype(np.float64)),
    ],
)
def test_damaged_parts_are_one_error(train, tmp_path, name, change):
    train()
    path = tmp_path / "m" / f"{name}.npy"
    array = change(np.load(path))
    np.save(path, array)
    manifest = tmp_path / "m/manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"][path.name]["bytes"] = path.stat().st_size
    manifest.write_text(json.dumps(facts))
    table = embedcli.load(tmp_path / "m")
    assert table.lookup(["walking"]).ids.tolist() != [COMPOSED]
    with pytest.raises(StoreError, match="damaged"):
        table.lookup(["walker"])
    with pytest.raises(StoreError):
        load_model(tmp_path / "m")
        embedcli.train(tmp_path / "text.txt", tmp_path / "n", update=str(tmp_path / "m"))


@pytest.mark.parametrize("facts", [[], {}, {"min_n": 3}, {"max_n": "6"}, {"max_n": 10**9}])
def test_a_manifest_that_does_not_say_how_words_are_cut_is_one_error(train, tmp_path, facts):
    train()
    manifest = tmp_path / "m/manifest.json"
    found = json.loads(manifest.read_text())
    whole = {"min_n": 3, "max_n": 5, "buckets": 2_000_000, "unit": "grapheme"}
    found["parts"] = {**whole, **facts} if facts and "min_n" not in facts else facts
    manifest.write_text(json.dumps(found))
    with pytest.raises(StoreError, match="damaged"):
        embedcli.load(tmp_path / "m").lookup(["walker"])


@pytest.mark.parametrize("settings", [{}, {"task": "cbow"}, {"optimizer": "adam", "lr": 0.01}])
def test_an_explained_step_moves_parts_as_training_does(train, tmp_path, settings):
    model = train(epochs=2, **settings)
    step = embedcli.explain("they walked and walking in the garden were", tmp_path / "m")
    words = [change for change in step.changes if change.parameter == "table"]
    ids = np.array([change.row for change in words])
    composition = composition_of(model)
    parts, table = np.array(model.head["parts"]), np.array(model.table.vectors)
    optimizer, state = make_optimizer(model.settings), {}
    group = ComposedWords(composition, table, parts, len(table), 1, optimizer)
    group.begin(ids)
    curvature = np.array([change.curvature for change in words], np.float32)
    gradient = np.stack([change.gradient for change in words])
    group.take(RowGrad(ids, gradient, table.shape, curvature, coalesced=True))
    for slot in optimizer.slots:
        state[slot] = np.array(model.optimizer[f"parts.{slot}"])
    for each in group.gradients(0):
        optimizer.step_rows(parts, state, each, step.rate, step.number)
    changed = {change.row: change for change in step.changes if change.parameter == "parts"}
    moved = np.flatnonzero((parts != model.head["parts"]).any(axis=1))
    assert sorted(changed) == moved.tolist()
    for row, change in changed.items():
        np.testing.assert_allclose(change.after, parts[row], rtol=1e-4, atol=1e-6)
    vectors = composition.compose(parts, ids)
    np.testing.assert_allclose([change.after for change in words], vectors, rtol=1e-4, atol=1e-5)
    assert step.unchanged["parts"] == len(parts) - len(changed)


def test_an_explained_step_names_the_parts_of_its_words(train, tmp_path):
    model = train()
    step = embedcli.explain("they walked in the garden", tmp_path / "m")
    by_word = {each.token: each for each in step.composed}
    assert sorted(by_word) == sorted(["they", "walked", "in", "the", "garden"])
    texts = [part.text for part in by_word["walked"].parts]
    assert texts == ["walked", *(text for text, _ in model.parts.subwords.spelled("walked"))]
    record = explain.record_of(step)
    assert record["composed"][0]["parts"][0].keys() == {"text", "row", "share"}
    for output in ("text", "html", "svg"):
        shown = explain.formatted(step, output, language="en")
        assert ("<wal" if output == "text" else "&lt;wal") in shown
    assert 'sum_of("parts"' in scripts.script(step, "numpy")
    plain = train("plain", max_n=0)
    assert "composed" not in explain.record_of(embedcli.explain("they walked", tmp_path / "plain"))
    assert plain.parts is None


def test_an_unknown_word_is_explained_by_words_spelt_like_it(train, tmp_path):
    model = train()
    word = embedcli.explain_word("Walker", tmp_path / "m")
    assert (word.token, word.id, word.count, word.start) == ("walker", None, None, None)
    np.testing.assert_array_equal(word.now, model.table["walker"])
    assert "walk" in " ".join(each.token for each in word.neighbors_now[:4])
    record = explain.record_of(word)
    assert "parts" not in record and record["id"] is None
    assert [each["token"] for each in record["similar"][:2]] == ["walked", "walking"]
    weights = [each["weight"] for each in record["similar"]]
    assert weights == pytest.approx(
        [x.weight for x in model.table.composer.parts("walker")], abs=1e-6
    )
    rest = f"{1 - sum(weights):.0%}"
    assert "similar" not in explain.record_of(embedcli.explain_word("walked", tmp_path / "m"))
    for language in ("en", "hi"):
        for output in ("text", "html", "svg"):
            shown = explain.formatted(word, output, language=language)
            assert "walked" in shown and rest in shown
    with pytest.raises(VocabularyError, match="'ж'"):
        embedcli.explain_word("ж", tmp_path / "m")


def test_the_history_of_a_composed_word_begins_with_its_initial_parts(train, tmp_path):
    model = train(epochs=2)
    first = train("first", epochs=1, lr=1e-30)
    word = embedcli.explain_word("walking", tmp_path / "m")
    np.testing.assert_allclose(word.start, first.table["walking"], rtol=1e-4, atol=1e-6)
    assert word.moved == pytest.approx(np.linalg.norm(word.now - word.start), rel=1e-4)
    assert word.parts[0].text == "walking"
    assert "parts" in explain.record_of(word)
    train("n", update="m")
    assert embedcli.explain_word("walking", tmp_path / "n").start is None
    assert model.table["walking"].any()


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (LINES, {"task": "cbow", "min_n": 1, "buckets": 50, "ngram_unit": "codepoint"}),
        (LINES, {"ngram_unit": "codepoint", "vectors": "known.txt"}),
        (HINDI, {"ngram_unit": "codepoint"}),
    ],
)
def test_a_model_as_a_fasttext_file_composes_the_same(text, settings, train, tmp_path):
    known = "2 16\n" + "".join(f"{word}{' .25' * 16}\n" for word in ("walked", "zebra"))
    (tmp_path / "known.txt").write_text(known)
    if "vectors" in settings:
        settings = {**settings, "vectors": str(tmp_path / "known.txt")}
    model = train(text=text, **settings)
    embedcli.convert(tmp_path / "m", tmp_path / "m.bin", "fasttext-bin")
    opened = embedcli.load(tmp_path / "m.bin")
    words = list(model.table.vocabulary)
    assert list(opened.vocabulary) == words
    assert opened.vocabulary.counts.tolist() == model.table.vocabulary.counts.tolist()
    np.testing.assert_allclose(opened.vectors[:], model.table.vectors, atol=1e-5)
    # fastText takes the mean of all n-grams of an unknown word, and no words spelt like it.
    unknown = ["walker", "paint", "gardener", "लड़कों"]
    owners, buckets = model.parts.subwords.hashed(unknown)
    rows = model.parts.find(buckets)
    ours, sizes = np.zeros((len(unknown), 16)), model.parts.sizes(len(words))
    known = rows >= 0
    np.add.at(ours, owners[known], (model.head["parts"] / sizes[:, None])[rows[known]])
    theirs = opened.lookup(unknown, otherwise="zero").vectors
    found = np.flatnonzero(theirs.any(axis=1))
    assert len(found)
    lengths = np.linalg.norm(ours[found], axis=1) * np.linalg.norm(theirs[found], axis=1)
    cosines = (ours[found] * theirs[found]).sum(axis=1) / lengths
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    output = open_model(tmp_path / "m.bin", Options()).output
    np.testing.assert_array_equal(output, model.head["output"])


def test_words_that_fasttext_cuts_otherwise_keep_their_vectors(train, tmp_path):
    model = train(text=HINDI + "</s> लड़की </s>\n" * 3, tokenizer="whitespace", min_n=2)
    assert "</s>" in model.table.vocabulary
    embedcli.convert(tmp_path / "m", tmp_path / "m.bin", "fasttext-bin")
    opened = embedcli.load(tmp_path / "m.bin")
    np.testing.assert_allclose(opened.vectors[:], model.table.vectors, atol=1e-5)
    package = pytest.importorskip("fasttext", reason="needs the fasttext package")
    theirs = package.load_model(str(tmp_path / "m.bin"))
    found = np.stack([theirs.get_word_vector(word) for word in opened.vocabulary])
    np.testing.assert_allclose(found, model.table.vectors, atol=1e-5)
