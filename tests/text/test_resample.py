from __future__ import annotations

import numpy as np
import pytest

from embedcli.config import TextSettings
from embedcli.text import resample as module
from embedcli.text.encode import encode
from embedcli.text.resample import line_counts, resample

LINES = [f"__label__{n % 3} word{n} two and {'x ' * (n % 5)}" for n in range(200)]


@pytest.fixture
def encoded(tmp_path):
    def go(labels="none", lines=LINES):
        (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "ids").mkdir()
        return encode(
            [tmp_path / "text.txt"], TextSettings(cache=False), folder=tmp_path / "ids",
            labels=labels,
        )  # fmt: skip

    return go


def lines_of(corpus):
    return [
        corpus.ids[a:b].tolist() for a, b in zip(corpus.offsets, corpus.offsets[1:], strict=False)
    ]


def test_as_many_lines_are_drawn_by_the_seed_alone():
    counts = line_counts(10_000, 3)
    assert counts.sum() == 10_000
    assert abs((counts == 0).mean() - np.exp(-1)) < 0.02
    assert (counts == line_counts(10_000, 3)).all()
    assert (counts != line_counts(10_000, 4)).any()


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_lines_are_repeated_as_they_were_drawn(encoded, tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    whole = encoded()
    drawn = resample(whole, 1, tmp_path)
    counts = line_counts(whole.lines, 1)
    expected = [
        line for line, times in zip(lines_of(whole), counts, strict=True) for _ in range(times)
    ]
    assert lines_of(drawn) == expected
    assert drawn.lines == whole.lines
    assert drawn.fingerprint == whole.fingerprint


def test_words_keep_their_ids_and_have_the_counts_drawn(encoded, tmp_path):
    whole = encoded()
    drawn = resample(whole, 1, tmp_path)
    assert list(drawn.vocabulary) == list(whole.vocabulary)
    expected = np.bincount(drawn.ids, minlength=len(whole.vocabulary))
    assert (drawn.vocabulary.counts == expected).all() and (expected == 0).any()


def test_labels_go_with_their_lines(encoded, tmp_path):
    whole = encoded("class")
    drawn = resample(whole, 2, tmp_path)
    order = np.repeat(np.arange(whole.lines), line_counts(whole.lines, 2))
    assert drawn.targets.names == whole.targets.names
    assert drawn.targets.ids.tolist() == whole.targets.ids[order].tolist()


def test_numbers_go_with_their_lines(encoded, tmp_path):
    whole = encoded("number", [f"__label__{n} some words" for n in range(50)])
    drawn = resample(whole, 2, tmp_path)
    order = np.repeat(np.arange(50), line_counts(50, 2))
    assert drawn.targets.values[:, 0].tolist() == order.tolist()
