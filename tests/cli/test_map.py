from __future__ import annotations

import json

import pytest

from tests.mapping import maps


@pytest.fixture
def hindi(tmp_path):
    return maps.hindi(tmp_path / "embeddings")


@pytest.mark.parametrize(
    "argv, path, start",
    [
        ((), "map.html", "<!doctype html>"),
        (("--out", "a.svg"), "a.svg", "<svg"),
        (("--out", "a.tsv"), "a.tsv", "0\tराजा\t1200\t"),
        (("--out", "a.json"), "a.json", '{"model": "embeddings"'),
        (("--out", "a.page", "--format", "svg"), "a.page", "<svg"),
        (("--out", "a.page"), "a.page", "<!doctype html>"),
    ],
)
def test_a_map_is_written_to_a_file(embed, hindi, tmp_path, argv, path, start):
    found = embed("map", *argv, "--layout", "pca")
    assert found.code == 0
    assert found.out.startswith(f"{path}  400 of 400 words; PCA keeps ")
    assert (tmp_path / path).read_text(encoding="utf-8").startswith(start)
    assert ("open it in a browser" in found.err) == (start == "<!doctype html>")


def test_a_map_is_written_to_standard_output(embed, hindi, tmp_path):
    found = embed("map", "--format", "json", "--words", "30")
    assert found.code == 0
    assert len(json.loads(found.out)["points"]) == 30
    assert not (tmp_path / "map.html").exists()


def test_vectors_from_a_file_are_drawn(embed, hindi):
    assert embed("convert", "embeddings", "v.txt").code == 0
    found = embed("map", "--model", "v.txt", "--words", "50", "--quiet")
    assert found.out.startswith("map.html  50 of 400 words")
    assert found.err == ""


def test_colours_of_a_file(embed, hindi, tmp_path):
    (tmp_path / "c.tsv").write_text("word\tage\nking\t3\n")
    assert embed("map", "--colors", "c.tsv", "--words", "40").code == 0
    assert '"name": "age"' in (tmp_path / "map.html").read_text(encoding="utf-8")
    found = embed("map", "--colors", "none.tsv")
    assert found.code == 1
    assert "none.tsv" in found.err


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--words", "0"), "words: found 0; expected 1 to 200,000"),
        (("--layout", "umap"), "expected auto, pca, tsne"),
        (("--out", "no/such/map.html"), "no/such"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_errors(embed, hindi, argv, message):
    found = embed("map", *argv)
    assert found.code in (1, 2)
    assert message in found.err


@pytest.fixture
def pair(tmp_path):
    maps.pair(tmp_path)


@pytest.mark.parametrize(
    "path, start",
    [
        ("map.html", "<!doctype html>"),
        ("a.svg", "<svg"),
        ("a.tsv", "token\tmoved\tneighbors shared\tindex_a\tcount_a\tx_a\ty_a\tkept_a\tindex_b"),
        ("a.json", '{"maps": [{"model": "one"'),
    ],
)
def test_two_tables_are_drawn_side_by_side(embed, pair, tmp_path, path, start):
    found = embed("map", "one", "two", "--layout", "pca", "--words", "60", "--out", path)
    assert found.code == 0, found.err
    assert found.out.startswith(f"{path}  60 of 400 and 401 words; PCA keeps ")
    assert (tmp_path / path).read_text(encoding="utf-8").startswith(start)


def test_lines_and_json_of_two_tables_say_the_same(embed, pair):
    command = ("map", "one", "two", "--layout", "pca", "--words", "60", "--format")
    names, *lines = (line.split("\t") for line in embed(*command, "tsv").out.splitlines())
    record = json.loads(embed(*command, "json").out)
    rows = [dict(zip(names, line, strict=True)) for line in lines]
    assert len(rows) == len(record["compared"]["moved"]) == 60
    river = next(row for row in rows if row["token"] == "नदी")
    assert float(river["moved"]) == max(float(row["moved"]) for row in rows)
    for place, row in enumerate(rows):
        for side, drawn in zip("ab", record["maps"], strict=True):
            point = drawn["points"][place]
            assert point["token"] == row["token"]
            for name in ("index", "count", "x", "y", "kept"):
                assert str(point[name]) == row[f"{name}_{side}"]
        for name, values in record["compared"].items():
            assert float(row[name]) == pytest.approx(values[place], abs=1e-5)


def test_one_table_or_three_are_no_pair(embed, pair):
    lone = embed("map", "one")
    assert lone.code == 1 and "found 1 tables; expected two, or none" in lone.err
    assert "--model one" in lone.err
    assert "found 3 tables" in embed("map", "one", "two", "one").err
    assert "model: has no effect" in embed("map", "one", "two", "--model", "one").err
    assert "expected 1 to 200,000" in embed("map", "one", "two", "--words", "0").err


def test_two_tables_are_drawn_though_the_environment_names_one(embed, hindi, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBED_MODEL", "embeddings")
    pair = ("map", "embeddings", "embeddings", "--layout", "pca", "--words", "30")
    assert embed(*pair).code == 0
    found = embed(*pair, "--model", "embeddings")
    assert (found.code, "has no effect with two tables" in found.err) == (1, True)
