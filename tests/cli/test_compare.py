from __future__ import annotations

import json

import numpy as np
import pytest

from embedcli.config import TrainSettings
from embedcli.model import Model, save_model
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

WORDS = ["the", "king", "queen", "राजा", "रानी", "<b>x", "river"]


def save(folder, seed, words=WORDS, dim=4):
    vectors = np.random.default_rng(seed).normal(size=(len(words), dim)).astype(np.float32)
    ones = np.ones(len(words), np.int64)
    table = EmbeddingTable(Vocabulary(words, np.arange(len(words), 0, -1)), vectors)
    save_model(folder, Model(table=table, settings=TrainSettings(dim=dim), trained=ones,
                             first_lines=ones))  # fmt: skip


@pytest.fixture
def pair(tmp_path):
    save(tmp_path / "one", 1)
    save(tmp_path / "two", 2, [*WORDS[1:], "only"])


def test_a_table_of_the_most_and_least_moved(embed, pair):
    found = embed("compare", "one", "two", "--top", "2")
    assert found.code == 0, found.err
    assert "compared      6 of 6 common words" in found.out
    assert "only in one   1: the" in found.out
    assert "not centred" in found.out
    assert found.out.count("nearest in one") == 2
    assert all(len(line) <= 80 for line in found.out.splitlines())
    assert "centred, then" in embed("compare", "one", "two", "--center").out


def test_words_that_are_asked_for(embed, pair):
    found = json.loads(embed("compare", "one", "two", "राजा", "KING", "--format", "json").out)
    assert [word["token"] for word in found["asked"]] == ["राजा", "king"]
    assert found["test"] is None
    unknown = embed("compare", "one", "two", "quen")
    assert unknown.code == 1 and "queen" in unknown.err
    lone = embed("compare", "one", "two", "the")
    assert lone.code == 1 and "not in all tables" in lone.err


def test_every_word_in_tsv(embed, pair):
    lines = embed("compare", "one", "two", "--format", "tsv", "-k", "2").out.splitlines()
    assert lines[0].split("\t")[:4] == ["token", "count_a", "count_b", "moved"]
    moved = [float(line.split("\t")[3]) for line in lines[1:]]
    assert len(moved) == 6 and moved == sorted(moved, reverse=True)
    assert all(len(line.split("\t")[8].split()) == 2 for line in lines[1:])


def test_folders_of_models_are_replicas(embed, tmp_path):
    for seed in range(3):
        save(tmp_path / "a" / str(seed), seed)
        save(tmp_path / "b" / str(seed), 10 + seed)
    (tmp_path / "a" / "0.previous").mkdir()
    found = embed("compare", "a", "b")
    assert "3 models of 7 words × 4" in found.out
    assert "permutation test, 10 splits" in " ".join(found.out.split())
    one = json.loads(embed("compare", "a/0", "b", "--format", "json").out)
    assert one["models"] == [1, 3] and one["test"]["splits"] == 4


def test_what_cannot_be_compared(embed, pair, tmp_path):
    missing = embed("compare", "one", "three")
    assert missing.code == 1 and "three" in missing.err
    (tmp_path / "empty").mkdir()
    assert embed("compare", "one", "empty").code == 1
    assert embed("compare", "one").code == 2


def test_html_is_escaped(pair, tmp_path):
    import embedcli

    page = embedcli.compare(tmp_path / "one", tmp_path / "two")._repr_html_()
    assert "&lt;b&gt;x" in page and "<b>" not in page
