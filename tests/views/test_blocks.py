from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.views import terminal
from embedcli.views.blocks import (
    Cell,
    Flow,
    Heading,
    Line,
    Numbers,
    Pairs,
    Table,
    Vector,
    html_of,
    show,
)


@given(st.integers(1, 200), st.integers(8, 70), st.integers(0, 9))
def test_a_vector_fits_its_columns(dim, columns, precision):
    row = np.linspace(-3, 3, dim, dtype=np.float32)
    assert terminal.width(" ".join(Vector(row, precision).numbers(columns))) <= max(columns, 2)


def test_a_long_path_is_not_broken_at_its_hyphens(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/data/my-vectors-of-a-few/words.txt"
    lines = list(Pairs([("path", path), ("note", "a few words " * 5)]).plain())
    assert lines[0].split() == ["path", path[: 40 - 6]]
    assert "".join(line.strip() for line in lines[:2]) == f"path  {path}"


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize(
    "cells", [["a" * 40, "1"], ["नमस्ते" * 9, "b" * 90, "1"], ["label-name"] * 9, ["a" * 200] * 3]
)
def test_a_table_stays_in_the_page(monkeypatch, cells, margin):
    monkeypatch.setenv("COLUMNS", "80")
    right = [False, *[True] * (len(cells) - 1)]
    lines = list(Table(cells, [cells], right=right, margin=margin).plain())
    assert all(terminal.width(line.rstrip("\n")) <= 80 for line in lines)
    whole = sum(map(terminal.width, cells)) + 2 * (len(cells) - 1) <= 80 - margin
    assert whole == (terminal.ELLIPSIS not in lines[0])


def test_a_page_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    rows = [["x" * 60, "y" * 60]]
    for line in Table(["a", "b"], rows, right=(False, False)).plain():
        assert terminal.width(line.rstrip("\n")) <= 50


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return what `show` writes on a terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def shown(blocks):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", screen := Screen())
            show(blocks)
        return screen.getvalue()

    return shown


ROW = np.linspace(-1, 1, 40, dtype=np.float32)
EVERY_BLOCK = [
    Line(["[bold]word[/bold]", Cell("said", "right")]),
    Flow([Cell("wrong", "wrong"), *["[red]"] * 30]),
    Heading("A :smile: title", 1),
    Pairs([("path", Cell("x" * 100))]),
    Numbers(ROW),
    Table(["index", "word", "row"], [["0", "a" * 60, Vector(ROW)]], right=(True, False, False)),
    Table(["a", "b"], [["1", "[b]x[/b]"]], right=(True, False), title="[i]", layout="list"),
]


def test_blocks_on_a_terminal_fit_it_and_read_no_markup(shown):
    coloured = shown(EVERY_BLOCK)
    said = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert said != coloured
    assert all(terminal.width(line) <= 80 for line in said.splitlines())
    for words in ("[bold]word[/bold]", "[red]", "A :smile: title", "[b]x[/b]", "[i]"):
        assert words in said


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_without_colours_no_escape_is_written(shown, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert "\x1b" not in shown(EVERY_BLOCK)


def test_numbers_that_are_not_finite_are_shown(shown):
    row = np.array([np.nan, np.inf, -np.inf, 0], np.float32)
    said = shown([Numbers(row), Table(["row"], [[Vector(row)]], right=(False,))])
    assert said.count("nan") == said.count("-inf") == 2
    assert html_of([Numbers(row)]).count("nan") == 1


def test_blocks_as_html_escape_every_word():
    words = '<script>alert("1")</script>\x1b'
    blocks = [
        Line([words, Cell(words, "right")]),
        Flow([words]),
        Heading(words, 1),
        Pairs([(words, words)]),
        Table([words], [[words]], right=(False,), title=words),
    ]
    page = html_of(blocks)
    assert "<script" not in page and "\x1b" not in page
    assert page.count("&lt;script&gt;") == 9


def test_a_table_of_devanagari_is_as_wide_on_a_terminal_as_in_a_pipe(shown):
    rows = [[word, Vector(ROW)] for word in ("माना", "जाता", "है", "दिल्ली")]
    table = Table(["word", "row"], rows, right=(False, False))
    said = re.sub(r"\x1b\[[\d;]*m", "", shown([table])).splitlines()
    assert [line for line in said if "─" not in line] == "".join(table.plain()).splitlines()
    assert len(said) == 6 and not any(line.endswith(" ") for line in said)
