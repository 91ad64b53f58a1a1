"""Words as hashed n-grams: units, marks, buckets."""

import pytest

from embedcli.text.ngrams import hash_texts
from embedcli.text.subwords import Subwords


def ngrams(word, min_n, max_n, unit="grapheme"):
    return [text for text, _ in Subwords(min_n, max_n, 100, unit).spelled(word)]


def test_ngrams_have_the_marks_of_the_word():
    assert ngrams("her", 3, 4) == ["<he", "<her", "her", "her>", "er>"]
    assert ngrams("a", 1, 2) == ["<a", "a", "a>"]
    assert ngrams("a", 4, 6) == []


def test_a_grapheme_keeps_its_marks():
    assert ngrams("लड़की", 2, 2) == ["<ल", "लड़", "ड़की", "की>"]
    assert ngrams("की", 2, 2, "codepoint") == ["<क", "की", "ी>"]
    assert ngrams("kī", 2, 2) == ngrams("kī", 2, 2, "codepoint")


@pytest.mark.parametrize("unit", ["grapheme", "codepoint"])
def test_words_are_hashed_together_as_alone(unit):
    words = ["her", "किताबें", "", "naïve", "x" * 40, "लड़का"] * 3000
    subwords = Subwords(3, 6, 1000, unit)
    owners, buckets = subwords.hashed(words)
    found = [[] for _ in words]
    for owner, bucket in zip(owners.tolist(), buckets.tolist(), strict=True):
        found[owner].append(bucket)
    for place in (0, 1, 2, 3, 4, 5, 17_995):
        alone = subwords.spelled(words[place])
        assert sorted(found[place]) == sorted(bucket for _, bucket in alone)
        hashes = hash_texts([text.encode() for text, _ in alone])
        assert [bucket for _, bucket in alone] == (hashes % 1000).tolist()
