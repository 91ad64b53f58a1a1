from __future__ import annotations

import embedcli


def test_a_picture_of_the_table(embed, model, tmp_path):
    found = embed("show-table", "--sort", "count", "--out", "t.svg")
    assert (found.code, found.out) == (0, "")
    picture = (tmp_path / "t.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and "नमस्ते" in picture
    wrong = embed("show-table", "--out", "t.png")
    assert wrong.code == 2 and ".svg" in wrong.err and not (tmp_path / "t.png").exists()


def test_pictures_of_a_training(embed, tmp_path):
    (tmp_path / "text.txt").write_text("a good day\na bad day\n" * 20)
    embedcli.train("text.txt", "m", dim=4, epochs=3)
    assert embed("info", "-m", "m", "--out", "norms.svg").code == 0
    assert "length of a vector" in (tmp_path / "norms.svg").read_text(encoding="utf-8")
    assert embed("info", "-m", "m", "--curves", "--out", "loss.svg").code == 0
    assert "epoch 3: loss" in (tmp_path / "loss.svg").read_text(encoding="utf-8")
    said = embed("info", "-m", "m", "--curves").out.splitlines()
    assert said[0].split() == ["epoch", "1", "epoch", "3"] and said[1].startswith("loss")


def test_a_file_of_vectors_has_no_curves(embed, tmp_path):
    (tmp_path / "v.txt").write_text("a 1 2\n")
    found = embed("info", "-m", "v.txt", "--curves")
    assert found.code == 2 and "no log" in found.err


def test_a_picture_of_a_classification(embed, tmp_path):
    (tmp_path / "text.txt").write_text("__label__x a good day\n__label__y a bad one\n" * 20)
    embedcli.train("text.txt", "m", task="classify", dim=4, epochs=2)
    done = embed("evaluate", "text.txt", "--task", "classify", "-m", "m", "--out", "c.svg")
    assert done.code == 0 and done.out == ""
    assert "predicted" in (tmp_path / "c.svg").read_text(encoding="utf-8")
    pairs = embed("evaluate", "text.txt", "-m", "m", "--out", "p.svg")
    assert pairs.code == 2 and "--task classify" in pairs.err
    embedcli.train("text.txt", "s", task="classify", multi_label=True, dim=4, epochs=2)
    several = embed("evaluate", "text.txt", "--task", "classify", "-m", "s", "--out", "s.svg")
    assert several.code == 2 and "several labels" in several.err
