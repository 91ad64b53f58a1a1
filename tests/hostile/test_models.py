"""Model folders whose files are well formed, have the right sizes, and say what cannot be true."""

import json

import numpy as np
import pytest

from embedcli import __version__, api, explanation, prediction
from embedcli.cli import main
from embedcli.errors import EmbedError, StoreError
from embedcli.model import load_model, verify_model
from embedcli.storage.arrays import npy_chunks
from embedcli.training.checkpoint import save_checkpoint
from embedcli.training.run import Checkpoint

TEXT = "__label__good a warm film\n__label__bad a dull film\n" * 3
NUMBERS = "__label__1 a warm film\n__label__2 a dull film\n" * 3


@pytest.fixture(params=["skipgram", "classify", "regress"])
def folder(request, tmp_path):
    text = NUMBERS if request.param == "regress" else TEXT
    (tmp_path / "corpus.txt").write_text(text)
    settings = {"dim": 3, "epochs": 1, "min_count": 1, "workers": 1, "cache": False}
    api.train(tmp_path / "corpus.txt", tmp_path / "model", task=request.param, **settings)
    return tmp_path / "model"


def put(folder, name, data):
    """Change a file, and its size in the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name]["bytes"] = len(data)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_arrays(folder, part, change):
    for path in folder.glob(f"{part}*.npy"):
        put(folder, path.name, b"".join(npy_chunks(change(np.load(path)))))


@pytest.mark.parametrize(
    "name, data, what",
    [
        ("log.jsonl", b'{"loss": 1.0}\n', "measured at an epoch"),
        ("log.jsonl", b'"epoch"\n', "measured at an epoch"),
        ("log.jsonl", b'{"epoch": "1"}\n', "whole number"),
        ("log.jsonl", b'{"epoch": 1, "steps": -1}\n', "whole number"),
        ("config.yaml", b"dim: 7\n", "dim 7"),
        ("vocab.txt", b"a\nwarm\nfilm\ndull\nmore", "no end"),
    ],
)
def test_what_cannot_be_true_is_refused(folder, name, data, what):
    put(folder, name, data)
    with pytest.raises(StoreError, match=rf"{name}: damaged: .*{what}"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda buckets: buckets[1:],
        lambda buckets: buckets.astype(np.int32),
        lambda buckets: buckets - 20,
        lambda buckets: buckets + 20,
    ],
)
def test_buckets_of_another_table_are_refused(tmp_path, change):
    (tmp_path / "corpus.txt").write_text(TEXT)
    settings = {"dim": 3, "epochs": 1, "word_ngrams": 2, "buckets": 20, "workers": 1}
    api.train(tmp_path / "corpus.txt", tmp_path / "model", task="classify", **settings)
    change_arrays(tmp_path / "model", "buckets.", change)
    with pytest.raises(StoreError, match=r"buckets.ngrams.npy: damaged"):
        load_model(tmp_path / "model")


def test_a_model_without_its_buckets_is_refused(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)
    settings = {"dim": 3, "epochs": 1, "word_ngrams": 2, "workers": 1}
    api.train(tmp_path / "corpus.txt", tmp_path / "model", task="classify", **settings)
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_bytes())
    del manifest["files"]["buckets.ngrams.npy"]
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="damaged: the head"):
        prediction.Predictor(load_model(tmp_path / "model"))


@pytest.mark.parametrize("part", ["head.", "trained", "first_lines"])
def test_arrays_of_another_kind_are_refused(folder, part):
    change_arrays(folder, part, lambda array: array.astype("<f8"))
    with pytest.raises(StoreError, match=rf"{part}.*npy: damaged"):
        load_model(folder)


def test_counts_below_0_are_refused(folder):
    np.save(folder / "counts.npy", -np.ones(4, np.int64))
    with pytest.raises(StoreError, match="counts"):
        load_model(folder)
    change_arrays(folder, "trained", lambda array: -array)
    with pytest.raises(StoreError):
        load_model(folder)


def test_a_head_of_another_shape_is_not_applied(folder):
    change_arrays(folder, "head.", lambda array: np.concatenate([array, array]))
    model = load_model(folder)
    with pytest.raises(StoreError, match="the head is of"):
        explanation.explain_step(model, "a warm film", ["1"])
    if model.settings.task != "skipgram":
        with pytest.raises(StoreError, match="the head is of"):
            prediction.Predictor(model)


def test_a_start_that_no_run_had_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for start in ({"init": "x"}, {"seed": -1}, {"scale": "wide"}, {"scale": None}):
        told = {**manifest, "start": {**manifest["start"], **start}}
        (folder / "manifest.json").write_text(json.dumps(told))
        with pytest.raises(EmbedError):
            explanation.explain_word(load_model(folder), "film")


def test_half_a_character_in_the_manifest_is_damage(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "corpus": "\ud800"}))
    with pytest.raises(StoreError, match="damaged"):
        verify_model(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_numbers_that_are_not_finite_do_no_harm(folder, value, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "pairs.txt").write_text("a film 1\nwarm film 2\ndull film 3\n")
    (folder.parent / "questions.txt").write_text("a warm dull film\n")
    table = np.load(folder / "table.npy")
    table[::2] = value
    np.save(folder / "table.npy", table)
    change_arrays(folder, "head.", lambda array: np.full_like(array, value))
    for argv in (
        ["neighbors", "film"],
        ["neighbors", "film", "--metric", "euclidean", "--format", "json"],
        ["analogy", "a", "warm", "film", "--method", "3cosmul"],
        ["odd", "a", "warm", "film", "--format", "json"],
        ["similarity", "a", "film", "--format", "json"],
        ["show-table", "--sort", "norm"],
        ["predict", "corpus.txt", "--format", "json"],
        ["map", "--format", "html"],
        ["explain", "a warm film", "--format", "html"],
        ["explain", "--word", "film", "--format", "svg"],
        ["vectors", "a film", "--format", "json"],
        ["info", "--format", "json"],
        ["evaluate", "pairs.txt", "--format", "json"],
        ["evaluate", "questions.txt", "--format", "json"],
        ["evaluate", "corpus.txt", "--task", "classify", "--format", "json"],
        ["evaluate", "corpus.txt", "--task", "regress", "--format", "json"],
    ):
        assert main([*argv, "--model", "model"]) in (0, 1)
        said = capsys.readouterr()
        if "json" in argv:  # which knows neither NaN nor Infinity
            for text in said.out.splitlines() if argv[0] == "predict" else [said.out or "null"]:
                json.loads(text, parse_constant=pytest.fail)


def test_a_table_alone_is_not_explained_by_a_step(folder):
    api.convert(folder, folder.parent / "alone", "model")
    with pytest.raises(StoreError, match="vectors alone"):
        explanation.explain_step(load_model(folder.parent / "alone"), "a warm film")


@pytest.mark.parametrize(
    "lie",
    [
        {"total": float("inf")},
        {"step": "x"},
        {"step": None},
        {"sources": 1},
        {"settings": {"dim": 0}},
        {"settings": {"no": 1}},
        {"text": 3},
        {"place": 3},
        {"earlier": 1},
    ],
)
def test_a_checkpoint_that_cannot_be_true_is_refused(tmp_path, lie):
    state = {"embed": __version__, "sources": [], "settings": {}, "text": {}, "place": {}}
    state |= {"step": 0, "total": 1, "earlier": None, **lie}
    save_checkpoint(tmp_path / "model", {}, state)
    with pytest.raises(StoreError, match="damaged"):
        Checkpoint.load(tmp_path / "model")
