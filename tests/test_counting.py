"""Counts of pairs against a count by hand, whatever the memory, the workers and the blocks."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import numpy as np
import pytest

from embedcli import counting
from embedcli.config import TextSettings
from embedcli.counting import Cells, count_cells
from embedcli.errors import ConfigError, StoreError
from embedcli.text.encode import EncodedCorpus, encode

TWO = "Hope to see you soon\nNice to see you again\n"


def encoded(folder: Path, text: str) -> EncodedCorpus:
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(text)
    return encode([folder / "text.txt"], TextSettings(cache=False), folder=folder)


def natural(lines: int = 150, words: int = 300) -> str:
    """Lines of words, some of which are frequent and most of which are rare."""
    rng = np.random.default_rng(3)
    numbers = rng.zipf(1.3, (lines, 25)) % words
    lengths = rng.integers(0, 25, lines)
    return "\n".join(
        " ".join(f"w{n}" for n in line[:length])
        for line, length in zip(numbers, lengths, strict=True)
    )


def by_hand(corpus: EncodedCorpus, window: int, harmonic: bool) -> np.ndarray:
    size = len(corpus.vocabulary)
    matrix = np.zeros((size, size))
    for start, stop in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
        line = corpus.ids[start:stop].tolist()
        for j in range(len(line)):
            for i in range(max(j - window, 0), j):
                matrix[line[i], line[j]] += 1 / (j - i) if harmonic else 1
                matrix[line[j], line[i]] += 1 / (j - i) if harmonic else 1
    return matrix


def whole(parts: list[Cells], size: int) -> np.ndarray:
    matrix = np.zeros((size, size))
    last = -1  # place of the part before
    for rows, columns, counts in parts:
        places = rows.astype(np.int64) * size + columns
        assert (np.diff(places) > 0).all()  # in order, each once
        assert counts.all()
        if len(rows):
            assert places[0] > last
            last = places[-1]
        matrix[rows, columns] = counts
    return matrix


def test_the_matrix_of_two_sentences(tmp_path):
    corpus = encoded(tmp_path, TWO)
    found = whole(count_cells(corpus, 10, "harmonic", folder=tmp_path), 7)
    row = [0.5, 2, 0, 2, 0.5, 0.5, 0.5]  # see: beside hope, to, see, you, soon, nice, again
    assert found[corpus.vocabulary.id_of("see")].tolist() == row
    assert found[0].tolist() == [0, 1, 0.5, 1 / 3, 0.25, 0, 0]


@pytest.mark.parametrize("weighting", ["harmonic", "plain"])
@pytest.mark.parametrize("window", [1, 4, 10])
def test_counts_are_those_by_hand(tmp_path, window, weighting):
    corpus = encoded(tmp_path, natural() + "\nthe the the the\n")
    found = whole(count_cells(corpus, window, weighting, folder=tmp_path), len(corpus.vocabulary))
    expected = by_hand(corpus, window, weighting == "harmonic")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dense", [0, 30, 1_000_000])
def test_memory_and_workers_do_not_change_a_byte(tmp_path, monkeypatch, dense, workers):
    corpus = encoded(tmp_path, natural())
    whole_at_once = count_cells(corpus, 10, "harmonic", folder=tmp_path)
    expected = [np.concatenate(each).tobytes() for each in zip(*whole_at_once, strict=True)]
    monkeypatch.setattr(counting, "MOST_DENSE", dense)
    monkeypatch.setattr(counting, "BLOCK", 61)
    monkeypatch.setattr(counting, "AT_ONCE", 1000)
    monkeypatch.setattr(counting, "PIECE", 700)
    (tmp_path / "again").mkdir()
    parts = count_cells(corpus, 10, "harmonic", folder=tmp_path / "again", workers=workers)
    assert len(parts) > 2
    assert dense or any(a.rows[-1] == b.rows[0] for a, b in itertools.pairwise(parts))
    assert [np.concatenate(each).tobytes() for each in zip(*parts, strict=True)] == expected
    assert not list((tmp_path / "again").glob("runs.*"))


def test_far_words_count_almost_exactly(tmp_path):
    corpus = encoded(tmp_path, natural())
    found = whole(count_cells(corpus, 100, "harmonic", folder=tmp_path), len(corpus.vocabulary))
    np.testing.assert_allclose(found, by_hand(corpus, 100, True), rtol=1e-4)


def test_a_sum_of_too_many_bits_is_written_in_pieces():
    packing = counting._Packing(28, (1,), 1)  # which leaves 8 bits for a count
    places, units = np.array([5, 9, 12], np.uint64), np.array([7, 1000, 510], np.uint64)
    packed = packing.pack(places, units)
    assert len(packed) == 1 + 4 + 2
    again = packing.summed(packed)
    assert [each.tolist() for each in again] == [[5, 9, 12], [7, 1000, 510]]


def test_ids_of_millions_of_words_leave_room_for_the_units():
    packing = counting._Packing.of(1 << 23, 100, "harmonic")
    assert max(packing.units) == packing.scale <= packing.mask


def test_a_line_of_one_word_has_no_pairs(tmp_path):
    corpus = encoded(tmp_path, "alone\n")
    assert [len(part.rows) for part in count_cells(corpus, 5, "plain", folder=tmp_path)] == [0]


def test_too_little_memory_is_an_error(tmp_path, monkeypatch):
    corpus = encoded(tmp_path, TWO)
    with pytest.raises(ConfigError, match=r"memory: found 1\.0 MiB; expected at least 256"):
        count_cells(corpus, 5, "plain", folder=tmp_path, memory=1 << 20)
    monkeypatch.setattr(counting, "BYTES_PER_WORD", 40 << 20)
    with pytest.raises(ConfigError, match=r"expected at least 424\.0 MiB for 7 words"):
        count_cells(corpus, 5, "plain", folder=tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_an_error_that_is_explained(tmp_path, monkeypatch, workers):
    corpus = encoded(tmp_path, natural())
    monkeypatch.setattr(counting, "AT_ONCE", 1000)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(counting, "_count_stretch", full)
    with pytest.raises(StoreError, match="cannot be written: No space left") as failed:
        count_cells(corpus, 5, "plain", folder=tmp_path, workers=workers)
    assert failed.value.hint is not None
