"""A text read in parts: the ids that one process would give it, whatever the parts."""

import gzip
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text import parts as text_parts
from embedcli.text.encode import encode, encoded, ids_without_gaps
from embedcli.text.parts import Codes, assemble, digests, list_parts, merge, read_part, versions
from embedcli.text.sources import Source
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import Known

LINES = [
    f"__label__{number % 3} Word{number % 7} word{number % 5}, सूरज {number * number % 11} don't\n"
    for number in range(300)
]
PLAIN = TextSettings(cache=False, workers=1)


@pytest.fixture
def corpus(tmp_path):
    """Files that are cut, one that is not, one that is compressed, and one of records."""
    folder = tmp_path / "corpus"
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_text("\ufeff" + "".join(LINES[:200]), encoding="utf-8")
    (folder / "b/last.txt").write_text("".join(LINES[200:]) + "\ufeffno newline", encoding="utf-8")
    (folder / "b/small.txt").write_text("a small one\n\n")
    (folder / "packed.txt").write_bytes(gzip.compress("".join(LINES[50:150]).encode()))
    (folder / "z.csv").write_text("text,label\nwind and rain,0\n" + "sun,1\n" * 200)
    return folder


def in_parts(folder, settings, work, labels="none", known=None):
    """Return the corpus as machines make it, and the number of parts."""
    listing = list_parts([str(folder)], settings, 1000, 500)
    read = [read_part(source, settings, labels, versions(settings)) for source in listing.parts]
    facts = [part for part, _ in read]
    text, codes = merge(zip(listing.parts, facts, strict=True), labels, known)
    size = sum(size for size, _ in listing.files.values())
    (work / "here").mkdir()
    fetched = [ids for _, ids in read]
    if labels != "none":
        ids, targets = assemble(zip(fetched, codes, strict=True), labels, work / "here")
        text = text._replace(ids=ids, targets=targets)
    corpus, kept = encoded(text._replace(name="corpus", size=size), settings, work / "here")
    new = ids_without_gaps(kept)
    whole = [Codes(new[own.words], own.labels) for own in codes]
    (work / "there").mkdir()
    ids, targets = assemble(zip(fetched, whole, strict=True), labels, work / "there")
    if labels == "none":
        assert len(corpus.ids) == len(ids.numbers())
        assert corpus.lines == len(ids.offsets()) - 1
    else:
        assert np.array_equal(corpus.ids, ids.numbers())
    return corpus._replace(ids=ids.numbers(), offsets=ids.offsets()), len(listing.parts)


def require_equal(found, expected):
    for name in ("ids", "offsets", "first_lines"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.vocabulary.to_bytes() == expected.vocabulary.to_bytes()
    assert np.array_equal(found.vocabulary.counts, expected.vocabulary.counts)
    assert (found.min_count, found.too_long) == (expected.min_count, expected.too_long)
    assert (found.targets is None) == (expected.targets is None)
    for one, other in zip(found.targets or (), expected.targets or (), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_count": 3, "max_vocab": 9},
        {"tokenizer": "char"},
        {"fold_case": False, "label_prefix": None, "errors": "replace"},
    ],
)
def test_parts_give_the_ids_of_the_whole(corpus, tmp_path, settings):
    chosen = replace(PLAIN, **settings)
    expected = encode([corpus], chosen, folder=tmp_path)
    found, parts = in_parts(corpus, chosen, tmp_path)
    assert parts > 10
    require_equal(found, expected)


def test_parts_give_the_labels_of_the_whole(corpus, tmp_path):
    (corpus / "b/small.txt").unlink()
    (corpus / "b/last.txt").write_text("".join(LINES[::-1]))
    known = Known(Vocabulary(["sun", "wind"], np.array([4, 5])), np.array([1, 2]), ("other", "1"))
    expected = encode([corpus], PLAIN, folder=tmp_path, labels="class", known=known)
    found, _ = in_parts(corpus, PLAIN, tmp_path, "class", known)
    require_equal(found, expected)
    assert found.targets.names[:2] == ("other", "1")


def test_parts_give_the_numbers_of_the_whole(corpus, tmp_path):
    (corpus / "b/small.txt").unlink()
    (corpus / "b/last.txt").write_text("".join(LINES[200:]))
    expected = encode([corpus], PLAIN, folder=tmp_path, labels="number")
    require_equal(in_parts(corpus, PLAIN, tmp_path, "number")[0], expected)


@pytest.mark.parametrize("place", [10, 180])
@pytest.mark.parametrize(
    ("line", "labels"),
    [
        (b"\xff\n", "none"),
        (b"__label__x word\n", "number"),
        (b"no label\n", "class"),
        (b"no number\n", "number"),
    ],
)
def test_an_error_names_the_line_of_the_file(tmp_path, place, line, labels):
    path = tmp_path / "a.txt"
    lines = [each.encode() for each in LINES]
    lines[place] = line
    path.write_bytes(b"".join(lines))
    with pytest.raises(CorpusError) as expected:
        encode([path], PLAIN, folder=tmp_path, labels=labels)
    with pytest.raises(CorpusError) as found:
        in_parts(path, PLAIN, tmp_path, labels)
    assert f"a.txt:{place + 1}: " in found.value.message
    assert (found.value.message, found.value.hint) == (
        expected.value.message,
        expected.value.hint,
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt.gz", gzip.compress(b"".join(bytes([65 + i % 26]) * 9 + b"\n" for i in range(999)))),
        ("mac.txt", b"one line\r" * 999),
        ("a.jsonl", b'{"text": "wind"}\n' * 999),
    ],
)
def test_what_cannot_be_cut_is_one_part(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    path = str(tmp_path / name)
    assert list_parts([path], PLAIN, 1000, 10).parts == (Source(path),)


def test_a_line_longer_than_a_part_is_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(text_parts, "_LINE", 7)
    path = tmp_path / "a.txt"
    path.write_bytes(b"wind\n" + b"rain " * 50 + b"\nsun\n" + b"snow " * 50)
    found = list_parts([str(path)], PLAIN, 1000, 10).parts
    data = path.read_bytes()
    assert b"".join(data[part.start : part.end] for part in found) == data
    assert len(found) > 1
    assert all(data[part.end - 1 : part.end] == b"\n" for part in found[:-1])


def test_digests_are_those_of_the_file_and_of_its_parts(corpus):
    found = list_parts([str(corpus / "a.txt")], PLAIN, 1000, 500).parts
    whole, each, _ = digests(found)
    assert whole == sha256((corpus / "a.txt").read_bytes()).hexdigest()
    assert each == [read_part(part, PLAIN, "none", versions(PLAIN))[0].digest for part in found]


def test_other_versions_are_refused(corpus):
    part = list_parts([str(corpus)], PLAIN, 1, 500).parts[0]
    with pytest.raises(CorpusError, match=r"expected .*'regex': 'another'"):
        read_part(part, PLAIN, "none", {**versions(PLAIN), "regex": "another"})
