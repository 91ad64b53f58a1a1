"""Model folders of format 1: every command that reads a model reads them; no training goes on."""

import json
from pathlib import Path

import pytest

import embedcli
from embedcli.cli import main
from embedcli.errors import StoreError
from embedcli.model import load_model
from tests.format_1 import write_format_1

TEXT = "__label__good a warm film\n__label__bad a dull film\n" * 3


@pytest.fixture(params=["skipgram", "classify"])
def folder(request, tmp_path, monkeypatch):
    """The same model in `new` and, of format 1, in `old`."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT)
    settings = {"dim": 3, "epochs": 2, "min_count": 1, "workers": 1, "cache": False}
    embedcli.train("corpus.txt", "new", task=request.param, **settings)
    write_format_1(tmp_path / "old", load_model(Path("new")))
    return tmp_path / "old"


def test_what_reads_a_model_says_the_same_of_both_formats(folder, capsys):
    classify = load_model(folder).settings.task == "classify"
    for argv in (
        ["lookup", "film"],
        ["neighbors", "film"],
        ["show-table", "--rows", "0:2"],
        ["vectors", "a film", "--format", "json"],
        ["explain", "--word", "film", "--format", "json"],
        ["explain", "a warm film", *(["--label", "good"] if classify else [])],
        *([["predict", "corpus.txt"]] if classify else []),
    ):
        said = []
        for model in ("old", "new"):
            assert main([*argv, "--model", model]) == 0, argv
            said.append(capsys.readouterr().out.replace("old", "new"))
        assert said[0] == said[1], argv
    assert main(["info", "--verify", "--format", "json", "--model", "old"]) == 0
    assert "head.npz" in json.loads(capsys.readouterr().out)["files"]
    assert main(["convert", "old", "v.txt"]) == 0
    assert main(["convert", "old", "converted"]) == 0
    assert embedcli.load("converted").vectors.tolist() == embedcli.load("old").vectors.tolist()


def test_an_update_refuses_format_1_with_its_version(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError, match=r"format version 1, .*; --update needs version 2") as no:
        embedcli.train("corpus.txt", "out", update="old")
    assert no.value.hint == "--vectors old starts from its vectors alone"
    assert not Path("out").exists()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_vectors_of_format_1_start_a_training(folder):
    trained = embedcli.train("corpus.txt", "out", vectors="old", dim=3, freeze="all", epochs=1)
    assert trained.table["film"].tolist() == embedcli.load("old")["film"].tolist()
