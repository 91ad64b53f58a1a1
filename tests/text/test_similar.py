"""Words of a vocabulary that are spelt like another one."""

import numpy as np
import pytest

from embedcli.text.similar import HALF_COUNT, MOST, SimilarWords
from embedcli.text.spelling import likeness
from embedcli.text.vocabulary import Vocabulary


def similar(words, word, counts=None):
    vocabulary = Vocabulary(words, None if counts is None else np.array(counts))
    ids, weights = SimilarWords(vocabulary).weights(word)
    return dict(zip(vocabulary.tokens(ids.tolist()), weights.tolist(), strict=True))


def test_likeness_is_one_less_the_distance_by_the_longer_word():
    words = ["receive", "recieve", "recieves", "xxxx", "r"]
    assert likeness("recieve", words).tolist() == pytest.approx([6 / 7, 1, 7 / 8, 0, 1 / 7])
    assert likeness("लड़की", ["लड़के"]).tolist() == pytest.approx([4 / 5])
    assert likeness("a", []).tolist() == []


def test_weights_are_by_ngrams_and_distance():
    found = similar(["receive", "recite", "sieve", "other"], "recieve")
    assert list(found) == ["receive", "recite", "sieve"]
    # <re, rec and ve> are three of each word's seven n-grams of three characters.
    cosine, alike = 3 / 7, 6 / 7
    assert found["receive"] == pytest.approx(cosine**3 * alike**8, rel=1e-5)


def test_rare_words_weigh_less():
    often, rarely = similar(["walked", "walker"], "walken", [100_000, HALF_COUNT]).values()
    assert often / rarely == pytest.approx(2, rel=0.01)
    assert similar(["walked"], "walken", [0]) == {}


def test_there_are_a_few_words_or_none():
    many = [f"walk{number:03}" for number in range(300)]
    found = similar(many, "walk0")
    assert len(found) == MOST
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert similar(many, "ж") == similar([], "walk") == similar(many, "") == {}
    assert similar(["abc"], "abc\udcff") != {}
