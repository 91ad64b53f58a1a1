from __future__ import annotations

import numpy as np
import pytest

import embedcli
from embedcli.errors import FormatError, VocabularyError
from embedcli.formats.queries import read_queries
from embedcli.table import EmbeddingTable, unit
from embedcli.text.vocabulary import Vocabulary

rng = np.random.default_rng(11)
WORDS = ["king", "queen", "राजा", *(f"w{n}" for n in range(30))]


def table_of(words, vectors):
    return EmbeddingTable(Vocabulary(words), np.asarray(vectors, np.float32))


@pytest.fixture
def tables():
    base = rng.normal(size=(len(WORDS), 5))
    made = []
    for number in range(3):
        order = rng.permutation(len(WORDS))
        vectors = base + 0.7 * rng.normal(size=base.shape)
        words = [*(WORDS[each] for each in order), f"only{number}"]
        made.append(table_of(words, np.vstack([vectors[order], rng.normal(size=5)])))
    return made


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_mean_range_and_times_among_the_nearest(tables, metric):
    (found,) = embedcli.stable_neighbors("king", tables, k=6, metric=metric)
    assert found.token == "king" and found.models == 3
    scores = {}
    for table in tables:
        for word, score in table.neighbors("king", len(WORDS), metric)[0].neighbors:
            scores.setdefault(word, []).append(score)
    common = {word: each for word, each in scores.items() if not word.startswith("only")}
    best = sorted(common, key=lambda word: -np.mean(common[word]))[:6]
    assert [n.token for n in found.neighbors] == best
    near = []
    for number, table in enumerate(tables):
        (alone,) = table.neighbors("king", 6, metric, exclude=[f"only{number}"])
        near.append({n.token for n in alone.neighbors})
    for each in found.neighbors:
        assert each.score == pytest.approx(np.mean(common[each.token]), abs=1e-5)
        assert each.low == pytest.approx(min(common[each.token]), abs=1e-5)
        assert each.high == pytest.approx(max(common[each.token]), abs=1e-5)
        assert each.among == sum(each.token in one for one in near)


def test_the_arguments_are_those_of_one_table(tables):
    one = [tables[0]] * 2
    for how in ({"exclude": ["queen"]}, {"plus": ["queen", "w1"], "minus": ["w2"]}):
        (several,) = embedcli.stable_neighbors("king", one, k=4, **how)
        alone = tables[0].neighbors("king", 34, **how)[0]
        near = [n for n in alone.neighbors if n.token != "nothing"][:4]
        assert several.token == alone.token
        assert [n.token for n in several.neighbors] == [n.token for n in near]
        assert all(n.among == 2 and n.low == n.high for n in several.neighbors)


def test_unknown_words(tables):
    with pytest.raises(VocabularyError, match="only0"):
        embedcli.stable_neighbors("only0", tables)
    found = embedcli.stable_neighbors(["only0", "king"], tables, oov="skip")
    assert [each.token for each in found] == ["king"]
    assert (found.known, found.unknown) == (1, 1)
    zero = embedcli.stable_neighbors(["only0", "king"], tables, oov="zero")
    assert zero[0].neighbors == () and zero[1].neighbors
    with pytest.raises(VocabularyError, match="0 words in common"):
        embedcli.stable_neighbors("a", [table_of(["a", "b"], np.eye(2)), table_of(["c"], [[1, 0]])])


def test_rows_that_are_no_numbers_are_no_neighbours(tables):
    tables[1].vectors[list(tables[1].vocabulary).index("w3")] = np.nan
    (found,) = embedcli.stable_neighbors("king", tables, k=40)
    assert "w3" not in [n.token for n in found.neighbors] and len(found.neighbors) == 31


def test_words_are_added_and_subtracted(tables):
    table = tables[0]
    (found,) = table.neighbors("king", 3, plus=["queen"], minus=["w1", "w2"])
    assert found.token == "king + queen - w1 - w2"
    vectors = unit(np.stack([table[word] for word in ("king", "queen", "w1", "w2")]))
    near = table.nearest((np.array([1, 1, -1, -1]) @ vectors)[None], 10).ids[0]
    words = [word for word in table.vocabulary.tokens(near) if word not in
             ("king", "queen", "w1", "w2")]  # fmt: skip
    assert [n.token for n in found.neighbors] == words[:3]
    # An analogy is the same sum.
    (analogy,) = table.analogy(["w1", "king", "queen"], 3)
    (same,) = table.neighbors(plus=["king", "queen"], minus=["w1"], k=3)
    assert same.token == "king + queen - w1"
    assert [n.token for n in same.neighbors] == [n.token for n in analogy.neighbors]


def test_vectors_from_a_file(tables, tmp_path):
    table = tables[0]
    np.save(tmp_path / "v.npy", np.stack([table["king"], table["queen"]]))
    np.save(tmp_path / "one.npy", table["king"].astype(np.float64))
    row = "\t".join(map(str, table["king"]))
    (tmp_path / "named.tsv").write_text(f"king\t{row}\n\n{row.replace(chr(9), ', ')}\n")
    for name, labels in (
        ("v.npy", ["v.npy:1", "v.npy:2"]),
        ("one.npy", ["one.npy"]),
        ("named.tsv", ["king", "named.tsv:2"]),
    ):
        found = embedcli.neighbors_of(tmp_path / name, table, k=2)
        assert [each.token for each in found] == labels
        assert found[0].neighbors[0].token == "king"
        assert found[0].neighbors[0].score == pytest.approx(1, abs=1e-5)
    (array,) = embedcli.neighbors_of(table["king"], table, k=1, exclude=["king"])
    assert array.token == "vector 1" and array.neighbors[0].token != "king"
    with pytest.raises(VocabularyError, match="3 numbers"):
        embedcli.neighbors_of([1, 2, 3], table)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no vector"),
        (b"1 2 3\n", r":1: found 3 numbers; expected 5"),
        (b"1 2 3 4 5\na b c d e f\n", ":2: found a word"),
        (b"\xff\xfe1 2", "not UTF-8"),
        (b"\x93NUMPY\x01\x00garbage", "v:"),
        (b"1 2 3 4 x\n", "found a word"),
    ],
)
def test_files_that_hold_no_vectors(tmp_path, content, told):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(FormatError, match=told):
        read_queries(tmp_path / "v", 5)


def test_arrays_of_another_kind(tmp_path):
    for number, array in enumerate(
        (np.zeros((2, 4)), np.zeros((1, 1, 5)), np.array(["a"] * 5), np.zeros((0, 5)))
    ):
        np.save(tmp_path / f"{number}.npy", array)
        with pytest.raises(FormatError):
            read_queries(tmp_path / f"{number}.npy", 5)
    np.save(tmp_path / "o.npy", np.array([None] * 5), allow_pickle=True)
    with pytest.raises(FormatError):
        read_queries(tmp_path / "o.npy", 5)
    with pytest.raises(FormatError, match="expected a file"):
        read_queries(tmp_path / "none", 5)
    with pytest.raises(FormatError):
        read_queries(tmp_path, 5)
