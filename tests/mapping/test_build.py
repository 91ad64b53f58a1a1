from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedcli import api
from embedcli.errors import ConfigError, CorpusError, VocabularyError
from embedcli.mapping import build, map_words
from embedcli.mapping.attributes import script_of
from embedcli.model import load_model
from embedcli.nn.initializers import initial_rows
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary
from tests.mapping import maps


def table_of(number: int, dim: int = 8, counts: bool = True) -> EmbeddingTable:
    """A table of random rows whose later words are the more frequent ones."""
    rows = np.random.default_rng(0).normal(0, 1, (number, dim)).astype(np.float32)
    words = [f"w{i}" for i in range(number)]
    return EmbeddingTable(Vocabulary(words, np.arange(1, number + 1) if counts else None), rows)


def test_the_most_frequent_words_are_drawn():
    found = map_words(table_of(50), "m", words=20)
    assert list(found.tokens) == [f"w{i}" for i in range(49, 29, -1)]
    assert list(map_words(table_of(50, counts=False), "m", words=3).tokens) == ["w0", "w1", "w2"]


def test_neighbors_are_those_of_the_whole_table():
    table = table_of(400)
    found = map_words(table, "m", words=100)
    answers = table.neighbors(list(found.tokens), k=10)
    for i, answer in enumerate(answers):
        near = [(each.token, each.score) for each in answer.neighbors]
        tokens = table.vocabulary.tokens(found.near.ids[i])
        assert [token for token, _ in near] == list(tokens)
        np.testing.assert_allclose(found.near.scores[i], [score for _, score in near], atol=1e-6)
    small = EmbeddingTable(Vocabulary(list(found.tokens)), found.vectors)
    for i, answer in enumerate(small.neighbors(list(found.tokens), k=10)):
        tokens = [found.tokens[place] for place in found.near_on_map.ids[i]]
        assert tokens == [each.token for each in answer.neighbors]


@pytest.mark.parametrize("shape", ["cloud", "clusters", "far out", "one place", "a line"])
def test_kept_neighbors_are_counted(monkeypatch, shape):
    monkeypatch.setattr(build, "_DISTANCES", 1 << 10)  # cells of 32 words
    rng = np.random.default_rng(0)
    places = rng.normal(0, 1, (300, 2))
    if shape == "clusters":
        places += 1000 * rng.integers(0, 4, (300, 1))
    elif shape == "far out":
        places[::50] *= 1e6
    elif shape == "one place":
        places[20:] = places[0]
    elif shape == "a line":
        places[:, 0] = 0
    places = places.astype(np.float32).astype(np.float64)
    near = np.stack([rng.permutation(np.delete(np.arange(300), i))[:7] for i in range(300)])
    near[3, 2:] = -1
    expected = []
    for i in range(300):
        apart = ((places - places[i]) ** 2).sum(axis=1)
        farthest = np.sort(np.delete(apart, i))[6]
        expected.append(sum(each >= 0 and apart[each] <= farthest for each in near[i].tolist()))
    assert build.kept_neighbors(places, near).tolist() == expected


def test_kept_neighbors_do_not_compare_all_pairs_of_words(monkeypatch):
    compared, squares = [], build._squares

    def counted(one, two):
        found = squares(one, two)
        compared.append(found.size)
        return found

    monkeypatch.setattr(build, "_squares", counted)
    monkeypatch.setattr(build, "_DISTANCES", 1 << 12)  # cells of 64 words
    number = 4000
    places = np.random.default_rng(0).normal(0, 1, (number, 2))
    build.kept_neighbors(places, np.zeros((number, 10), np.int64))
    assert sum(compared) < number**2 / 5


def test_layouts_by_size_and_dim():
    kinds = {
        number: [each.name for each in map_words(table_of(number), "m").arrangements]
        for number in (1, 2, 3, 29, 30)
    }
    assert kinds == {1: ["pca"], 2: ["pca"], 3: ["pca"], 29: ["pca"], 30: ["tsne", "pca"]}
    for number in (1, 2, 3):
        found = map_words(table_of(number), "m", layout="tsne")
        assert found.arrangements[0].name == "tsne"
        assert np.isfinite(found.arrangements[0].places).all()
    assert [each.name for each in map_words(table_of(40), "m", layout="pca").arrangements] == [
        "pca"
    ]


@pytest.mark.parametrize("dim", [1, 2])
def test_two_numbers_are_drawn_as_they_are(dim):
    table = table_of(40, dim)
    (drawn,) = map_words(table, "m").arrangements
    assert drawn.name == "rows"
    np.testing.assert_array_equal(drawn.places[:, :dim], table.vectors[::-1])


def test_words_of_zeros_are_left_out():
    table = table_of(40)
    table.vectors[5] = 0
    found = map_words(table, "m")
    assert found.zeros == 1
    assert "w5" not in list(found.tokens)
    table.vectors[:] = 0
    with pytest.raises(VocabularyError, match="no vector other than zeros"):
        map_words(table, "m")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    table = table_of(40)
    table.vectors[7, 3] = value
    with pytest.raises(VocabularyError, match=r"m: the vector of 'w7' \(row 7\)") as caught:
        map_words(table, "m")
    assert caught.value.hint == "--words 32 leaves it out"
    assert len(map_words(table, "m", words=32)) == 32


@pytest.mark.parametrize("words", [0, 200_001])
def test_sizes_are_checked(words):
    with pytest.raises(ConfigError, match="expected 1 to 200,000"):
        map_words(table_of(3), "m", words=words)


def test_equal_rows_are_drawn():
    table = table_of(60)
    table.vectors[:] = table.vectors[0]
    found = map_words(table, "m")
    assert np.isfinite(found.arrangements[0].places).all()
    assert len(attributes_of(found)["cluster"].categories) == 1


def test_the_same_table_gives_the_same_map():
    one, two = (map_words(table_of(700), "m") for _ in range(2))
    for a, b in zip(one.arrangements, two.arrangements, strict=True):
        assert a.places.tobytes() == b.places.tobytes()
    for x, y in zip(one.attributes, two.attributes, strict=True):
        assert x.values.tobytes() == y.values.tobytes()
        assert x.categories == y.categories


def test_clusters_are_found():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 40)
    rows = rng.normal(0, 5, (3, 10))[groups] + rng.normal(0, 0.3, (120, 10))
    table = EmbeddingTable(Vocabulary([f"w{i}" for i in range(120)]), rows.astype(np.float32))
    (cluster,) = [each for each in map_words(table, "m").attributes if each.name == "cluster"]
    assert len(cluster.categories) == 4  # a group may be two clusters, but none holds two groups
    assert all(len(set(groups[cluster.values == code])) == 1 for code in range(4))


@pytest.fixture
def pair(tmp_path):
    maps.pair(tmp_path)
    return tmp_path / "one", tmp_path / "two"


def test_two_tables_are_laid_on_each_other(pair):
    found = api.map_pair(*pair)
    one, two = found.maps
    assert len(one) == 400 and list(one.tokens) == list(two.tokens) and len(two.table) == 401
    # The second table is the first one turned: but for the word that moved, nothing is elsewhere.
    apart = np.linalg.norm(one.arrangements[1].places - two.arrangements[1].places, axis=1)
    assert one.arrangements[1].name == "pca" and apart.argmax() == 6
    assert np.median(apart) < 0.05 * one.arrangements[1].places.std()
    assert one.explained is two.explained
    # What the comparison measured comes first, in both maps.
    for each in (one, two):
        assert [of.name for of in each.attributes[:3]] == ["moved", "neighbors shared", "cluster"]
        assert each.attributes[0].values.argmax() == 6
        np.testing.assert_allclose(
            each.attributes[0].values, found.comparison.columns.moved, atol=1e-6
        )
    assert two.attributes[2] is one.attributes[2]
    # Neighbours are those of each whole table.
    for each in (one, two):
        (answer,) = each.table.neighbors(["राजा"])
        near = each.table.vocabulary.tokens(each.near.ids[0])
        assert [neighbor.token for neighbor in answer.neighbors] == list(near)
    assert "only" in [two.table.vocabulary.token(each) for each in two.near.ids[0].tolist()]


def test_both_tables_of_a_pair_keep_neighbors(pair):
    one, two = (each.arrangements[0] for each in api.map_pair(*pair).maps)
    assert one.name == two.name == "tsne"
    assert abs(one.share - two.share) < 0.1
    apart = np.linalg.norm(one.places - two.places, axis=1)
    assert np.median(apart) < one.places.std() / 2


def test_words_of_zeros_in_either_table_are_left_out_of_both():
    one, two = table_of(40), table_of(40)
    one.vectors[5] = 0
    two.vectors[6] = 0
    found = api.map_pair(one, two)
    for each in found.maps:
        assert (len(each), each.zeros, len(each.attributes[0].values)) == (38, 2, 38)
        assert not {"w5", "w6"} & set(each.tokens)


@pytest.mark.parametrize("dims, kind", [((2, 2), "rows"), ((1, 2), "rows"), ((2, 8), "tsne")])
def test_tables_of_few_or_different_dims_are_drawn_beside_each_other(dims, kind):
    found = api.map_pair(*(table_of(40, dim) for dim in dims))
    assert [each.arrangements[0].name for each in found.maps] == [kind, kind]
    assert found.comparison.rotated == (dims[0] == dims[1])
    one, two = (each.arrangements[-1].places for each in found.maps)
    assert np.isfinite(two).all()
    if dims == (2, 2):  # the same table twice
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_change_beyond_chance_comes_first_where_it_is_known(tmp_path):
    for seed in range(2):
        maps.save(tmp_path / "a" / str(seed), [f"w{i}" for i in range(40)], table_of(40).vectors)
    found = api.map_pair(tmp_path / "a", table_of(40))
    assert found.maps[0].name == "0"
    assert found.maps[0].attributes[0].name == "moved beyond chance"


@pytest.mark.parametrize(
    "word, script",
    [
        ("king", "Latin"),
        ("राजा", "Devanagari"),
        ("東京", "Cjk"),
        ("123", "none"),
        ("\ue000", "none"),
    ],
)
def test_scripts(word, script):
    assert script_of(word) == script


TALE = "the king and the queen saw the river\nthe man and the woman saw the sea\n" * 20
REVIEWS = "__label__good a warm film\n__label__bad a dull film\n__label__bad dull and long\n" * 10


def model_of(folder: Path, text: str, **settings):
    (folder / "text.txt").write_text(text, encoding="utf-8")
    api.train(
        folder / "text.txt", folder / "m", dim=6, epochs=2, workers=1, cache=False, **settings
    )
    return load_model(folder / "m")


def attributes_of(found) -> dict:
    return {each.name: each for each in found.attributes}


def test_a_model_tells_of_its_training(tmp_path):
    model = model_of(tmp_path, TALE)
    found = api.map_words(tmp_path / "m")
    attributes = attributes_of(found)
    assert list(attributes) == [
        "cluster", "count", "times trained", "distance moved", "norm", "script",
    ]  # fmt: skip
    ids = found.ids
    assert attributes["count"].values.tolist() == model.table.vocabulary.counts[ids].tolist()
    assert attributes["times trained"].values.tolist() == model.trained[ids].tolist()
    of = model.start
    start = initial_rows(of["init"], of["seed"], range(len(model.table)), 6, of["scale"])
    moved = np.linalg.norm(model.table.vectors - start, axis=1)[ids]
    np.testing.assert_allclose(attributes["distance moved"].values, moved, rtol=1e-5)


def test_a_classifier_tells_the_weight_of_each_label(tmp_path):
    model = model_of(tmp_path, REVIEWS, task="classify")
    attributes = attributes_of(api.map_words(tmp_path / "m"))
    found = api.map_words(tmp_path / "m")
    scores = model.table.vectors[found.ids] @ model.head["output.weight"]
    for label, column in zip(model.labels, scores.T, strict=True):
        np.testing.assert_allclose(attributes[f"label {label}"].values, column, rtol=1e-5)
        assert attributes[f"label {label}"].signed


def test_a_hidden_layer_gives_no_word_a_weight(tmp_path):
    model_of(tmp_path, REVIEWS, task="classify", hidden=6)
    assert not [name for name in attributes_of(api.map_words(tmp_path / "m")) if "label" in name]


def test_words_are_coloured_by_a_file(tmp_path):
    path = tmp_path / "colors.tsv"
    path.write_text("word\tage\ttopic\nw1\t3.5\triver\r\nw2\t\tsea\nother\t1\tx\nw0\t-1\triver\n")
    attributes = attributes_of(map_words(table_of(4), "m", colors=path))
    age, topic = attributes["age"], attributes["topic"]  # words are w3, w2, w1, w0
    np.testing.assert_array_equal(age.values, np.array([np.nan, np.nan, 3.5, -1], np.float32))
    assert topic.categories == ("river", "sea")
    assert topic.values.tolist() == [-1, 1, 0, 0]


def test_words_in_the_file_may_be_escaped_as_in_tsv(tmp_path):
    words = ["a\tb", "\\frac", "\\\\", "c"]
    table = EmbeddingTable(Vocabulary(words), np.eye(4, dtype=np.float32))
    path = tmp_path / "colors.tsv"
    path.write_text("word\tage\na\\tb\t1\n\\frac\t2\n\\\\\\\\\t3\n")
    age = attributes_of(map_words(table, "m", colors=path))["age"]
    np.testing.assert_array_equal(age.values, np.array([1, 2, 3, np.nan], np.float32))


def test_columns_of_the_file_do_not_hide_behind_others_of_their_name(tmp_path):
    path = tmp_path / "colors.tsv"
    path.write_text("word\tcluster\tcount\tcount\nw1\tmine\t7\t8\n")
    attributes = attributes_of(map_words(table_of(4), "m", colors=path))
    assert attributes["cluster (2)"].categories == ("mine",)
    assert attributes["count"].values.tolist() == [4, 3, 2, 1]
    assert [attributes[f"count ({number})"].values[2] for number in (2, 3)] == [7, 8]


@pytest.mark.parametrize(
    "text, message",
    [
        ("word\n", "colors.tsv:1: found 1 columns; expected a TSV"),
        ("", "colors.tsv:1: found 1 columns"),
        ("word\ta\nw1\t1\t2\n", "colors.tsv:2: found 3 columns; expected 2"),
    ],
)
def test_files_of_colours_are_checked(tmp_path, text, message):
    path = tmp_path / "colors.tsv"
    path.write_text(text)
    with pytest.raises(CorpusError, match=message):
        map_words(table_of(4), "m", colors=path)
    with pytest.raises(CorpusError, match=r"none\.tsv"):
        map_words(table_of(4), "m", colors=tmp_path / "none.tsv")
