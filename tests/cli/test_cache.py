from __future__ import annotations

import json


def test_the_ids_of_a_corpus_are_kept_and_cleared(embed, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBED_CACHE", str(tmp_path / "kept"))
    empty = json.loads(embed("cache", "--format", "json").out)
    assert empty == {"folder": str(tmp_path / "kept"), "entries": 0, "bytes": 0, "freed": 0}
    (tmp_path / "a.txt").write_text("__label__x one two\n__label__y three\n")
    embed("train", "a.txt", "--task", "classify", "--dim", "2", "--quiet")
    full = json.loads(embed("cache", "--format", "json").out)
    assert full["entries"] == 1
    assert full["bytes"] > 0
    assert "entries  1\n" in embed("cache").out
    cleared = json.loads(embed("cache", "--clear", "--format", "json").out)
    assert cleared["freed"] == full["bytes"]
    assert cleared["entries"] == 0
