"""Unknown words whose vectors are composed: everywhere that words are looked up."""

import numpy as np
import pytest

from embedcli import evaluation
from embedcli.errors import VocabularyError
from embedcli.evaluation import Pair, Question
from embedcli.prediction import vectors_of_lines
from embedcli.table import COMPOSED, UNKNOWN, EmbeddingTable, Part
from embedcli.text.vocabulary import Coverage, Vocabulary

WORDS = ["ab", "abc", "b", "cab"]


ROWS = dict(zip("abc", np.eye(3, dtype=np.float32), strict=True))  # of letters


class Letters:
    """Composes a word as the mean of its letters' rows; only a, b and c have one."""

    def compose(self, words):
        vectors = np.zeros((len(words), 3), np.float32)
        for word, vector in zip(words, vectors, strict=True):
            parts = self.parts(word)
            vector += sum(part.weight * ROWS[part.text] for part in parts)
        return vectors, np.array([bool(self.parts(word)) for word in words], bool)

    def parts(self, word):
        known = [letter for letter in word if letter in ROWS]
        return [Part(each, "abc".index(each), 1 / len(known)) for each in known]


def mean_of(word):
    return np.mean([ROWS[letter] for letter in word], axis=0)


TABLE = EmbeddingTable(
    Vocabulary(WORDS, np.array([4, 3, 2, 1])),
    np.array([mean_of(word) for word in WORDS], np.float32),
    composer=Letters,
)
PLAIN = EmbeddingTable(TABLE.vocabulary, TABLE.vectors)


def test_unknown_words_are_composed_where_the_table_can():
    found = TABLE.lookup(["ab", "BA", "x", "acc"], otherwise="zero")
    assert found.ids.tolist() == [0, COMPOSED, UNKNOWN, COMPOSED]
    assert list(found.tokens) == ["ab", "ba", "x", "acc"]
    assert (found.known, found.unknown, found.composed) == (1, 3, 2)
    expected = [mean_of("ab"), mean_of("ab"), np.zeros(3), mean_of("acc")]
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-6)
    assert [(row.index, row.composed) for row in found] == [
        (0, False), (None, True), (None, False), (None, True),
    ]  # fmt: skip
    assert found[3].composed and found[1:].composed == 2
    assert [row.tolist() for row in found[3:].vectors] == [found[3].vector.tolist()]


def test_a_word_without_known_parts_is_treated_as_unknown():
    with pytest.raises(VocabularyError, match="'xyz'"):
        TABLE.lookup(["ba", "xyz"])
    assert len(TABLE.lookup(["ba", "xyz"], otherwise="skip")) == 1
    assert "ba" not in TABLE  # it has a vector, but no row
    np.testing.assert_allclose(TABLE["ba"], mean_of("ab"), rtol=1e-6)


@pytest.mark.parametrize("oov", ["error", "skip", "zero"])
def test_other_policies_do_not_compose(oov):
    if oov == "error":
        with pytest.raises(VocabularyError, match="'ba'"):
            TABLE.lookup(["ba"], oov)
    else:
        found = TABLE.lookup(["ba", "ab"], oov)
        assert found.ids.tolist() == ([0] if oov == "skip" else [UNKNOWN, 0])
        assert found.composed == 0


def test_a_table_without_parts_cannot_compose():
    with pytest.raises(VocabularyError, match="no parts of words") as error:
        PLAIN.lookup(["ab"], "compose")
    assert "--config subword" in error.value.hint
    with pytest.raises(VocabularyError, match="'ba'"):
        PLAIN.lookup(["ba"])


def test_questions_about_composed_words():
    near = TABLE.neighbors(["ba"], 2)
    assert [each.token for each in near[0].neighbors] == ["ab", "abc"]
    assert (near.known, near.unknown, near.composed) == (0, 1, 1)
    same = TABLE.similarity(["ba", "ab"])
    assert same[0].score == pytest.approx(1)
    assert same.composed == 1
    # b - a + c: the word that is known gives the answer of the one composed of the same letters
    known = PLAIN.analogy(["ab", "abc", "b"], 2)
    composed = TABLE.analogy(["ba", "bca", "b"], 4)
    assert composed.composed == 2
    answers = {each.token: each.score for each in composed[0].neighbors}
    assert answers["cab"] == pytest.approx(known[0].neighbors[0].score)
    assert TABLE.odd(["ab", "ba", "ccc"])[0].odd == "ccc"
    assert TABLE.odd(["ab", "ba", "ccc"]).composed == 2


def test_texts_of_composed_words(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("ab ba\nxyz ab\nxyz\n\nacc\n")
    coverage = Coverage()
    (rows,) = vectors_of_lines(TABLE, [text], coverage)
    expected = [mean_of("ab"), mean_of("ab"), np.zeros(3), np.zeros(3), mean_of("acc")]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert (coverage.known, coverage.unknown, coverage.composed) == (2, 4, 2)
    # A word that the corpus does not have weighs 1; "ab" has four tenths of it.
    (rows,) = vectors_of_lines(TABLE, [text], Coverage(), sif=0.1)
    np.testing.assert_allclose(rows[4], mean_of("acc"), rtol=1e-6)
    np.testing.assert_allclose(rows[0], mean_of("ab") * (0.1 / 0.5 + 1) / 2, rtol=1e-6)


def test_many_lines_of_composed_words(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("ba\ncca b\n" * 300)
    rows = np.concatenate(list(vectors_of_lines(TABLE, [text], Coverage())))
    expected = [mean_of("ba"), (mean_of("cca") + mean_of("b")) / 2] * 300
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_evaluation_of_composed_words():
    pairs = [Pair("ba", "ab", 9), Pair("b", "cab", 5), Pair("b", "ccc", 1), Pair("xyz", "b", 2)]
    found = evaluation.similarity(TABLE, pairs)
    assert (found.used, found.skipped) == (3, 1)
    assert (found.known_words, found.unknown_words, found.composed_words) == (5, 3, 2)
    assert found.spearman == pytest.approx(1)
    assert evaluation.similarity(TABLE, pairs, oov="skip").used == 1
    assert evaluation.similarity(PLAIN, pairs).used == 1
    questions = {"": [Question("ba", "bca", "b", ("cab",)), Question("ab", "abc", "b", ("bb",))]}
    answered = evaluation.analogies(TABLE, questions)
    assert (answered.total.used, answered.total.skipped, answered.composed_words) == (1, 1, 3)
    assert evaluation.analogies(PLAIN, questions).total.used == 0
