"""Ids that were kept: reused when nothing changed, thrown away when damaged, never in the way."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.storage import bundle
from embedcli.storage.arrays import npy_chunks
from embedcli.text import cache
from embedcli.text import encode as module
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.text.labels import ClassTargets
from embedcli.text.vocabulary import Vocabulary

TEXT = "__label__x Hope to see you\n\n__label__y __label__x Nice to see you again\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text").write_text(TEXT)
    return tmp_path


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often text is really read."""
    counted: list[int] = []
    plain = module._encode

    def counting(*arguments: Any) -> EncodedCorpus:
        counted.append(1)
        return plain(*arguments)

    monkeypatch.setattr(module, "_encode", counting)
    return counted


def run(
    folder: Path, labels: Any = "class", vocabulary: Any = None, **settings: Any
) -> EncodedCorpus:
    return encode(
        [folder / "text"],
        TextSettings(**settings),
        folder=folder,
        labels=labels,
        vocabulary=vocabulary,
    )


def test_what_is_kept_is_what_was_read(folder: Path, readings: list[int]) -> None:
    one, two = run(folder), run(folder)
    assert len(readings) == 1
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.offsets, two.offsets)
    np.testing.assert_array_equal(one.first_lines, two.first_lines)
    assert one.vocabulary == two.vocabulary
    np.testing.assert_array_equal(one.vocabulary.counts, two.vocabulary.counts)
    assert (one.fingerprint, one.min_count) == (two.fingerprint, two.min_count)
    assert isinstance(one.targets, ClassTargets)
    assert isinstance(two.targets, ClassTargets)
    assert one.targets.names == two.targets.names == ("x", "y")
    np.testing.assert_array_equal(one.targets.offsets, two.targets.offsets)


def test_what_makes_a_difference(folder: Path, readings: list[int]) -> None:
    (folder / "stop").write_text("to")
    changes: list[dict[str, Any]] = [
        {},
        {"tokenizer": "char"},
        {"fold_case": False},
        {"min_count": 2},
        {"labels": "none"},
        {"vocabulary": Vocabulary(["to"])},
        {"vocabulary": Vocabulary(["see"])},
        {"stop_words": str(folder / "stop")},
    ]
    for change in changes:
        run(folder, **change)
    assert len(readings) == len(changes)
    for change in changes:
        run(folder, **change)
    run(folder, workers=7, max_expansion=3)
    assert len(readings) == len(changes)
    (folder / "stop").write_text("be")
    run(folder, stop_words=str(folder / "stop"))
    (folder / "text").write_text(TEXT.replace("Hope", "Nope"))
    run(folder)
    assert len(readings) == len(changes) + 2


def test_stop_words_that_are_no_file_are_an_error_of_what_is_kept_too(folder: Path) -> None:
    run(folder)
    (folder / "stop").write_text("to")
    run(folder, stop_words=str(folder / "stop"))
    (folder / "stop").unlink()
    for place in (folder / "stop", folder):
        with pytest.raises(CorpusError, match="expected a file of words"):
            run(folder, stop_words=str(place))


def test_it_can_be_passed_by(folder: Path, readings: list[int]) -> None:
    run(folder, cache=False)
    run(folder, cache=False)
    assert (len(readings), cache.entries()) == (2, [])


def test_a_damaged_entry_is_read_anew(folder: Path, readings: list[int]) -> None:
    for name in ("ids.numbers", "vocab.txt", "facts.json", "manifest.json"):
        run(folder)
        (entry,) = cache.entries()
        damaged = bytearray((entry.path / name).read_bytes())
        damaged[0] ^= 1
        (entry.path / name).unlink()
        (entry.path / name).write_bytes(damaged)
        before = len(readings)
        assert list(run(folder).vocabulary)[:2] == ["hope", "to"]
        assert len(readings) == before + 1


def test_a_damaged_entry_is_kept_anew(folder: Path, readings: list[int]) -> None:
    run(folder)
    (entry,) = cache.entries()
    (entry.path / "manifest.json").write_text("{}")
    for _ in range(3):
        run(folder)
    assert len(readings) == 2


def test_an_entry_in_the_place_of_another_is_read_anew(folder: Path, readings: list[int]) -> None:
    run(folder, labels="none")
    (other,) = cache.entries()
    words = run(folder, tokenizer="char", labels="none").vocabulary
    (entry,) = {each.path for each in cache.entries()} - {other.path}
    shutil.rmtree(entry)
    other.path.rename(entry)
    assert run(folder, tokenizer="char", labels="none").vocabulary == words
    assert len(readings) == 3


def seal(entry: Path) -> None:
    """Make the digests of an entry those of its files, as only who means it would."""
    body = json.loads((entry / "manifest.json").read_bytes())
    del body["sha256"]
    for name, file in body["files"].items():
        data = (entry / name).read_bytes()
        file.update(bytes=len(data), sha256=sha256(data).hexdigest())
    (entry / "manifest.json").write_bytes(bundle._manifest_bytes(body))
    bundle.open_bundle(entry, "ids").verify()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.numbers", np.int32([0, 1, 2, 3, 1, 2, 3, 4, 99]).tobytes()),
        ("ids.numbers", np.int32([0, 1, 2, 3, 1, 2, 3, 4, -1]).tobytes()),
        ("ids.numbers", b""),
        ("ids.offsets", np.int64([0, 5, 4, 9]).tobytes()),
        ("ids.offsets", b"odd"),
        ("labels.offsets", np.int64([0, 3]).tobytes()),
        ("labels.numbers", np.int32([0, 1, 7]).tobytes()),
        ("counts.npy", b"".join(npy_chunks(np.int64([1])))),
        ("first_lines.npy", b"".join(npy_chunks(np.int64([1])))),
        ("vocab.txt", b"hope"),
        ("facts.json", b"[]"),
        ("facts.json", b'{"fingerprint": "", "min_count": []}'),
        ("facts.json", b"["),
    ],
)
def test_an_entry_that_cannot_be_true_is_read_anew(
    folder: Path, readings: list[int], name: str, content: bytes
) -> None:
    whole = run(folder)
    (entry,) = cache.entries()
    (entry.path / name).unlink()
    (entry.path / name).write_bytes(content)
    seal(entry.path)
    assert run(folder).ids.tolist() == whole.ids.tolist()
    assert len(readings) == 2
    run(folder)
    assert len(readings) == 2


def test_files_without_an_end_are_not_opened(folder: Path, readings: list[int]) -> None:
    run(folder)
    (entry,) = cache.entries()
    for name in ("facts.json", "manifest.json"):
        (entry.path / name).unlink()
        os.mkfifo(entry.path / name)
        assert len(run(folder).vocabulary) == 6
    assert len(readings) == 3


def test_the_oldest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (folder / "text").write_text(f"a b {number}")
        run(folder, labels="none")
    ages = {entry.path: age for age, entry in enumerate(cache.entries())}
    for path, age in ages.items():
        os.utime(path, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(cache, "LARGEST", sum(entry.size for entry in cache.entries()))
    (folder / "text").write_text("a b c")
    run(folder, labels="none")
    assert len(cache.entries()) == 3
    assert max(ages, key=lambda path: ages[path]) not in {entry.path for entry in cache.entries()}
    monkeypatch.setattr(cache, "LARGEST", 10)
    (folder / "text").write_text("a b d")
    run(folder, labels="none")
    assert len(cache.entries()) == 3


def test_clearing(folder: Path) -> None:
    run(folder)
    (cache.cache_folder() / ".x.0123456789abcdef.tmp").mkdir()  # of a process that died
    (entry,) = cache.entries()
    assert cache.clear() == entry.size > 0
    assert list(cache.cache_folder().iterdir()) == []
    assert cache.clear() == 0


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.cache_folder() == Path("/x/embed")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache.cache_folder() == Path("/h/.cache/embed")


def test_a_cache_that_cannot_be_written_stops_nothing(folder: Path, readings: list[int]) -> None:
    (folder / "cache").write_text("a file in its place")
    for _ in range(2):
        assert len(run(folder).vocabulary) == 6
    assert len(readings) == 2
    assert cache.entries() == []
