"""The checkpoint as a bundle: whole or absent, verified when it is read."""

import numpy as np
import pytest

from embedcli.errors import StoreError
from embedcli.storage import files
from embedcli.training.checkpoint import (
    checkpoint_folder,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)


def test_a_checkpoint_comes_back_and_goes(tmp_path):
    out = tmp_path / "model"
    arrays = {"table": np.eye(3, dtype=np.float32), "table.m": np.zeros((3, 3), np.float32)}
    state = {"epoch": 2, "best": None, "settings": {"lr": 0.1}, "corpus": "f00d"}
    save_checkpoint(out, arrays, {"epoch": 1})
    save_checkpoint(out, arrays, state)
    found, read = load_checkpoint(out)
    assert read == state
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["table"], arrays["table"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.checkpoint"]
    assert [entry.name for entry in checkpoint_folder(out).iterdir()] == ["state"]
    remove_checkpoint(out)
    remove_checkpoint(out)
    assert list(tmp_path.iterdir()) == []


def test_without_a_checkpoint(tmp_path):
    with pytest.raises(StoreError, match="no checkpoint"):
        load_checkpoint(tmp_path / "model")


def test_every_flipped_byte_of_a_checkpoint_is_found(tmp_path):
    save_checkpoint(tmp_path / "model", {"table": np.ones((20, 5), np.float32)}, {"e": 1})
    for path in (checkpoint_folder(tmp_path / "model") / "state").iterdir():
        data = bytearray(path.read_bytes())
        for place in range(len(data)):
            data[place] ^= 4
            path.write_bytes(data)
            data[place] ^= 4
            with pytest.raises(StoreError, match=r"state"):
                load_checkpoint(tmp_path / "model")
        path.write_bytes(data)
    load_checkpoint(tmp_path / "model")


def test_a_gap_of_two_renames_is_closed_and_leaves_one_generation(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    out = tmp_path / "model"
    for step in (1, 2):
        save_checkpoint(out, {}, {"step": step})
    state = checkpoint_folder(out) / "state"
    assert [entry.name for entry in state.parent.iterdir()] == ["state"]
    state.rename(state.with_name(".state.replaced"))  # killed after the first rename
    assert has_checkpoint(out)
    assert load_checkpoint(out)[1] == {"step": 2}
    (state.parent / ".state.replaced").mkdir()  # killed after the second
    assert has_checkpoint(out)
    assert [entry.name for entry in state.parent.iterdir()] == ["state"]
