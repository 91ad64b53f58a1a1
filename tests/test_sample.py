"""The bundled texts: clean, made by the script that says so, and good enough to learn from."""

from __future__ import annotations

import runpy
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import regex

import embedcli
from embedcli import api
from embedcli.table import EmbeddingTable

ROOT = Path(__file__).parent.parent
DATA = ROOT / "embedcli" / "data"
ALLOWED = regex.compile(r"""[A-Za-z\p{Devanagari}\u0964 .,;:!?"'-]+""")


def lines_of(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingTable:
    return embedcli.train(out=tmp_path_factory.mktemp("run") / "sample").table


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return lines_of("sample.txt")


def test_texts_are_what_the_script_makes(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "tools" / "make_sample.py"))
    script["main"](tmp_path)
    for name in ("sample.txt", "reviews.txt"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_sample_is_small_and_plain(lines: list[str]) -> None:
    data = (DATA / "sample.txt").read_bytes()
    assert 150_000 <= len(data) <= 500_000
    assert data.endswith(b"\n")
    assert b"\r" not in data
    for line in lines:
        assert ALLOWED.fullmatch(line), line
        assert line == line.strip()
        assert "  " not in line
        assert unicodedata.is_normalized("NFC", line)


def test_sample_holds_both_scripts(lines: list[str]) -> None:
    hindi = sum(1 for line in lines if regex.search(r"\p{Devanagari}", line))
    assert 0.25 < hindi / len(lines) < 0.5


def test_sample_hardly_repeats_itself(lines: list[str]) -> None:
    assert len(set(lines)) == len(lines)
    between = regex.compile(r'(?<=[.!?।]"?) (?=["A-Z\p{Devanagari}])')
    sentences = Counter(sentence for line in lines for sentence in between.split(line))
    assert max(sentences.values()) <= 8
    assert len(sentences) / sentences.total() > 0.7


def test_sample_has_the_words_of_the_question(lines: list[str]) -> None:
    words = set(regex.findall(r"\w+", " ".join(lines).lower()))
    assert words.issuperset(["hope", "to", "see", "you", "soon", "nice", "again", "राजा", "रानी"])


def test_reviews_bear_one_of_two_labels() -> None:
    reviews = lines_of("reviews.txt")
    labels = Counter(line.split(" ", 1)[0] for line in reviews)
    assert labels == {"__label__positive": 200, "__label__negative": 200}
    for line in reviews:
        assert ALLOWED.fullmatch(line.split(" ", 1)[1]), line


def test_each_task_has_a_text_that_comes_along() -> None:
    assert api.sample() == api.sample("cbow") == DATA / "sample.txt"
    assert api.sample("classify") == api.sample(None, {"task": "classify"}) == DATA / "reviews.txt"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("king", "queen prince princess"),
        ("राजा", "रानी राजकुमार"),
        ("man", "woman"),
        ("paris", "rome london berlin athens madrid tokyo cairo delhi moscow beijing kathmandu"),
        ("monday", "tuesday wednesday thursday friday saturday sunday"),
        ("सोमवार", "मंगलवार बुधवार गुरुवार शुक्रवार शनिवार रविवार"),
        ("two", "three four five six seven eight nine ten eleven twelve"),
    ],
)
def test_neighbours_come_out_right(table: EmbeddingTable, word: str, near: str) -> None:
    k = min(3, len(near.split()))
    found = [neighbor.token for neighbor in table.neighbors(word, k)[0].neighbors]
    assert {*near.split()}.issuperset(found), found


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        ("man", "king", "woman", "queen"),
        ("king", "man", "queen", "woman"),
        ("boy", "girl", "prince", "princess"),
        ("france", "paris", "italy", "rome"),
        ("आदमी", "औरत", "राजा", "रानी"),
    ],
)
def test_analogies_come_out_right(table: EmbeddingTable, a: str, b: str, c: str, d: str) -> None:
    found = table.analogy([a, b, c], 3)[0].neighbors
    assert found[0].token == d, found
