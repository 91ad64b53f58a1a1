from __future__ import annotations

import json

import pytest

TWO = "Hope to see you soon\nNice to see you again\n"


def test_a_word(embed, stdin):
    stdin(TWO)
    found = embed("count", "-", "--word", "see", "-k", "3")
    assert (found.code, found.err) == (0, "")
    assert found.out == (
        "see (2 times; 6 words near it, total 6)\n"
        "  count     PMI    PPMI  word\n"
        "      2  0.4120  0.4120  to\n"
        "      2  0.4120  0.4120  you\n"
        "    0.5  0.0263  0.0263  hope\n"
    )


def test_the_matrix_of_a_small_vocabulary(embed, stdin):
    stdin("a b a\n")
    assert embed("count", "-").out == "   a  b\na  1  2\nb  2\n"


def test_a_pair_and_tsv(embed, stdin):
    stdin(TWO)
    found = embed("count", "-", "--pair", "see", "you", "--format", "tsv")
    assert found.out == "see\tyou\t2\t0.41198\n"
    stdin(TWO)
    found = embed("count", "-", "--weighting", "plain", "--word", "hope", "--format", "tsv", "-k1")
    assert found.out == "hope\tto\t1\t0.223144\n"
    stdin(TWO)
    assert embed("count", "-", "--pair", "hope", "nice", "--format", "tsv").out == (
        "hope\tnice\t0\t\n"
    )


def test_the_pairs_of_a_larger_vocabulary(embed, stdin):
    stdin(TWO + "one two three four five six seven eight\n" * 3)
    lines = embed("count", "-", "-k", "2").out.splitlines()
    assert lines[0].startswith("15 × 15 words, 90 cells")
    assert lines[2:] == ["    3  1.3935  1.3935  one   two", "    3  1.0157  1.0157  two   three"]


def test_saved_counts(embed, stdin):
    stdin(TWO)
    saved = embed("count", "-", "--out", "counts", "--format", "json")
    assert saved.err == "counts/cells.npz  7 × 7 words, 34 cells, total 25.6667\n"
    assert embed("count", "counts", "--format", "json").out == saved.out
    assert json.loads(saved.out)["words"] == 7
    assert embed("count", "counts", "--word", "seee").code == 1


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--memory", "64m"], "memory: found 64.0 MiB; expected at least 256.0 MiB"),
        (["--memory", "much"], "expected a size (512m, 2g)"),
        (["--word", "a", "--pair", "a", "b"], "give --word or --pair, not both"),
    ],
)
def test_what_is_wrong_is_said(embed, stdin, argv, problem):
    stdin("a b\n")
    found = embed("count", "-", *argv)
    assert found.code in (1, 2)
    assert problem in found.err
