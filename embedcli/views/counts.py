"""Views of co-occurrence counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from embedcli.views.blocks import Block, Cell, Line, Row, Table
from embedcli.views.records import to_json
from embedcli.views.terminal import tsv_line

if TYPE_CHECKING:
    from embedcli.cooccurrences import Contexts, Cooccurrences, Pair, Partner


def size(of: Cooccurrences) -> str:
    """Return the shape of a matrix and its number of cells, in words."""
    words = len(of.vocabulary)
    return f"{words:,} × {words:,} words, {of.cells:,} cells, total {of.total:,.6g}"


def contexts(of: Contexts) -> Iterator[Block]:
    """Show a word and those near it."""
    times = "once" if of.occurrences == 1 else f"{of.occurrences:,} times"
    about = f"({times}; {of.partners_in_all:,} words near it, total {of.total:.6g})"
    yield Line([Cell(of.token, "heading"), Cell(about, "muted")], gap=" ")
    rows: list[Row] = [[*_numbers(each), each.token] for each in of.partners]
    yield Table(["count", "PMI", "PPMI", "word"], rows, right=(True, True, True, False), margin=2)


def pairs(of: Iterable[Pair]) -> Table:
    """Show pairs of words, a line each."""
    rows: list[Row] = [[*_numbers(each), *each.tokens] for each in of]
    header = ["count", "PMI", "PPMI", "word", "and word"]
    return Table(header, rows, right=(True, True, True, False, False))


def matrix(of: Cooccurrences) -> Table:
    """Show the whole matrix of a small vocabulary; cells of 0 are left blank."""
    words = list(of.vocabulary)
    rows: list[Row] = [
        [word, *(f"{count:.4g}" if count else "" for count in counts)]
        for word, counts in zip(words, of.matrix().tolist(), strict=True)
    ]
    return Table(["", *words], rows, right=(False, *[True] * len(words)))


def summary(of: Cooccurrences, k: int) -> Iterator[Block]:
    """Show the size of a matrix, and the pairs that count most."""
    yield Line([size(of)])
    yield pairs(of.most_frequent(k))


def record(of: Cooccurrences, shown: Iterable[Pair]) -> dict[str, Any]:
    """Return the size of a matrix, and some pairs, for JSON."""
    return {
        "words": len(of.vocabulary),
        "cells": of.cells,
        "total": of.total,
        "window": of.settings.window,
        "weighting": of.settings.weighting,
        "pairs": to_json([*shown], digits=6),
    }


def contexts_tsv(of: Contexts) -> Iterator[str]:
    """Return the lines of TSV of a word and those near it: both words, count, PMI."""
    for each in of.partners:
        yield _tsv(of.token, each.token, each)


def pair_tsv(of: Pair) -> str:
    """Return the line of TSV of a pair."""
    return _tsv(*of.tokens, of)


def _tsv(one: str, other: str, of: Pair | Partner) -> str:
    return tsv_line([one, other, f"{of.count:.6g}", "" if of.pmi is None else f"{of.pmi:.6g}"])


def _numbers(of: Pair | Partner) -> list[str]:
    pmi = "" if of.pmi is None else f"{of.pmi:.4f}"
    return [f"{of.count:.6g}", pmi, f"{of.ppmi:.4f}"]
