"""The index of a model: what a search by it finds, and which index is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.errors import ConfigError, FormatError, StoreError
from embedcli.indexing import GRAPH, index_path
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

pytest.importorskip("usearch", reason="needs pip install 'embedcli[index]'")
WORDS, DIM = 1500, 12


def save(folder: Path, seed: int = 1, rows: np.ndarray | None = None) -> Path:
    if rows is None:
        rows = np.random.default_rng(seed).normal(size=(WORDS, DIM)).astype(np.float32)
    words = Vocabulary([f"w{number}" for number in range(len(rows))])
    embedcli.convert(EmbeddingTable(words, rows), folder, "model")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = save(tmp_path / "model")
    embedcli.index(folder, workers=1)
    return folder


def both(ask):
    """Return exact and approximate answers as pairs of lists of neighbours."""
    exact, near = ask(approximate=False), ask(approximate=True)
    assert [each.neighbors for each in near] != [()] * len(near)
    return [(one.neighbors, other.neighbors) for one, other in zip(exact, near, strict=True)]


def test_most_of_the_nearest_are_found_with_their_exact_scores(model):
    table = embedcli.load(model)
    asked = list(table.vocabulary)[::5]
    shared = 0
    for exact, near in both(lambda **how: table.neighbors(asked, k=10, **how)):
        scores = dict(exact)
        assert len(near) == 10
        for token, score in near:
            assert score == pytest.approx(scores.get(token, score), abs=1e-6)
        assert [score for _, score in near] == sorted((s for _, s in near), reverse=True)
        shared += len(scores.keys() & dict(near).keys())
    assert shared / (10 * len(asked)) > 0.98


@pytest.mark.parametrize(
    "ask",
    [
        lambda table, **how: table.neighbors(["w7"], exclude=["w8", "w9"], **how),
        lambda table, **how: table.neighbors(["w7"], plus=["w8"], minus=["w9"], **how),
        lambda table, **how: table.neighbors_of(np.ones(DIM), exclude=["w3"], **how),
        lambda table, **how: table.analogy(["w1", "w2", "w3"], **how),
    ],
)
def test_every_question_can_be_asked_of_the_index(model, ask):
    table = embedcli.load(model)
    for exact, near in both(lambda **how: ask(table, **how)):
        assert [token for token, _ in near] == [token for token, _ in exact]


def test_more_words_are_wanted_than_the_index_considers_or_the_table_has(model):
    embedcli.index(model, expansion=4, connectivity=8)
    table = embedcli.load(model)
    assert len(table.neighbors(["w1"], k=300, approximate=True)[0].neighbors) == 300
    small = save(model.parent / "small", rows=np.eye(3, dtype=np.float32))
    embedcli.index(small)
    for exact, near in both(lambda **how: embedcli.neighbors(["w0"], small, k=9, **how)):
        assert near == exact


def test_many_questions_are_answered_as_one_by_one(model):
    table = embedcli.load(model)
    asked = [f"w{number}" for number in range(600)]
    together = table.neighbors(asked, k=3, approximate=True)
    for word, answer in list(zip(asked, together, strict=True))[::97]:
        assert table.neighbors([word], k=3, approximate=True)[0] == answer


def test_rows_that_are_not_finite_are_not_found(tmp_path):
    from embedcli.formats.model import of_table, write_model

    rows = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    rows[3], rows[4] = np.nan, 0
    table = EmbeddingTable(Vocabulary([f"w{number}" for number in range(50)]), rows)
    write_model(tmp_path / "model", of_table(table))
    embedcli.index(tmp_path / "model")
    found = embedcli.neighbors(["w1"], tmp_path / "model", k=50, approximate=True)
    assert "w3" not in dict(found[0].neighbors)
    assert len(found[0].neighbors) == 48


def test_a_quantized_model_has_an_index_too(tmp_path):
    embedcli.convert(save(tmp_path / "model"), tmp_path / "small", "quantized")
    embedcli.index(tmp_path / "small")
    for exact, near in both(
        lambda **how: embedcli.neighbors(["w5"], tmp_path / "small", k=5, **how)
    ):
        assert dict(near).keys() == dict(exact).keys()


def test_one_worker_gives_the_same_bytes(model):
    before = (index_path(model) / GRAPH).read_bytes()
    embedcli.index(model, workers=1)
    assert (index_path(model) / GRAPH).read_bytes() == before


def test_the_index_of_another_table_is_refused(model):
    save(model, seed=2)
    with pytest.raises(StoreError, match="another table") as refused:
        embedcli.neighbors(["w1"], model, approximate=True)
    assert refused.value.hint == f"embed index {model}"
    embedcli.index(model)
    assert embedcli.neighbors(["w1"], model, approximate=True)[0].neighbors


def test_what_has_no_index_is_refused(model, tmp_path):
    other = save(tmp_path / "other")
    with pytest.raises(StoreError, match="no index"):
        embedcli.neighbors(["w1"], other, approximate=True)
    embedcli.convert(other, tmp_path / "v.txt")
    with pytest.raises(StoreError, match="only a model folder"):
        embedcli.neighbors(["w1"], tmp_path / "v.txt", approximate=True)
    with pytest.raises(FormatError, match="not a model folder"):
        embedcli.index(tmp_path / "v.txt")
    with pytest.raises(ConfigError, match="metric dot"):
        embedcli.neighbors(["w1"], model, metric="dot", approximate=True)
    with pytest.raises(ConfigError, match="3cosmul"):
        embedcli.analogy(["w1", "w2", "w3"], model, method="3cosmul", approximate=True)
    with pytest.raises(ConfigError, match="connectivity: found 1"):
        embedcli.index(model, connectivity=1)
    with pytest.raises(ConfigError, match="workers: found 0; expected 1 to 1024"):
        embedcli.index(model, workers=0)


def test_a_folder_that_is_no_index_is_left_as_it_is(tmp_path):
    model = save(tmp_path / "model")
    index_path(model).mkdir()
    (index_path(model) / "letter.txt").write_text("mine", encoding="utf-8")
    added = []
    with pytest.raises(StoreError, match="not an index"):
        embedcli.index(model, report=lambda *progress: added.append(progress))
    assert not added  # it is refused before the graph is built
    assert (index_path(model) / "letter.txt").read_text(encoding="utf-8") == "mine"


def test_without_the_library_the_error_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    for ask in (
        lambda: embedcli.index(model),
        lambda: embedcli.neighbors(["w1"], model, approximate=True),
    ):
        with pytest.raises(StoreError, match="usearch") as refused:
            ask()
        assert refused.value.hint == "pip install 'embedcli[index]'"


@pytest.mark.parametrize("place", [0, 40, 9_000, 30_000, -1])
def test_a_changed_byte_is_found_before_the_library_reads_it(model, place, monkeypatch):
    library = pytest.importorskip("usearch.index")
    monkeypatch.setattr(library.Index, "restore", lambda *_, **__: pytest.fail("was read"))
    graph = index_path(model) / GRAPH
    data = bytearray(graph.read_bytes())
    data[place] ^= 255
    graph.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        embedcli.neighbors(["w1"], model, approximate=True)


def forge(model: Path, graph: bytes, **facts: object) -> None:
    """Put a file in the place of the graph, with a manifest that fits."""
    manifest = index_path(model) / "manifest.json"
    body = json.loads(manifest.read_bytes()) | facts
    del body["sha256"]
    (index_path(model) / GRAPH).write_bytes(graph)
    body["files"] = {GRAPH: {"bytes": len(graph), "sha256": hashlib.sha256(graph).hexdigest()}}
    text = json.dumps(body, sort_keys=True, indent=1).encode()
    body["sha256"] = hashlib.sha256(text).hexdigest()
    manifest.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def test_other_files_with_a_manifest_that_fits_are_refused(model, tmp_path):
    graph = (index_path(model) / GRAPH).read_bytes()
    wide = save(tmp_path / "wide", rows=np.ones((9, DIM + 1), np.float32))
    embedcli.index(wide)
    long = save(tmp_path / "long", rows=np.ones((WORDS + 9, DIM), np.float32))
    embedcli.index(long)
    others = [(index_path(each) / GRAPH).read_bytes() for each in (wide, long)]
    for other in (b"", b"usearch", graph[:5000], *others):
        forge(model, other)
        with pytest.raises(StoreError, match="damaged"):
            embedcli.neighbors(["w1"], model, approximate=True)
    forge(model, graph, expansion="many")
    with pytest.raises(StoreError, match="expansion"):
        embedcli.neighbors(["w1"], model, approximate=True)
    forge(model, graph, expansion=1 << 50)  # is bounded by the words
    assert len(embedcli.neighbors(["w1"], model, k=3, approximate=True)[0].neighbors) == 3


def test_an_index_is_no_model_of_a_folder_of_models(tmp_path):
    for seed in (1, 2):
        save(tmp_path / f"models/{seed}", seed=seed)
    embedcli.index(tmp_path / "models/1")
    assert len(embedcli.load_ensemble(tmp_path / "models").tables) == 2
