from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest

import embedcli
from embedcli import comparison
from embedcli.alignment import common_words, procrustes, unit_rows
from embedcli.comparison import compare_tables
from embedcli.errors import ConfigError, VocabularyError
from embedcli.table import EmbeddingTable, unit
from embedcli.text.vocabulary import Vocabulary

rng = np.random.default_rng(7)


def table_of(vectors, counts=None, prefix="w"):
    words = [f"{prefix}{i}" for i in range(len(vectors))]
    counts = np.arange(len(words), 0, -1) if counts is None else counts
    return EmbeddingTable(Vocabulary(words, counts), np.asarray(vectors, np.float32))


def turn(dim):
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


def test_procrustes_finds_the_rotation_back():
    rows, rotation = rng.normal(size=(40, 6)), turn(6)
    assert np.allclose(procrustes(rows, rows @ rotation), rotation)
    found = procrustes(rows, rng.normal(size=(40, 6)))
    assert np.allclose(found @ found.T, np.eye(6))


def test_no_other_rotation_is_closer():
    one, two = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    best = np.square(one @ procrustes(one, two) - two).sum()
    assert all(np.square(one @ turn(4) - two).sum() > best for _ in range(50))


def test_common_words_come_by_share_in_all_tables():
    one = EmbeddingTable(Vocabulary(["a", "b", "c"], np.array([9, 5, 5])), np.eye(3, dtype="f4"))
    two = EmbeddingTable(Vocabulary(["c", "x", "b"], np.array([80, 9, 1])), np.eye(3, dtype="f4"))
    assert common_words([one, two]).tolist() == [[2, 1], [0, 2]]
    assert common_words([one, two], min_count=2).tolist() == [[2], [0]]
    bare = EmbeddingTable(Vocabulary(["b", "c"]), np.eye(2, dtype="f4"))
    assert common_words([bare, bare]).tolist() == [[0, 1], [0, 1]]


def test_centred_rows_have_length_one_and_a_small_mean():
    of = table_of(rng.normal(size=(50, 5)) + 3)
    rows = unit_rows(of, np.arange(50), center=True)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    plain = unit_rows(of, np.arange(50))
    assert np.linalg.norm(rows.mean(axis=0)) < np.linalg.norm(plain.mean(axis=0)) / 5


def test_a_turned_table_has_not_moved():
    vectors = rng.normal(size=(60, 8))
    found = embedcli.compare(table_of(vectors), table_of(5 * vectors @ turn(8)))
    assert found.moved == pytest.approx(0, abs=1e-6)
    assert found.overlap == 1
    assert found.spearman > 0.999
    assert found.chance is None and found.test is None


def test_the_word_that_moved_comes_first():
    vectors = rng.normal(size=(60, 8))
    changed = vectors.copy()
    changed[7] = -vectors[7]
    found = embedcli.compare(table_of(vectors), table_of(changed @ turn(8)), ["w3"], k=5)
    first, last = found.most(1)[0], found.least(1)[0]
    assert first.token == "w7" and first.moved > 1.5 and first.overlap < 0.3
    assert last.moved < 0.01
    assert [word.token for word in found.asked] == ["w3"]
    assert found[0] == first and found[-1] == last and len(list(found)) == 60
    # Its neighbours are those of each table.
    near = embedcli.neighbors("w7", table_of(vectors), k=5)[0].neighbors
    assert [n.token for n in first.neighbors[0]] == [n.token for n in near]


def test_words_of_one_side_are_told():
    one, two = table_of(rng.normal(size=(9, 4))), table_of(rng.normal(size=(5, 4)))
    found = embedcli.compare(one, two)
    assert (found.common, found.words) == (5, 5)
    assert found.only[0] == (4, ("w5", "w6", "w7", "w8"))
    assert found.only[1] == (0, ())
    assert embedcli.compare(one, two, ["w4"], words=2).words == 3


def test_other_dims_are_compared_by_neighbours():
    vectors = rng.normal(size=(40, 6))
    found = embedcli.compare(table_of(vectors), table_of(np.hstack([vectors, vectors])), k=4)
    assert not found.rotated and found.overlap == 1 and found.moved == 0
    other = embedcli.compare(table_of(vectors), table_of(rng.normal(size=(40, 9))), k=4)
    assert other.moved == pytest.approx(1 - other.overlap) and other.moved > 0.5


def test_tables_without_common_words_are_an_error():
    with pytest.raises(VocabularyError, match="0 words in common"):
        embedcli.compare(table_of(np.eye(3)), table_of(np.eye(3), prefix="x"))
    with pytest.raises(VocabularyError, match="not in all tables"):
        embedcli.compare(table_of(np.eye(5)), table_of(np.eye(4)), ["w4"])


def replicas(base, number, noise=0.1):
    rows = (base + noise * rng.normal(size=base.shape) for _ in range(number))
    return [table_of(each @ turn(base.shape[1])) for each in rows]


def test_replicas_tell_change_from_chance():
    base = rng.normal(size=(80, 8))
    changed = base.copy()
    changed[5] = -base[5]
    found = compare_tables((replicas(base, 4), replicas(changed, 4)), ("a", "b"))
    assert found.test is not None
    assert found.test.splits == 35 and found.test.level == 0.05
    first = found.most(1)[0]
    assert first.token == "w5" and first.p == pytest.approx(1 / 35) and first.excess > 1
    same = compare_tables((replicas(base, 4), replicas(base, 4)), ("a", "b"))
    assert same.moved == pytest.approx(same.chance, rel=0.1)
    assert same.test is not None and same.test.passed <= 3 * same.test.expected


def test_p_is_the_share_of_splits_that_separate_as_well():
    base = rng.normal(size=(30, 5))
    tables = replicas(base, 5, noise=0.5)
    found = compare_tables((tables[:2], tables[2:]), ("a", "b"))
    assert found.test is not None and found.test.splits == 10 and found.test.level == 0.1
    rows = [unit(each.vectors).astype(np.float64) for each in tables]
    distance = {
        (a, b): 1 - np.einsum("nd,nd->n", rows[a] @ procrustes(rows[a], rows[b]), rows[b])
        for a, b in combinations(range(5), 2)
    }

    def statistic(side, word):
        across = [d[word] for (a, b), d in distance.items() if (a in side) != (b in side)]
        within = [d[word] for (a, b), d in distance.items() if (a in side) == (b in side)]
        return np.mean(across) - np.mean(within)

    for word in found:
        index = int(word.token[1:])
        every = [statistic(side, index) for side in combinations(range(5), 2)]
        assert word.p == pytest.approx(np.mean(np.array(every) >= every[0] - 1e-6))
        assert word.excess == pytest.approx(every[0], abs=1e-5)


def test_many_splits_are_sampled_the_same_each_time():
    base = rng.normal(size=(12, 3))
    sides = replicas(base, 7), replicas(base, 7)
    one, two = (compare_tables(sides, ("a", "b")) for _ in range(2))
    assert one.test is not None and one.test.splits == 1000 and one.test == two.test
    assert all(word.p >= 1 / 1000 for word in one)


def test_many_words_are_tested_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(comparison, "_BLOCK", 128)
    base = rng.normal(size=(3000, 3))
    pairs = list(combinations(range(14), 2))
    distances = rng.random(size=(len(pairs), len(base)))
    tracemalloc.start()
    p, splits = comparison._permutation_test(distances, pairs, 14, 7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert splits == 1000 and (p >= 1 / 1000).all()
    assert peak < 8 * splits * len(base) / 2  # of a number for each split and word


@pytest.mark.parametrize("setting", [{"words": 0}, {"words": -5}, {"k": 0}, {"k": -1}])
def test_sizes_are_checked(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ConfigError, match=f"{name}: found {value}; expected 1 or more"):
        embedcli.compare(table_of(np.eye(5)), table_of(np.eye(5)), **setting)


def test_rows_that_are_no_numbers_do_no_harm():
    vectors = rng.normal(size=(20, 4))
    broken = vectors.copy()
    broken[3] = np.nan
    found = embedcli.compare(table_of(vectors), table_of(broken))
    assert np.isfinite(found.moved)
