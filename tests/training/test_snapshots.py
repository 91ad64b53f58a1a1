from __future__ import annotations

import numpy as np
import pytest

import embedcli
from embedcli import model as models
from embedcli.errors import StoreError
from embedcli.mapping import map_words
from embedcli.mapping.layout import turned
from embedcli.model import load_model, verify_model
from embedcli.nn.initializers import initial_rows
from embedcli.training import limits, run, snapshots
from embedcli.training.checkpoint import load_checkpoint, save_checkpoint
from embedcli.training.snapshots import snapshot_steps

TEXT = "".join(f"w{n % 7} w{n % 5} w{n * n % 11} x{n % 40} and more\n" for n in range(120))
SETTINGS = {"dim": 4, "epochs": 6, "batch_size": 64, "group": 2, "cache": False}


@pytest.fixture
def train(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)

    def go(out="m", **other):
        return embedcli.train(tmp_path / "text.txt", tmp_path / out, **{**SETTINGS, **other})

    return go


def test_steps_begin_with_the_first_and_grow_apart():
    assert snapshot_steps(5, 100).tolist() == [0, 4, 16, 36, 64]
    assert snapshot_steps(0, 100).tolist() == []
    assert snapshot_steps(10, 3).tolist() == [0, 1, 2]


def test_the_rows_are_those_of_the_steps(train, tmp_path):
    tables = {}

    def keep(event):
        if isinstance(event, embedcli.Step):
            tables[event.number] = event.total

    train(report=keep, snapshots=4)
    model = verify_model(tmp_path / "m")
    total = max(tables)
    np.testing.assert_allclose(model.snapshot_shares, snapshot_steps(4, total) / total, rtol=1e-6)
    order = np.argsort(-model.table.vocabulary.counts, kind="stable")
    of = model.start
    first = initial_rows(of["init"], of["seed"], range(len(order)), 4, of["scale"])[order]
    np.testing.assert_array_equal(model.snapshots[0], first.astype(np.float16))
    # The distance to the table that is learnt shrinks.
    apart = [np.linalg.norm(rows - model.table.vectors[order]) for rows in model.snapshots]
    assert apart == sorted(apart, reverse=True)


def test_the_table_and_the_snapshots_are_the_same_for_any_workers(train, tmp_path):
    plain = train("plain")
    digests, files = set(), set()
    for workers in (1, 2):
        digests.add(train(f"m{workers}", snapshots=3, workers=workers).digest)
        files.add((tmp_path / f"m{workers}" / "snapshots.npy").read_bytes())
    assert digests == {plain.digest}
    assert len(files) == 1
    assert not (tmp_path / "plain" / "snapshots.npy").exists()
    assert load_model(tmp_path / "plain").snapshots is None


def test_a_run_that_is_resumed_has_all_snapshots(train, tmp_path):
    train("whole", snapshots=5)
    asked = iter([False] * 10)
    with pytest.raises(run.Stopped):
        train(snapshots=5, stop=lambda: next(asked, True))
    embedcli.train(out=tmp_path / "m", resume=True)
    for name in ("snapshots.npy", "snapshot_shares.npy"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "m" / name).read_bytes() == whole


def test_a_checkpoint_with_other_snapshots_is_damaged(train, tmp_path):
    with pytest.raises(run.Stopped):
        train(snapshots=5, stop=lambda: True)
    arrays, state = load_checkpoint(tmp_path / "m")
    arrays["snapshots"] = np.array(arrays["snapshots"][:2])
    save_checkpoint(tmp_path / "m", arrays, state)
    with pytest.raises(StoreError, match="snapshots: found"):
        embedcli.train(out=tmp_path / "m", resume=True)


def test_snapshots_count_in_the_limits(tmp_path):
    settings = embedcli.TrainSettings(dim=100)
    enough = 100 * 4 * 1000 * 8
    limits.require_for_tables(tmp_path, 1000, settings, enough)
    more = embedcli.TrainSettings(dim=100, snapshots=100)
    with pytest.raises(StoreError, match="of memory"):
        limits.require_for_tables(tmp_path, 1000, more, enough)


def test_only_frequent_words_are_kept(train, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "SNAPSHOT_WORDS", 6)
    monkeypatch.setattr(models, "SNAPSHOT_WORDS", 6)
    train(snapshots=2)
    model = load_model(tmp_path / "m")
    assert model.snapshots.shape == (2, 6, 4)
    assert map_words(model.table, "m", words=7, model=model).frames == ()
    assert len(map_words(model.table, "m", words=6, model=model).frames) == 3


@pytest.mark.parametrize("layout", ["tsne", "pca"])
def test_the_film_ends_with_the_map(train, tmp_path, layout):
    train(snapshots=4)
    model = load_model(tmp_path / "m")
    found = map_words(model.table, "m", model=model, layout=layout)
    assert len(found.frames) == 5
    assert [frame.done for frame in found.frames] == [*model.snapshot_shares.tolist(), 1.0]
    assert found.frames[-1].places is found.arrangements[0].places
    assert all(np.isfinite(frame.places).all() for frame in found.frames)


def test_places_are_turned_back():
    places = np.random.default_rng(0).normal(0, 1, (30, 2))
    angle = 2.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for other in (places @ turn + 3, places @ turn * np.array([1, -1])):
        np.testing.assert_allclose(turned(other, places), places, atol=1e-12)
