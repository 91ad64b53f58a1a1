from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedcli.cli import main
from embedcli.views.terminal import width

from .conftest import WORDS, save_model


def test_lookup_prints_a_word_its_place_and_its_vector(embed, model):
    found = embed("lookup", "king")
    assert found.code == 0
    assert found.out == "king  (index 1, count 7)\n  0.5000  0.6250  0.7500  0.8750\n"
    assert found.err == ""


def test_lookup_json_gives_the_float32_numbers_back(embed, model):
    records = json.loads(embed("lookup", "queen", "नमस्ते", "--format", "json").out)
    assert [record["token"] for record in records] == ["queen", "नमस्ते"]
    assert [record["index"] for record in records] == [2, 5]
    assert records[0]["count"] == 6
    np.testing.assert_array_equal(np.float32(records[1]["vector"]), model["नमस्ते"])


def test_lookup_tsv(embed, model):
    assert embed("lookup", "the", "--format", "tsv").out == "the\t0.0\t0.125\t0.25\t0.375\n"


def test_lookup_npy(model, capfdbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["lookup", "king", "the", "--format", "npy", "--quiet"]) == 0
    vectors = np.load(io.BytesIO(capfdbinary.readouterr().out))
    np.testing.assert_array_equal(vectors, np.stack([model["king"], model["the"]]))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", [["lookup", "king", "the"], ["vectors", "-", "--oov", "skip"]], ids=lambda c: c[0]
)
def test_vectors_that_do_not_fit_on_a_disk_are_an_error(model, tmp_path, command, unbuffered):
    with (tmp_path / "out.npy").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "embedcli", *command, "--format", "npy"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            input=b"king\nthe\n",
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (140, 140)),
        )
    assert (done.returncode, (tmp_path / "out.npy").stat().st_size) == (1, 140)
    assert b"error: output: File too large" in done.stderr
    assert b"Traceback" not in done.stderr


def test_lookup_by_id_and_by_text(embed, model):
    by_id = json.loads(embed("lookup", "--id", "1", "--id", "0", "--format", "json").out)
    assert [record["token"] for record in by_id] == ["king", "the"]
    text = embed("lookup", "--text", "The king, the QUEEN!", "--format", "json")
    assert [r["token"] for r in json.loads(text.out)] == ["the", "king", "the", "queen"]


def test_lookup_of_a_spelling_the_tokenizer_would_fold(embed, model):
    assert embed("lookup", "KING").out.startswith("king  (index 1")


def test_lookup_reads_words_from_stdin(embed, model, stdin):
    stdin("king\n\nqueen\n")
    found = embed("lookup", "--format", "json")
    assert [record["token"] for record in json.loads(found.out)] == ["king", "queen"]
    assert found.err == "2 found, 0 not in the vocabulary\n"


def test_unknown_word_ends_with_1_and_near_spellings(embed, model):
    found = embed("lookup", "kinng")
    assert (found.code, found.out) == (1, "")
    assert "'kinng' is not in the vocabulary" in found.err
    assert "king" in found.err.splitlines()[1]


@pytest.mark.parametrize(("oov", "tokens"), [("skip", ["king"]), ("zero", ["zzzz", "king"])])
def test_oov(embed, model, oov, tokens):
    found = embed("lookup", "zzzz", "king", "--oov", oov, "--format", "json")
    records = json.loads(found.out)
    assert [record["token"] for record in records] == tokens
    assert "1 not in the vocabulary" in found.err
    if oov == "zero":
        assert records[0] == {"index": None, "token": "zzzz", "count": None, "vector": [0.0] * 4}


@pytest.mark.parametrize("bad", [["--id", "8"], ["--id", "-1"], ["--id", "x"]])
def test_lookup_of_an_index_outside_the_table(embed, model, bad):
    found = embed("lookup", *bad)
    assert found.code in (1, 2)
    assert found.err.startswith("error: ")


def test_lookup_takes_one_kind_of_question(embed, model):
    assert embed("lookup", "king", "--text", "queen").code == 2


def test_no_model(embed):
    found = embed("lookup", "king")
    assert found.code == 1
    assert "embeddings: no such model" in found.err
    assert "hint: " in found.err


def test_model_from_the_environment(embed, monkeypatch, tmp_path):
    save_model(tmp_path / "other", WORDS)
    monkeypatch.setenv("EMBED_MODEL", "other")
    assert embed("lookup", "king").code == 0


def test_show_table(embed, model):
    found = embed("show-table", "--rows", "0:3")
    assert found.out.splitlines() == [
        "index  token  count  vector",
        "    0  the        8   0.0000  0.1250  0.2500  0.3750",
        "    1  king       7   0.5000  0.6250  0.7500  0.8750",
        "    2  queen      6   1.0000  1.1250  1.2500  1.3750",
    ]
    assert found.err == "5 of 8 rows are not shown (--rows 3:8 shows the next)\n"


def test_a_long_table_shows_20_rows_within_80_columns(embed, tmp_path):
    words = [f"w{i}" * (1 + i % 30) for i in range(50)] + ["東京" * 30]
    save_model(tmp_path / "embeddings", words, dim=300)
    found = embed("show-table")
    lines = found.out.splitlines()
    assert len(lines) == 21
    assert "31 of 51 rows are not shown (--rows 20:40 shows the next)" in found.err
    every = embed("show-table", "--rows", ":")
    assert len(every.out.splitlines()) == 52
    assert every.err == ""
    assert max(map(width, every.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("sort", "first"), [("id", "the"), ("count", "the"), ("norm", "river"), ("token", "king")]
)
def test_sort(embed, model, sort, first):
    found = embed("show-table", "--sort", sort, "--rows", ":1", "--format", "json")
    assert json.loads(found.out)[0]["token"] == first


def test_rows_count_as_python_counts(embed, model):
    def shown(rows: str) -> list[int]:
        found = embed("show-table", "--rows", rows, "--format", "json")
        return [record["index"] for record in json.loads(found.out)]

    assert shown("6:") == [6, 7]
    assert shown("-2:") == [6, 7]
    assert shown("3:3") == []
    assert shown("6:100") == [6, 7]
    assert embed("show-table", "--rows", "3").code == 2


def test_csv_and_tsv(embed, model):
    csv = embed("show-table", "--format", "csv", "--rows", ":1").out.splitlines()
    assert csv == ["index,token,count,v0,v1,v2,v3", "0,the,8,0.0,0.125,0.25,0.375"]
    tsv = embed("show-table", "--format", "tsv").out.splitlines()
    assert len(tsv) == len(WORDS)
    assert tsv[1] == "1\tking\t7\t0.5\t0.625\t0.75\t0.875"


HOSTILE = [
    "=1+1",
    "\x1b[31mred",
    "a\u202eb",
    "[bold]x[/bold]",
    "tab\tbed",
    "a\u200db",
    "\x07",
    "\x9b",
]


def test_hostile_tokens_are_shown_harmlessly(embed, tmp_path):
    save_model(tmp_path / "embeddings", HOSTILE)
    page = embed("show-table").out
    assert not set(page) & set("\x1b\x07\x9b\u202e\t")
    assert r"\x1b[31mred" in page
    assert r"a\u202eb" in page
    assert "[bold]x[/bold]" in page
    assert "a\u200db" in page, "a joiner inside a word is text"
    assert not set(embed("lookup", *HOSTILE[1:]).out) & set("\x1b\x07\x9b\u202e\t")
    as_json = embed("show-table", "--format", "json").out
    assert not set(as_json) & set("\x1b\x07\x9b\u202e")
    assert [record["token"] for record in json.loads(as_json)] == HOSTILE


def test_tsv_keeps_tokens_and_columns(embed, tmp_path):
    save_model(tmp_path / "embeddings", HOSTILE)
    lines = embed("show-table", "--format", "tsv").out.split("\n")[:-1]
    cells = [line.split("\t") for line in lines]
    assert {len(row) for row in cells} == {3 + 4}
    assert [row[1].replace("\\t", "\t") for row in cells] == HOSTILE


def test_formulas_in_csv(embed, tmp_path):
    save_model(tmp_path / "embeddings", HOSTILE)
    assert "0,=1+1," in embed("show-table", "--format", "csv").out
    assert "0,'=1+1," in embed("show-table", "--format", "csv", "--guard-formulas").out


def test_error_messages_are_harmless_too(embed, model):
    found = embed("lookup", "\x1b]0;owned\x07")
    assert found.code == 1
    assert "\x1b" not in found.err
    assert "\x07" not in found.err


def test_a_file_of_vectors_as_model(embed, tmp_path: Path):
    (tmp_path / "v.txt").write_text("2 3\nking 1 2 3\nqueen 4 5 6\n")
    found = embed("show-table", "--model", "v.txt", "--format", "json")
    assert [record["vector"] for record in json.loads(found.out)] == [[1, 2, 3], [4, 5, 6]]
    assert [record["count"] for record in json.loads(found.out)] == [None, None]


CASED = "5 2\nGermany 1 0\nparis 0 1\nParis 2 0\nis 0 3\ncafé 4 4\n"


@pytest.mark.parametrize("model", ["v.txt", "m"])
def test_text_is_looked_up_as_it_stands_and_then_folded(embed, tmp_path, model):
    """A folder that was converted says no more of its text than a file of vectors does."""
    (tmp_path / "v.txt").write_text(CASED, encoding="utf-8")
    assert embed("convert", "v.txt", "m").code == 0
    said = "5 found (4 as in the text, 1 in lower case), 1 not in the vocabulary\n"
    text = ("Germany Paris IS paris zz Germany", "-m", model, "--format", "json")
    found = embed("vectors", *text)
    assert found.err == said
    assert json.loads(found.out)[0]["vector"] == pytest.approx([4 / 5, 4 / 5])
    found = embed("lookup", "--text", *text, "--oov", "skip")
    assert found.err == said
    tokens = [record["token"] for record in json.loads(found.out)]
    assert tokens == ["Germany", "Paris", "is", "paris", "Germany"]
    for flag, vector, words in (
        ("--fold-case", [0, 5 / 3], ["paris", "is", "paris"]),
        ("--no-fold-case", [4 / 4, 1 / 4], ["Germany", "Paris", "paris", "Germany"]),
    ):
        found = embed("vectors", *text, flag)
        assert json.loads(found.out)[0]["vector"] == pytest.approx(vector)
        assert "found, " in found.err
        found = embed("lookup", "--text", *text, flag, "--oov", "skip")
        assert [record["token"] for record in json.loads(found.out)] == words


def test_text_is_cut_as_a_models_was_and_nothing_is_said_of_it(embed, model):
    found = embed("lookup", "--text", "The KING", "--format", "json")
    assert found.err == "2 found, 0 not in the vocabulary\n"
    assert embed("vectors", "The KING").err == "2 found, 0 not in the vocabulary\n"
