"""A model trained again: the same bytes, or what differs."""

from __future__ import annotations

import json

import pytest

import embedcli
from embedcli import model as models
from embedcli import reproduction
from embedcli.cli import main
from embedcli.errors import ConfigError, CorpusError, StoreError

TEXT = "__label__a nice to see you\n__label__b bad to hear that\n" * 20
TASKS = ("skipgram", "cbow", "glove", "svd", "classify")


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_the_same_bytes_again(text, tmp_path, task):
    embedcli.train(text, tmp_path / "m", task=task, dim=4, **{} if task == "svd" else {"epochs": 2})
    before = (tmp_path / "m/manifest.json").read_bytes()
    found = embedcli.reproduce(tmp_path / "m", text)
    assert found.equal
    assert found.again == found.digest
    assert not found.differences
    assert all(found.files.values())
    assert {"table.npy", "vocab.txt", "head.output.npy"} - found.files.keys() <= {"head.output.npy"}
    assert (tmp_path / "m/manifest.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"m", "text.txt"}


def test_another_text_is_said_and_not_trained_on(text, tmp_path, monkeypatch):
    embedcli.train(text, tmp_path / "m", dim=4, epochs=1)
    text.write_text(TEXT + "more\n")
    monkeypatch.setattr(reproduction.run, "start", pytest.fail)
    found = embedcli.reproduce(tmp_path / "m", text)
    assert (found.equal, found.again) == (False, None)
    assert [each.what for each in found.differences] == ["text"]


def test_what_else_differs_is_said(text, tmp_path, monkeypatch):
    embedcli.train(text, tmp_path / "m", dim=4, epochs=1)
    then = models.load_model(tmp_path / "m").environment
    assert {"processor", "python", "numpy", "blas", "kernel"} <= then.keys()
    now = {**then, "kernel": "another"}
    monkeypatch.setattr(reproduction, "environment", lambda: now)
    found = embedcli.reproduce(tmp_path / "m", text)
    assert [tuple(each) for each in found.differences] == [("kernel", then["kernel"], "another")]


def test_other_bytes_are_found_and_end_with_1(text, tmp_path, monkeypatch, capsys):
    embedcli.train(text, tmp_path / "m", dim=4, epochs=1)
    real = reproduction.run.start

    def other(sources, folder, settings, report, stop):
        return real(sources, folder, reproduction.replace(settings, seed=9), report, stop)

    monkeypatch.setattr(reproduction.run, "start", other)
    assert main(["reproduce", str(tmp_path / "m"), str(text), "-q"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("other bytes")
    assert "table.npy" in said
    assert main(["reproduce", str(tmp_path / "m"), str(text), "-q", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["equal"] is False


def test_a_model_that_began_with_other_bytes_is_refused(text, tmp_path):
    embedcli.train(text, tmp_path / "m", dim=4, epochs=1)
    embedcli.train(text, tmp_path / "further", update=str(tmp_path / "m"))
    embedcli.convert(tmp_path / "m", tmp_path / "v.txt", "word2vec")
    embedcli.train(text, tmp_path / "started", dim=4, epochs=1, vectors=str(tmp_path / "v.txt"))
    embedcli.convert(tmp_path / "v.txt", tmp_path / "read", "model")
    for name, why in (
        ("further", "continues another model"),
        ("started", "its rows began with"),
        ("read", "came from a file"),
    ):
        with pytest.raises(ConfigError, match=f"cannot be reproduced: .*{why}"):
            embedcli.reproduce(tmp_path / name, text)


def test_text_that_cannot_be_compared_first_is_refused(text, tmp_path):
    embedcli.train(text, tmp_path / "m", dim=4, epochs=1)
    with pytest.raises(CorpusError, match="cannot be read twice"):
        embedcli.reproduce(tmp_path / "m", "-")
    with pytest.raises(CorpusError, match="not trained on the text of the package"):
        embedcli.reproduce(tmp_path / "m")
    (tmp_path / "m/vocab.txt").write_bytes((tmp_path / "m/vocab.txt").read_bytes().upper())
    with pytest.raises(StoreError, match=r"vocab\.txt: damaged"):
        embedcli.reproduce(tmp_path / "m", text)
