"""Words of a vocabulary that are spelt like another one."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from embedcli.text.similar import CANDIDATES, SimilarWords
from embedcli.text.spelling import likeness
from embedcli.text.vocabulary import Vocabulary

WORDS = ["receive", "relieve", "sieve", "banana", "the", "Ärger", "लड़की", "लड़के", "𝒳𝒳𝒳"]


def similar(words, word):
    found = SimilarWords(Vocabulary(words)).find(word)
    return dict(zip([words[each] for each in found.ids], found.alike.tolist(), strict=True))


def sorted_ngrams(word):
    marked = f"<{word}>"
    return {
        "".join(sorted(marked[start : start + n]))
        for n in (2, 3)
        for start in range(len(marked) - n + 1)
    }


def cosine(words, one, two):
    """Return the cosine of two words, counted n-gram by n-gram."""
    known = Counter(chain.from_iterable(map(sorted_ngrams, words)))

    def total(ngrams):
        return sum(max(known[each], 1) ** -0.25 for each in ngrams)

    first, second = sorted_ngrams(one), sorted_ngrams(two)
    return total(first & second) / np.sqrt(total(first) * total(second))


def test_likeness_is_one_less_the_distance_by_the_longer_word():
    words = ["receive", "recieve", "recieves", "xxxx", "r"]
    assert likeness("recieve", words).tolist() == pytest.approx([6 / 7, 1, 7 / 8, 0, 1 / 7])
    assert likeness("लड़की", ["लड़के"]).tolist() == pytest.approx([4 / 5])
    assert likeness("a", []).tolist() == []


@pytest.mark.parametrize("word", ["recieve", "anna", "th", "erger", "लडकी", "𝒳𝒳"])
def test_words_are_compared_by_their_sorted_ngrams(word):
    found = SimilarWords(Vocabulary(WORDS)).find(word)
    expected = np.array([cosine(WORDS, word, each) for each in WORDS])
    order = np.argsort(-expected, kind="stable")[: np.count_nonzero(expected)]
    assert found.ids.tolist() == order.tolist()
    np.testing.assert_allclose(found.alike, expected[order])
    chosen = [WORDS[each] for each in found.ids]
    kernel = [[cosine(WORDS, one, two) for two in chosen] for one in chosen]
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-12)


def test_swapped_letters_leave_words_alike():
    words = ["receive", "recited", "relieve", "believe", "recipe"]
    found = similar(words, "recieve")
    assert next(iter(found)) == "receive"
    assert found["receive"] > 0.7
    assert similar(["abc"], "bac")["abc"] == similar(["abc"], "acb")["abc"]
    assert next(iter(similar(["लड़का", "लकड़ी", "लड़की"], "लडकी"))) == "लड़की"


def test_the_most_alike_are_returned_and_ties_are_by_id():
    many = [f"walk{number:03}" for number in range(300)]
    found = SimilarWords(Vocabulary(many)).find("walk")
    assert len(found.ids) == CANDIDATES
    assert (np.diff(found.alike) <= 0).all()
    ties = np.diff(found.alike) == 0
    assert ties.any() and (np.diff(found.ids)[ties] > 0).all()


@pytest.mark.parametrize(("words", "word"), [(WORDS, "ж"), ([], "walk"), (["a"], ""), (WORDS, "")])
def test_there_are_none_without_an_ngram_in_common(words, word):
    found = SimilarWords(Vocabulary(words)).find(word)
    assert (found.ids.shape, found.alike.shape, found.kernel.shape) == ((0,), (0,), (0, 0))


def test_words_of_any_length_and_any_characters():
    assert similar(["abc"], "abc\udcff") != {}
    assert next(iter(similar(["ab" * 5000, "abc"], "ba" * 5000))) == "ab" * 5000
