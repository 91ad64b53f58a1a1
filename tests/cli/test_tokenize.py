from __future__ import annotations

import json

import numpy as np
import pytest

ENGLISH = "Hope to see you soon\nNice to see you again\n"
HINDI = "आपसे मिलने की उम्मीद है\nआपसे दोबारा मिलकर अच्छा लगा\n"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (ENGLISH, "0 1 2 3 4\n5 1 2 3 6\n"),
        (HINDI, "0 1 2 3 4\n0 5 6 7 8\n"),
        ("a\n\nb", "0\n\n1\n"),
        ("\n", "\n"),
        ("", ""),
        ("a b\r\nA", "0 1\n0\n"),
        ("a\u2028b\x85c\x0cd\n", "0 1 2 3\n"),
    ],
)
@pytest.mark.parametrize("argv", [[], ["-"]])
def test_ids_by_first_appearance(embed, stdin, text, ids, argv):
    stdin(text)
    assert embed("tokenize", *argv) == (0, ids, "")


def test_tokens_and_json(embed, stdin):
    stdin("Hope to\n\nTo")
    assert embed("tokenize", "--format", "tokens").out == "hope to\n\nto\n"
    stdin("Hope to\n\nTo")
    lines = embed("tokenize", "--format", "json").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        [{"token": "hope", "id": 0}, {"token": "to", "id": 1}],
        [],
        [{"token": "to", "id": 1}],
    ]


def test_labels_are_no_words(embed, stdin):
    stdin("__label__a red __label__b\nred\n")
    assert embed("tokenize", "--format", "tokens") == (0, "red\nred\n", "")
    stdin("red #a\n")
    assert embed("tokenize", "--format", "tokens", "--label-prefix", "#").out == "red\n"


def test_words_that_are_too_long_are_counted(embed, stdin):
    for options in ([], ["--min-count", "1", "--max-vocab", "9"]):
        stdin(f"a {'b' * 2000} {'b' * 2000}\n")
        found = embed("tokenize", *options)
        assert found == (0, "0\n", "2 words of over 1,000 characters left out\n")
    stdin("a" * 2000)
    assert embed("tokenize", "-q") == (0, "\n", "")


def test_words_that_folding_never_meets(embed, stdin, tmp_path):
    (tmp_path / "v.txt").write_text("soon\nKing\nQueen\nsee\n")
    stdin("see King")
    found = embed("tokenize", "--vocab", "v.txt", "--oov", "skip")
    assert found.out == "3\n"
    assert "v.txt: 2 words can never be found, such as 'King'" in found.err
    stdin("see King")
    found = embed("tokenize", "--vocab", "v.txt", "--no-fold-case")
    assert found == (0, "3 1\n", "2 found, 0 not in the vocabulary\n")


def test_an_empty_vocabulary(embed, stdin, tmp_path):
    (tmp_path / "v.txt").touch()
    stdin("see")
    found = embed("tokenize", "--vocab", "v.txt", "--oov", "skip")
    assert found == (0, "\n", "0 found, 1 not in the vocabulary\n")


def test_files_are_read_in_order(embed, tmp_path):
    (tmp_path / "b.txt").write_text("one two\n")
    (tmp_path / "a.txt").write_text("two three\n")
    assert embed("tokenize", "b.txt", "a.txt").out == "0 1\n1 2\n"


def test_saved_ids_and_vocabulary(embed, stdin, tmp_path):
    stdin(HINDI)
    assert embed("tokenize", "--save-ids", "ids.npy", "--save-vocab", "v.txt").code == 0
    ids = np.load(tmp_path / "ids.npy", allow_pickle=False)
    assert ids.dtype == np.int32
    assert ids.tolist() == [0, 1, 2, 3, 4, 0, 5, 6, 7, 8]
    words = (tmp_path / "v.txt").read_text(encoding="utf-8").splitlines()
    assert words[:2] == ["आपसे", "मिलने"]
    assert len(words) == 9


@pytest.mark.parametrize(("oov", "ids"), [("skip", "1\n\n"), ("unknown", "1 -1\n-1\n")])
def test_words_outside_a_given_vocabulary(embed, stdin, tmp_path, oov, ids):
    (tmp_path / "v.txt").write_text("soon\nsee\n")
    stdin("See you\nagain\n")
    found = embed("tokenize", "--vocab", "v.txt", "--oov", oov)
    assert found == (0, ids, "1 found, 2 not in the vocabulary\n")
    stdin("See you\nagain\n")
    assert embed("tokenize", "--vocab", "v.txt", "--oov", oov, "-q").err == ""


def test_a_word_outside_a_given_vocabulary_is_an_error(embed, stdin, tmp_path):
    (tmp_path / "v.txt").write_text("soon\nsee\n")
    stdin("sea\n")
    found = embed("tokenize", "--vocab", "v.txt")
    assert found.code == 1
    assert "'sea' is not in the vocabulary" in found.err
    assert "see" in found.err


def test_rare_words_left_out_are_numbered_without_gaps(embed, stdin):
    stdin("a b c b\nc d\n")
    assert embed("tokenize", "--min-count", "2").out == "0 1 0\n1\n"


def test_whitespace_tokens_keep_their_case_when_asked(embed, stdin):
    stdin("A, a\n")
    found = embed("tokenize", "--tokenizer", "whitespace", "--no-fold-case", "--format", "tokens")
    assert found.out == "A, a\n"


def test_an_encoding_error_names_file_and_line(embed, tmp_path):
    (tmp_path / "latin.txt").write_bytes("ok\ncaf\xe9\n".encode("latin-1"))
    found = embed("tokenize", "latin.txt")
    assert found.code == 1
    assert found.err.startswith("error: latin.txt:2: ")
    assert embed("tokenize", "latin.txt", "--encoding", "latin-1").code == 0


def test_ids_that_cannot_be_written(embed, stdin):
    stdin("a\n")
    found = embed("tokenize", "--save-ids", "nowhere/ids.npy")
    assert found.code == 1
    assert "nowhere/ids.npy" in found.err
