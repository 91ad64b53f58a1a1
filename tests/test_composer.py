"""Vectors of unknown words, composed of those of words spelt like them."""

import numpy as np
import pytest

from embedcli.composer import NOISE, PREDICTION, RARE, Parts, SubwordComposer
from embedcli.quantize import Int8Rows
from embedcli.text.similar import SimilarWords
from embedcli.text.spelling import likeness
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary

WORDS = ["receive", "received", "relieve", "government", "movement", "the", "लड़की", "लड़के", "किताबें"]
COUNTS = [500, 300, 20, 1000, 2, 90_000, 70, 1, 0]
UNKNOWN = ["recieve", "goverment", "लडकी", "किताबे", "they"]
NOTHING = np.zeros(0, np.int32)
PARTS = Parts(Subwords(3, 6, 1000), NOTHING, NOTHING)
VECTORS = np.random.default_rng(0).normal(1, 1, (len(WORDS), 5)).astype(np.float32)


def composer(words=WORDS, counts=COUNTS, vectors=VECTORS):
    known = None if counts is None else np.array(counts)
    return SubwordComposer(Vocabulary(words, known), vectors, PARTS)


def weights(word, **of):
    return {part.text: part.weight for part in composer(**of).parts(word)}


@pytest.mark.parametrize("counts", [COUNTS, None])
@pytest.mark.parametrize("word", UNKNOWN)
def test_weights_are_those_of_words_meant_and_of_the_prediction(counts, word):
    found = SimilarWords(Vocabulary(WORDS)).find(word)
    use = [place for place, each in enumerate(found.ids) if counts is None or counts[each]]
    ids, alike = found.ids[use], found.alike[use]
    trust = np.ones(len(use)) if counts is None else 1 / (1 + RARE / np.array(counts)[ids])
    kernel = found.kernel[np.ix_(use, use)] ** 2
    predicted = np.linalg.inv(kernel + np.diag(NOISE / trust)) @ alike**2
    meant = alike**3 * likeness(word, [WORDS[each] for each in ids]) ** 8 * trust
    expected = (meant + PREDICTION * predicted) / (meant.sum() + PREDICTION)
    by_word = weights(word, counts=counts)
    sizes = list(map(abs, by_word.values()))
    assert sizes == sorted(sizes, reverse=True)
    np.testing.assert_allclose([by_word[WORDS[each]] for each in ids], expected, rtol=1e-5)
    assert sum(map(bool, by_word.values())) == len(use)
    mean = VECTORS.mean(axis=0)
    vectors, composed = composer(counts=counts).compose([word])
    assert composed.tolist() == [True]
    np.testing.assert_allclose(vectors[0], mean + expected @ (VECTORS[ids] - mean), rtol=1e-5)


def test_the_word_that_is_meant_weighs_most():
    for wrong, right in zip(
        UNKNOWN, ["receive", "government", "लड़की", "किताबें", "the"], strict=True
    ):
        assert next(iter(weights(wrong, counts=None))) == right


def test_rare_words_weigh_less():
    often, rarely = weights("walken", words=["walked", "walker"], counts=[10**6, 3]).values()
    assert often > 5 * rarely
    assert weights("walken", words=["walked"], counts=[0]) == {"walked": 0}


def test_a_word_with_a_mistake_has_nearly_the_vector_of_the_one_that_is_meant():
    words = ["government", *(f"{stem}ment" for stem in ("move", "pave", "base"))]
    found = weights("goverment", words=words, counts=None)
    assert found["government"] > 0.6 > 0.2 > list(found.values())[1]
    new = weights("governable", words=words, counts=None)  # by the prediction, mostly
    assert new["government"] < 0.5


def test_a_word_without_an_ngram_in_common_is_not_composed():
    vectors, composed = composer().compose(["ж", "recieve", "0"])
    assert composed.tolist() == [False, True, False]
    assert not vectors[[0, 2]].any()
    assert composer().parts("ж") == []
    empty = composer([], [], np.zeros((0, 5), np.float32))
    assert empty.compose(["a"])[1].tolist() == [False]


def test_a_word_has_the_same_vector_alone_and_among_many():
    together, _ = composer().compose(UNKNOWN)
    alone = [composer().compose([word])[0][0] for word in UNKNOWN]
    np.testing.assert_array_equal(together, alone)
    one = composer()
    assert one.compose(UNKNOWN)[0].tobytes() == one.compose(UNKNOWN)[0].tobytes()


def test_rows_in_few_bytes_compose_nearly_the_same():
    small = composer(vectors=Int8Rows.of(VECTORS, 1))
    np.testing.assert_allclose(small.compose(UNKNOWN)[0], composer().compose(UNKNOWN)[0], atol=0.03)
