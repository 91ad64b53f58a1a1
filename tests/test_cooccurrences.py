"""Counts as they are asked about, saved and opened."""

from __future__ import annotations

import numpy as np
import pytest

import embedcli
from embedcli.errors import ConfigError, StoreError, VocabularyError
from embedcli.storage.arrays import map_npz

TWO = "Hope to see you soon\nNice to see you again\n"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "two.txt").write_text(TWO)
    return tmp_path / "two.txt"


def test_a_word_and_those_near_it(text):
    counts = embedcli.count(text)
    see = counts.contexts("See", k=3)  # spelt as the tokenizer does
    assert (see.token, see.occurrences, see.total, see.partners_in_all) == ("see", 2, 6, 6)
    assert [(each.token, each.count) for each in see.partners] == [
        ("to", 2), ("you", 2), ("hope", 0.5)
    ]  # fmt: skip
    total, to = counts.total, counts.contexts("to").total
    assert see.partners[0].pmi == pytest.approx(np.log(2 * total / (6 * to)))
    rarest = counts.contexts("to", k=7, order="pmi").partners
    assert [each.pmi for each in rarest] == sorted((each.pmi for each in rarest), reverse=True)


def test_two_words(text):
    counts = embedcli.count(text, weighting="plain", window=2)
    pair = counts.pair("see", "you")
    assert (pair.tokens, pair.count) == (("see", "you"), 2)
    assert pair.expected == pytest.approx(8 * 6 / 28)
    apart = counts.pair("hope", "nice")
    assert (apart.count, apart.pmi, apart.ppmi) == (0, None, 0)
    with pytest.raises(VocabularyError, match="'seee' is not in the vocabulary"):
        counts.pair("seee", "you")


def test_the_pairs_that_count_most(text):
    found = embedcli.count(text).most_frequent(3)
    assert [each.tokens for each in found] == [("to", "see"), ("see", "you"), ("hope", "to")]


def test_saved_counts_are_the_same(text, tmp_path):
    saved = embedcli.count(text, tmp_path / "counts", workers=2)
    with np.load(tmp_path / "counts/cells.npz") as arrays:  # as scipy.sparse.load_npz reads it
        assert set(arrays) == {"row", "col", "data", "shape", "format"}
        assert arrays["format"].item() == b"coo"
        matrix = np.zeros(arrays["shape"])
        matrix[arrays["row"], arrays["col"]] = arrays["data"]
    np.testing.assert_array_equal(matrix, embedcli.count(text).matrix())
    again = embedcli.count(tmp_path / "counts")
    assert again.settings == saved.settings
    assert again.contexts("see") == embedcli.count(text).contexts("see")
    assert {path.name for path in tmp_path.iterdir()} == {"two.txt", "counts"}
    with pytest.raises(ConfigError, match="is counted already"):
        embedcli.count(tmp_path / "counts", window=3)


def test_scipy_reads_them(text, tmp_path):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    embedcli.count(text, tmp_path / "counts")
    found = sparse.load_npz(tmp_path / "counts/cells.npz")
    assert found.format == "coo"
    np.testing.assert_array_equal(found.toarray(), embedcli.count(text).matrix())


def test_the_same_text_gives_the_same_bytes(text, tmp_path):
    for name, workers in (("one", 1), ("two", 3)):
        embedcli.count(text, tmp_path / name, workers=workers, cache=False)
    for name in ("cells.npz", "totals.npy", "vocab.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_folder_is_left_as_it_is(text, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not a folder of counts"):
        embedcli.count(text, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cells.npz", lambda data: data[:-30] + bytes(30)),
        ("vocab.txt", lambda data: data[:-1] + b"x"),
        ("config.yaml", lambda data: b"x" * len(data)),
        ("totals.npy", lambda data: b"x" * len(data)),
    ],
)
def test_damage_is_named(text, tmp_path, name, change):
    embedcli.count(text, tmp_path / "counts")
    path = tmp_path / "counts" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError, match=rf"{name}: damaged"):
        embedcli.count(tmp_path / "counts")


def test_what_a_killed_count_left_is_removed(text, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / ".embed-count.0123456789abcdef.tmp"
    left.mkdir()
    (left / "run.0").write_bytes(b"cells")
    counts = embedcli.count(text)
    assert not left.exists()
    assert counts.pair("see", "you").count == 2
    assert [path.name for path in tmp_path.iterdir()] == ["two.txt"]


@pytest.mark.parametrize(("name", "wrong"), [("row", -1), ("col", 1 << 20)])
def test_words_that_are_not_there_are_damage(text, tmp_path, name, wrong):
    embedcli.count(text, tmp_path / "counts")
    path = tmp_path / "counts" / "cells.npz"
    array = map_npz(path, [name])[name]
    changed = array.copy()
    changed[0] = wrong
    path.write_bytes(path.read_bytes().replace(array.tobytes(), changed.tobytes()))
    counts = embedcli.count(tmp_path / "counts")
    for ask in (lambda: counts.most_frequent(1 << 20), counts.matrix):
        with pytest.raises(StoreError, match="damaged: a row or column of no word"):
            ask()


def test_folders_of_others_among_temporary_files_stay(text, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".embed-count.replaced").mkdir()
    embedcli.count(text)
    assert (tmp_path / ".embed-count.replaced").is_dir()


@pytest.mark.parametrize(("memory", "most"), [("256m", 3), ("1g", 19), ("1k", 1)])
def test_as_many_processes_read_as_the_memory_has_room_for(text, memory, most, monkeypatch):
    used = []

    def encode(places, settings, **more):
        used.append(settings.workers)
        raise StoreError("read")

    monkeypatch.setattr("embedcli.cooccurrences.encode", encode)
    with pytest.raises(StoreError, match="read"):
        embedcli.count(text, memory=memory, workers=64)
    assert used == [most]
