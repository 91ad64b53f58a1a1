from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import embedcli
from embedcli.evaluation import Classification
from embedcli.metrics import label_scores
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import charts
from embedcli.views.canvas import INK, MUTED, PAPER, Canvas
from embedcli.views.colors import (
    COLD,
    RIGHT,
    WARM,
    WORD_COLORS,
    WRONG,
    contrast,
    dark,
    ink_on,
    tint,
)

NAUGHTY = "<b>&\x1b[31m"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width + 1
        assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height + 1
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", 0)) <= width and 0 <= float(text.get("y", 0)) <= height
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("color", [INK, MUTED, RIGHT, WRONG, *WORD_COLORS])
def test_text_is_legible_in_both_themes(color):
    assert contrast(color, PAPER) >= 4.5
    assert contrast(dark(color), dark(PAPER)) >= 4.5


@pytest.mark.parametrize("strong", [COLD, WARM, RIGHT])
def test_numbers_on_cells_are_legible_in_both_themes(strong):
    for share in np.linspace(0, 1, 9):
        cell = tint(strong, share)
        assert contrast(ink_on(cell), cell) >= 3.5
        assert contrast(dark(ink_on(cell)), dark(cell)) >= 3


@pytest.mark.parametrize("strong", [COLD, WARM])
def test_larger_numbers_stand_out_more_in_both_themes(strong):
    cells = [tint(strong, share) for share in np.linspace(0, 1, 9)]
    light = [contrast(cell, PAPER) for cell in cells]
    night = [contrast(dark(cell), dark(PAPER)) for cell in cells]
    assert light == sorted(light) and night == sorted(night)


def test_a_picture_has_rules_for_each_of_its_colours():
    canvas = Canvas()
    canvas.text(10, 10, 'a fill="#123456"', color="#0f766e")
    svg = canvas.svg("t")
    assert f'[fill="#0f766e"]{{fill:{dark("#0f766e")}}}' in svg
    assert f'[fill="{PAPER}"]{{fill:{dark(PAPER)}}}' in svg
    assert "#123456]" not in svg
    parsed(svg)


def table_of(words, vectors):
    return EmbeddingTable(Vocabulary(words), np.asarray(vectors, np.float32))


def test_rows_as_cells():
    table = table_of([NAUGHTY, "नमस्ते"], [[1, -1, np.nan], [0, 0.5, np.inf]])
    root = parsed(charts.heatmap(table.sorted()))
    assert texts(root)[0] == "2 words × 3 numbers"
    assert "<b>&\\x1b[31m" in texts(root) and "नमस्ते" in texts(root)


def test_of_a_large_table_the_first_rows_and_numbers_are_drawn():
    words = [f"w{i}" for i in range(300)]
    root = parsed(charts.heatmap(table_of(words, np.ones((300, 400))).sorted()))
    said = texts(root)
    assert "100 more rows not shown" in said and "100 more numbers of each row not shown" in said
    assert "w199" in said and "w200" not in said


def test_norms(tmp_path):
    (tmp_path / "v.txt").write_text("a 3 4\nb 0 1\nc 0 1\n")
    found = embedcli.describe(tmp_path / "v.txt")
    assert sum(found.histogram.counts) == 3
    assert found.histogram.edges[0] == 1 and found.histogram.edges[-1] == 5
    root = parsed(charts.norms(found))
    tips = [each.text for each in root.iter(f"{SVG}title")]
    assert "1 to 1.1: 2 words" in tips
    (tmp_path / "one.txt").write_text("a 3 4\n")
    parsed(charts.norms(embedcli.describe(tmp_path / "one.txt")))
    # A mean that is not finite, of a broken model, has no place on the axis.
    root = parsed(charts.norms(replace(found, norms=(1.0, math.inf, math.inf))))
    assert "mean" not in texts(root)
    assert "inf" not in "".join(each.get("d", "") for each in root.iter(f"{SVG}path"))


def test_curves():
    log = [
        {"epoch": n, "steps": n, "loss": 2.0 / n, "valid_loss": 1.0, "accuracy": n / 9}
        for n in range(1, 8)
    ]
    root = parsed(charts.curves(log, NAUGHTY))
    said = texts(root)
    assert "loss 0.2857" in said and "valid_loss 1.0000" in said and "accuracy 0.7778" in said
    assert "steps" not in " ".join(said)
    tips = [each.text for each in root.iter(f"{SVG}title")]
    assert "epoch 2: loss 1.0000" in tips
    parsed(charts.curves(log[:1]))
    log[1]["curve"] = [1.5, 0.5]
    tips = [each.text for each in parsed(charts.curves(log)).iter(f"{SVG}title")]
    assert "epoch 1.5: loss 1.5000" in tips and "epoch 2: loss 0.5000" in tips
    parsed(charts.curves([{"epoch": 1, "loss": float("nan")}]))


def classification(names, confusion):
    counts = np.array(confusion)
    right, support = counts.diagonal(), counts.sum(axis=1)
    return Classification(
        texts=int(counts.sum()), known_words=1, unknown_words=0, names=names, accuracy=0.5,
        micro_f1=0.5, macro_f1=0.5, labels=label_scores(right, counts.sum(axis=0), support),
        precision_at={}, recall_at={}, confusion=counts, baseline_label=names[0], baseline=0.5,
    )  # fmt: skip


def test_confusion_matrix():
    root = parsed(charts.confusion(classification(("pos", NAUGHTY), [[8, 2], [0, 5]]), "f.txt"))
    assert {"8", "2", "5", "pos"} <= set(texts(root)) and "0" not in texts(root)
    tips = [each.text for each in root.iter(f"{SVG}title")]
    assert "pos → <b>&\\x1b[31m: 2 (20.0%)" in tips
    many = classification(tuple(f"label {i}" for i in range(60)), np.eye(60, dtype=int))
    assert "20 more labels not shown" in texts(parsed(charts.confusion(many)))


def test_sparkline():
    assert charts.sparkline([5, 5, 5]) == "▁▁▁"
    assert charts.sparkline([]) == ""
    assert charts.sparkline([1, float("nan"), 2]) == "▁ █"
    assert len(charts.sparkline(range(1000))) <= charts.SPARKS
    assert re.fullmatch("[▁-█]+", charts.sparkline(range(1000)))
