"""Hashes by the book: byte by byte, in Python's integers, after fastText's `dictionary.cc`."""

import numpy as np
import pytest

from embedcli.text.ngrams import character_ngrams, hash_texts, word_ngrams

WORDS = ["", "a", "word", "naïve", "हिन्दी", "東京", "a" * 40]


def fnv(data):
    value = 2166136261
    for byte in data:
        value = ((value ^ (byte if byte < 128 else byte - 256)) * 16777619) % 2**32
    return value


def characters_by_the_book(text, shortest, longest):
    for length in range(shortest, longest + 1):
        for start in range(len(text) - length + 1):
            if length > 1 or 0 < start < len(text) - 1:
                yield text[start : start + length]


def test_hashes_of_whole_words():
    encoded = [word.encode() for word in WORDS] + [b"\xff\x80"]
    assert hash_texts(encoded).tolist() == [fnv(word) for word in encoded]
    assert hash_texts([]).tolist() == []


@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, 3), (3, 6), (2, 50), (4, 3)])
def test_character_ngrams(shortest, longest):
    texts = ["", *(f"<{word}>" for word in WORDS)]
    joined = "".join(texts).encode()
    found = [[] for _ in texts]
    for ngrams in character_ngrams([text.encode() for text in texts], shortest, longest):
        assert (np.diff(ngrams.owners) >= 0).all()
        for owner, hashed, start, end in zip(*ngrams, strict=True):
            assert hashed == fnv(joined[start:end])
            found[owner].append(joined[start:end].decode())
    expected = [list(characters_by_the_book(text, shortest, longest)) for text in texts]
    assert found == expected


def test_continuation_bytes_belong_to_the_character_before_them():
    (ngrams,) = character_ngrams([b"<\x80\x80>"], 1, 1)
    assert ngrams.hashes.tolist() == []
    (ngrams,) = character_ngrams([b"<\x80a>"], 1, 1)
    assert ngrams.hashes.tolist() == [fnv(b"a")]


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
def test_word_ngrams(longest):
    lines = [["a", "word", "naïve"], [], ["हिन्दी"], ["a", "a", "a", "a"], ["word", "東京"], []]
    words = [word.encode() for line in lines for word in line]
    offsets = np.cumsum([0, *map(len, lines)])
    found = [
        (length, int(owner), int(hashed))
        for length, grams in enumerate(word_ngrams(hash_texts(words), offsets, longest), 2)
        for owner, hashed in zip(*grams, strict=True)
    ]
    expected = []
    for length in range(2, longest + 1):
        for owner, line in enumerate(lines):
            for start in range(len(line) - length + 1):
                value = 0
                for word in line[start : start + length]:
                    hashed = fnv(word.encode())
                    signed = hashed - 2**32 if hashed >= 2**31 else hashed
                    value = (value * 116049371 + signed) % 2**64
                expected.append((length, owner, value))
    assert found == expected
