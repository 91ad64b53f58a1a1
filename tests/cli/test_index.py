"""`embed index`, and `--approximate` of the commands that use it."""

import json

import pytest

from embedcli.cli import progress

pytest.importorskip("usearch", reason="needs pip install 'embedcli[index]'")


def test_a_model_is_indexed_and_its_neighbours_are_found(embed, model):
    made = embed("index", "--workers", "1")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("embeddings.index  8 × 4, ")
    exact = embed("neighbors", "king", "queen", "-k", "3", "--format", "json")
    near = embed("neighbors", "king", "queen", "-k", "3", "--format", "json", "--approximate")
    assert json.loads(near.out) == json.loads(exact.out)
    exact = embed("analogy", "king", "man", "woman", "--format", "tsv")
    assert embed("analogy", "king", "man", "woman", "--format", "tsv", "--approximate") == exact


def test_json_says_what_was_built(embed, model, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    made = embed("index", "embeddings", "--connectivity", "8", "--expansion", "9", "--format=json")
    found = json.loads(made.out)
    assert found.pop("bytes") > 0
    assert found.pop("seconds") > 0
    assert found == {
        "path": "embeddings.index",
        "words": 8,
        "dim": 4,
        "connectivity": 8,
        "expansion": 9,
    }


def test_what_cannot_be_asked_is_refused(embed, model):
    none = embed("neighbors", "king", "--approximate")
    assert none.code == 1
    assert none.err == "error: embeddings: has no index\nhint: embed index embeddings\n"
    two = embed("neighbors", "king", "--approximate", "-m", "embeddings", "-m", "embeddings")
    assert two.code == 2
    assert "one model" in two.err
    high = embed("index", "--connectivity", "513")
    assert high.code == 1
    assert "expected 2 to 512" in high.err
    assert embed("index", "nowhere").code == 1
