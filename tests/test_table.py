import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli import table as module
from embedcli.config import TextSettings
from embedcli.errors import VocabularyError
from embedcli.table import EmbeddingTable, unit
from embedcli.text.vocabulary import Vocabulary


def make(rows):
    rows = np.asarray(rows, np.float32)
    return EmbeddingTable(Vocabulary([f"w{i}" for i in range(len(rows))]), rows)


def words_of(found):
    return [neighbor.token for neighbor in found]


def cosine(a, b):
    a, b = np.float64(a), np.float64(b)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


SCORES = {
    "cosine": cosine,
    "dot": lambda a, b: float(np.float64(a) @ np.float64(b)),
    "euclidean": lambda a, b: -float(np.linalg.norm(np.float64(a) - np.float64(b))),
}

# Small whole numbers, so that products are exact and ties happen.
grids = st.tuples(st.integers(1, 40), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(-3, 3), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(module, "_QUERIES", 2)


def test_words_ids_and_errors():
    table = make([[1, 2], [3, 4]])
    assert len(table) == 2
    assert table.dim == 2
    assert "w1" in table
    assert "x" not in table
    assert table["w1"].tolist() == [3, 4]
    assert table.lookup(["w1", "w0", "w1"]).vectors.tolist() == [[3, 4], [1, 2], [3, 4]]
    with pytest.raises(VocabularyError, match="'x'"):
        table["x"]


def test_as_many_vectors_as_words():
    with pytest.raises(ValueError, match="2 words"):
        EmbeddingTable(Vocabulary(["a", "b"]), np.zeros((3, 2), np.float32))


def test_a_row_is_a_copy():
    table = make([[1, 2], [3, 4]])
    table["w0"][0] = 9
    table.rows([0])[0] = 9
    assert table["w0"].tolist() == [1, 2]


@given(grids)
def test_norms(rows):
    expected = np.linalg.norm(np.float64(rows), axis=1)
    np.testing.assert_allclose(make(rows).norms(), expected, rtol=1e-6)


@pytest.mark.parametrize("metric", SCORES)
@given(rows=grids, k=st.integers(1, 12), data=st.data())
def test_nearest_is_the_sorted_list_of_all_scores(metric, rows, k, data):
    table = make(rows)
    queries = data.draw(
        st.lists(
            st.lists(st.integers(-3, 3), min_size=table.dim, max_size=table.dim),
            min_size=1,
            max_size=5,
        )
    )
    places = st.lists(st.integers(0, len(rows) - 1), max_size=3)
    exclude = [data.draw(places) for _ in queries]
    found = table.nearest(queries, k, metric, exclude)
    for query, ids, scores, left_out in zip(queries, found.ids, found.scores, exclude, strict=True):
        expected = np.array([SCORES[metric](row, query) for row in rows])
        allowed = [i for i in range(len(rows)) if i not in left_out]
        count = min(k, len(allowed))
        np.testing.assert_allclose(
            scores[:count], sorted(expected[allowed], reverse=True)[:count], atol=1e-5
        )
        np.testing.assert_allclose(scores[:count], expected[ids[:count]], atol=1e-5)
        assert len(set(ids[:count])) == count
        assert not set(ids[:count]) & set(left_out)
        assert (ids[count:] == -1).all()
        assert np.isnan(scores[count:]).all()


@given(grids, st.integers(1, 12))
def test_equal_scores_come_by_id(rows, k):
    found = make(rows).nearest([[1] * len(rows[0])], k, "dot")
    keys = [(-score, each) for score, each in zip(found.scores[0], found.ids[0], strict=True)]
    assert keys == sorted((-sum(row), each) for each, row in enumerate(rows))[:k]


def test_many_equal_rows_across_blocks():
    table = make([[1.0, 1.0]] * 100)
    assert table.nearest([[1, 1]], 5).ids.tolist() == [[0, 1, 2, 3, 4]]
    assert words_of(table.neighbors(["w2"], 3)[0].neighbors) == ["w0", "w1", "w3"]


def test_rows_that_are_not_finite_are_never_found():
    table = make([[1, 0], [np.nan, 1], [np.inf, 0], [0.5, 0.5]])
    for metric in SCORES:
        assert set(table.nearest([[1, 0]], 4, metric).ids[0]) <= {0, 2, 3, -1}
        assert 1 not in table.nearest([[1, 0]], 4, metric).ids


def test_no_query_and_no_row_asked_for():
    table = make([[1, 0], [0, 1]])
    assert table.nearest(np.empty((0, 2)), 3).ids.shape == (0, 2)
    assert table.nearest([[1, 0]], 0).ids.shape == (1, 0)


def test_euclidean_keeps_small_distances_apart():
    table = make([[1000, 0.001], [1000, 0.0], [1000, 0.002]])
    found = table.nearest([[1000, 0.0]], 3, "euclidean")
    assert found.ids.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(found.scores, [[0, -0.001, -0.002]], atol=1e-4)


def scores_of(answers):
    return [answer.score for answer in answers]


def test_similarity():
    table = make([[3, 4], [4, 3], [0, 0]])
    assert scores_of(table.similarity(["w0", "w1"])) == [pytest.approx(0.96)]
    assert scores_of(table.similarity(["w0", "w1"], "dot")) == [pytest.approx(24)]
    assert scores_of(table.similarity(["w0", "w1"], "euclidean")) == [pytest.approx(-(2**0.5))]
    assert scores_of(table.similarity(["w0", "w2"])) == [0]
    pairs = [("w0", "w1"), ("w1", "w2")]
    assert scores_of(table.similarity(pairs)) == pytest.approx([0.96, 0])
    with pytest.raises(ValueError, match="expected 2 words"):
        table.similarity(["w0", "w1", "w2"])


def test_no_distance_is_a_plain_zero():
    table = make([[1, 2], [1, 2]])
    scores = table.nearest([[1, 2]], 2, "euclidean").scores[0]
    assert not np.signbit([*scores_of(table.similarity(["w0", "w1"], "euclidean")), *scores]).any()


def brute_analogy(rows, positive, negative, method):
    rows = unit(np.float32(rows)).astype(np.float64)
    if method == "3cosadd":
        wanted = rows[positive].sum(0) - rows[negative].sum(0)
        scores = [cosine(row, wanted) for row in rows]
    else:
        near = np.prod([(1 + rows @ rows[p]) / 2 for p in positive], axis=0)
        far = np.prod([(1 + rows @ rows[n]) / 2 for n in negative], axis=0)
        scores = near / (far + 1e-6)
    order = sorted(range(len(rows)), key=lambda i: -scores[i])
    return [(i, scores[i]) for i in order if i not in positive + negative]


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
@pytest.mark.parametrize("positive, negative", [([0, 1], [2]), ([3], []), ([4, 5, 6], [7, 8])])
def test_analogy_follows_its_formula(method, positive, negative):
    rows = np.random.default_rng(1).normal(size=(50, 8))
    signs = [1] * len(positive) + [-1] * len(negative)
    words = [f"w{i}" for i in positive + negative]
    (found,) = make(rows).analogy(words, 5, method, signs=signs)
    expected = brute_analogy(rows, positive, negative, method)[:5]
    assert words_of(found.neighbors) == [f"w{i}" for i, _ in expected]
    scores = scores_of(found.neighbors)
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-4)


def test_an_analogy_of_planted_vectors():
    words = ["man", "woman", "king", "queen", "apple"]
    rows = np.float32([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [-1, -1, 0]])
    table = EmbeddingTable(Vocabulary(words), rows)
    for method in ("3cosadd", "3cosmul"):
        (found,) = table.analogy(["man", "king", "woman"], 1, method)
        assert words_of(found.neighbors) == ["queen"]


def test_many_questions_at_once_equal_one_by_one():
    rows = np.random.default_rng(2).normal(size=(30, 4))
    table = make(rows)
    questions = [[f"w{i}" for i in ids] for ids in ([1, 2, 3], [4, 5, 6], [7, 8, 9])]
    for method in ("3cosadd", "3cosmul"):
        together = table.analogy(questions, 3, method)
        for question, answer in zip(questions, together, strict=True):
            (alone,) = table.analogy(question, 3, method)
            assert alone.tokens == answer.tokens == tuple(question)
            assert words_of(alone.neighbors) == words_of(answer.neighbors)


def test_the_odd_one_out():
    table = make([[1, 0.1], [10, 0.2], [0, 1], [2, 0.1]])
    (found,) = table.odd(["w0", "w1", "w2", "w3"])
    assert found.odd == found.fits[0].token == "w2"
    assert scores_of(found.fits) == sorted(scores_of(found.fits))
    several = table.odd([["w0", "w2", "w3"], ["w0", "w1"], ["w1", "zz"]], oov="skip")
    assert [answer.tokens for answer in several] == [("w0", "w2", "w3"), ("w0", "w1")]
    assert (several.known, several.unknown) == (6, 1)


def royals():
    words = ["the", "king", "Queen", "café"]
    counts = np.array([9, 5, 3, 1])
    return EmbeddingTable(Vocabulary(words, counts), np.eye(4, dtype=np.float32))


def test_words_stand_as_they_are_or_as_the_tokenizer_spells_them():
    table = royals()
    assert list(table.lookup(["King", "Queen", "cafe\u0301"]).tokens) == ["king", "Queen", "café"]
    assert table["KING"].tolist() == table["king"].tolist()
    assert "King" in table
    assert "queen" not in table
    cased = EmbeddingTable(table.vocabulary, table.vectors, lambda: TextSettings(fold_case=False))
    with pytest.raises(VocabularyError, match="'King'"):
        cased.lookup(["King"])


def test_rows_are_records_that_are_read_when_asked_for():
    found = royals().lookup(["King", "zz", "the"], "zero")
    assert (len(found), found.known, found.unknown) == (3, 2, 1)
    assert [row.index for row in found] == [1, None, 0]
    assert [row.count for row in found] == [5, None, 9]
    assert found[1].vector.tolist() == [0, 0, 0, 0]
    assert (found[-1].token, found[-1].index, found[0].count) == ("the", 0, 5)
    assert found[1:].tokens == ["zz", "the"]
    assert royals().sorted("norm")[1].token == "king"
    assert list(royals().lookup_ids([2, 0]).tokens) == ["Queen", "the"]
    with pytest.raises(VocabularyError, match="index 4"):
        royals().lookup_ids([4])


def test_a_question_with_an_unknown_word_is_left_out_whole():
    table = royals()
    words = ["the", "king", "zz", "king", "café", "the"]
    found = table.lookup(words, "skip", together=2)
    assert list(found.tokens) == ["the", "king", "café", "the"]
    assert (found.known, found.unknown) == (5, 1)
    assert table.neighbors(["zz", "king"], 1, oov="zero")[0].neighbors == ()
    with pytest.raises(VocabularyError, match="'zz'"):
        table.neighbors("king", exclude=["zz"])
    assert len(table.neighbors("king", exclude=["zz", "the"], oov="skip")[0].neighbors) == 2


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-25, 1e-12, 1, 1e12, 1e18, 1e25, 1e38])
def test_cosines_of_very_long_and_very_short_rows(scale):
    near = np.float32([[2, 1, 2], [2, 2, 1], [-2, 0, 1], [0, 0, 0]])
    rows = np.concatenate([np.float32(scale) * near, near])
    table = make(rows)
    exact = rows.astype(np.float64)
    exact /= np.where(exact.any(axis=1), np.linalg.norm(exact, axis=1), 1)[:, None]
    cosines = exact @ exact.T  # (8, 8)
    found = table.nearest(rows, 8)
    for query in (0, 1, 2, 4, 5, 6):
        np.testing.assert_allclose(found.scores[query], -np.sort(-cosines[query]), atol=1e-6)
    pairs = [("w0", "w1"), ("w0", "w4"), ("w2", "w5")]
    expected = [cosines[0, 1], cosines[0, 4], cosines[2, 5]]
    np.testing.assert_allclose(scores_of(table.similarity(pairs)), expected, atol=1e-6)
    assert table.odd(["w0", "w1", "w2"])[0].odd == "w2"
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(table.norms(), norms, rtol=1e-6, atol=1e-45)
    (answer,) = table.analogy(["w0", "w1", "w4"], 1, "3cosmul")
    assert answer.neighbors[0].token == "w5"


def test_unit_leaves_zeros_and_does_not_change_its_argument():
    rows = np.float32([[3, 4], [0, 0]])
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert rows.tolist() == [[3, 4], [0, 0]]


def test_half_and_double_precision_tables_are_read_as_float32():
    for dtype in (np.float16, np.float64):
        table = EmbeddingTable(Vocabulary(["a", "b"]), np.array([[1, 0], [0, 1]], dtype))
        assert table["a"].dtype == np.float32
        assert table.nearest([[1, 0]], 1).ids.tolist() == [[0]]


def test_numbers_beyond_float32_are_not_finite_in_it():
    table = EmbeddingTable(Vocabulary(["a", "b"]), np.float64([[1e300, 1], [1, 2]]))
    np.testing.assert_array_equal(table["a"], np.float32([np.inf, 1]))
    np.testing.assert_array_equal(table.norms(), np.float32([np.inf, 5**0.5]))


def test_a_word_that_is_left_out_is_not_a_question_of_what_is_added_alone():
    table = make([[1, 2], [3, 4], [5, 1]])
    found = table.neighbors("unknown", plus=["w1"], oov="skip")
    assert (len(found), found.known, found.unknown) == (0, 0, 1)
    (alone,) = table.neighbors([], plus=["w1"], oov="skip")
    assert alone.token == "w1"
