"""Views of two tables compared: blocks for people, JSON, and lines of TSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from embedcli.views.blocks import Block, Cell, Heading, Line, Pairs, Row, Table
from embedcli.views.records import to_json
from embedcli.views.terminal import tsv_line

if TYPE_CHECKING:
    from embedcli.comparison import ComparedWord, TableComparison
    from embedcli.table import Neighbor

NEIGHBORS_SHOWN = 3  # of a word on each side
DIGITS = 6  # of a number in JSON and TSV


def blocks_of(of: TableComparison, shown: int = 10) -> Iterator[Block]:
    """Show a comparison: what was compared, then the words asked for, or the ends of the list."""
    yield Pairs(list(_facts(of)))
    parts: list[tuple[str, Sequence[ComparedWord]]] = [("", of.asked)]
    if not of.asked:
        by = "moved" if of.chance is None else "moved beyond chance"
        parts = [(f"Most {by}", of.most(shown)), (f"Least {by}", of.least(shown))]
    for title, words in parts:
        if title:
            yield Heading(title)
        else:
            yield Line([])
        yield _table(of, words)


def _facts(of: TableComparison) -> Iterator[tuple[str, str]]:
    for name, models, size, dim in zip(of.names, of.models, of.sizes, of.dims, strict=True):
        several = f"{models} models of " if models > 1 else ""
        yield name, f"{several}{size:,} words × {dim}"
    yield "compared", f"{of.words:,} of {of.common:,} common words"
    for name, only in zip(of.names, of.only, strict=True):
        examples = f": {', '.join(only.examples)}" if only.words else ""
        yield f"only in {name}", f"{only.words:,}{examples}"
    yield "rotation", rotation(of)
    what = "1 - cosine" if of.rotated else "1 - overlap"
    chance = "" if of.chance is None else f"; {of.chance:.4f} between models of one side"
    yield "moved", f"mean {of.moved:.4f} ({what}){chance}"
    if of.test is not None:
        yield (
            "more than chance",
            f"{of.test.passed / of.words:.1%} of the words at p ≤ {of.test.level:.3g}; where "
            f"nothing changed up to {of.test.level:.1%} (permutation test, {of.test.splits:,} "
            "splits of the models)",
        )
    yield "overlap", f"mean {of.overlap:.4f} (Jaccard index of the {of.k} nearest words)"
    yield (
        "similarities",
        f"Spearman {of.spearman:.4f}, Pearson {of.pearson:.4f}, of {of.pairs:,} pairs of words",
    )


def rotation(of: TableComparison) -> str:
    """Return how the tables were laid on each other, in words."""
    if not of.rotated:
        return f"none: dims {of.dims[0]} and {of.dims[1]} differ, only neighbours can be compared"
    center = "centred, then of length 1" if of.centered else "of length 1, not centred"
    return f"orthogonal Procrustes; vectors {center}"


def _table(of: TableComparison, words: Sequence[ComparedWord]) -> Table:
    header, right = ["moved"], [True]
    if of.chance is not None:
        header, right = [*header, "chance", "p"], [True] * 3
    header += ["overlap", "word", *(f"nearest in {name}" for name in of.names)]
    rows: list[Row] = []
    for word in words:
        row: list[str | Cell] = [f"{word.moved:.4f}"]
        if word.chance is not None and word.p is not None:
            row += [f"{word.chance:.4f}", f"{word.p:.3f}"]
        row += [f"{word.overlap:.2f}", Cell(word.token, "heading"), *map(_nearest, word.neighbors)]
        rows.append(row)
    return Table(header, rows, right=(*right, True, False, False, False))


def _nearest(neighbors: Sequence[Neighbor]) -> str:
    return " ".join(token for token, _ in neighbors[:NEIGHBORS_SHOWN])


def record_of(of: TableComparison, shown: int) -> dict[str, Any]:
    """Return a comparison as docs/json.md describes it."""
    names = [each.name for each in fields(of) if each.name not in ("asked", "columns")]
    record = {name: to_json(getattr(of, name), DIGITS) for name in names}
    words = {"asked": of.asked, "most": of.most(shown), "least": of.least(shown)}
    return record | {name: to_json(each, DIGITS) for name, each in words.items()}


def tsv(of: TableComparison) -> Iterator[str]:
    """Return the lines of TSV: names, then the words asked for, or all, the most moved first."""
    yield tsv_line(
        ["token", "count_a", "count_b", "moved", "chance", "p", "overlap", "near_a", "near_b"]
    )
    for word in of.asked or of:
        numbers = (word.moved, word.chance, word.p, word.overlap)
        yield tsv_line(
            [
                word.token,
                *("" if count is None else count for count in word.counts),
                *("" if number is None else f"{number:.{DIGITS}g}" for number in numbers),
                *(" ".join(token for token, _ in each) for each in word.neighbors),
            ]
        )
