from __future__ import annotations

import json
import math

import numpy as np
import pytest

from embedcli.config import TrainSettings
from embedcli.store import Model, save
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

# Man and king lie apart as woman and queen do; a river lies elsewhere.
PLACES = {
    "man": (1, 0, 0),
    "woman": (1, 1, 0),
    "king": (1, 0, 1),
    "queen": (1, 1, 1),
    "prince": (1, 0.1, 0.9),
    "river": (-1, 0.2, -0.3),
}


@pytest.fixture
def royals(tmp_path):
    vectors = np.array(list(PLACES.values()), np.float32)
    ones = np.ones(len(vectors), np.int64)
    table = EmbeddingTable(Vocabulary(PLACES, ones), vectors)
    settings = TrainSettings(dim=3)
    save(
        tmp_path / "embeddings",
        Model(table=table, settings=settings, trained=ones, first_lines=ones),
    )
    return table


def cosine(one: str, two: str) -> float:
    a, b = np.array(PLACES[one]), np.array(PLACES[two])
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def test_neighbors(embed, royals):
    found = embed("neighbors", "king", "-k", "2")
    assert found.out == "king\n   0.9959  prince\n   0.8165  queen\n"
    answer = json.loads(embed("neighbors", "king", "--format", "json").out)
    assert answer[0]["token"] == "king"
    assert [n["token"] for n in answer[0]["neighbors"]][:2] == ["prince", "queen"]
    assert len(answer[0]["neighbors"]) == 5
    assert answer[0]["neighbors"][1]["score"] == pytest.approx(cosine("king", "queen"), abs=1e-5)


def test_neighbors_by_other_metrics_and_without_some_words(embed, royals):
    by_distance = embed("neighbors", "king", "-k", "1", "--metric", "euclidean", "--format", "tsv")
    assert by_distance.out == f"king\tprince\t{-math.sqrt(0.02):.6g}\n"
    by_product = embed("neighbors", "king", "-k", "1", "--metric", "dot", "--format", "tsv")
    assert by_product.out == "king\tqueen\t2\n"
    without = embed("neighbors", "king", "-k", "1", "--exclude", "prince", "--format", "tsv")
    assert without.out.startswith("king\tqueen\t")


def test_questions_from_stdin(embed, royals, stdin):
    stdin("king\nzzzz\nman\n")
    found = embed("neighbors", "-k", "1", "--oov", "skip", "--format", "tsv")
    assert [line.split("\t")[0] for line in found.out.splitlines()] == ["king", "man"]
    assert found.err == "1 not in the vocabulary\n"
    stdin("man king woman\n")
    assert embed("analogy", "-k", "1", "--format", "tsv").out.startswith("man\tking\twoman\tqueen")
    stdin("king\tqueen\n")
    assert embed("similarity", "--format", "tsv").out.startswith("king\tqueen\t0.816")
    stdin("man woman river\n")
    assert json.loads(embed("odd", "--format", "json").out)[0]["odd"] == "river"


def test_an_unknown_word_is_an_error(embed, royals):
    found = embed("neighbors", "kin")
    assert (found.code, found.out) == (1, "")
    assert "king" in found.err


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_analogy(embed, royals, method):
    found = embed("analogy", "man", "king", "woman", "--method", method, "--format", "json")
    answer = json.loads(found.out)[0]
    assert answer["tokens"] == ["man", "king", "woman"]
    assert answer["neighbors"][0]["token"] == "queen"
    assert embed("analogy", "man", "king").code == 2


def test_similarity(embed, royals):
    found = embed("similarity", "king", "queen", "king", "river", "--format", "json")
    assert json.loads(found.out) == [
        {"tokens": ["king", "queen"], "score": pytest.approx(cosine("king", "queen"), abs=1e-6)},
        {"tokens": ["king", "river"], "score": pytest.approx(cosine("king", "river"), abs=1e-6)},
    ]


def test_odd(embed, royals):
    found = embed("odd", "king", "queen", "river", "man")
    assert found.out.splitlines()[1].endswith("  river")
    answer = json.loads(embed("odd", "king", "queen", "river", "--format", "json").out)[0]
    assert answer["odd"] == "river"
    assert {fit["token"] for fit in answer["fits"]} == {"king", "queen", "river"}
    assert answer["fits"][0]["score"] < answer["fits"][1]["score"]


def test_json_of_no_question(embed, royals, stdin):
    stdin("")
    assert embed("neighbors", "--format", "json").out == "[]\n"
