"""Views of what predictions are made of: blocks, a page of HTML, JSON and lines of TSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from embedcli.views.blocks import Block, Cell, Flow, Line, Shaded, html_of
from embedcli.views.colors import largest_of
from embedcli.views.terminal import escaped, tsv_line

if TYPE_CHECKING:
    from embedcli.attribution import Attribution

DIGITS = 6  # of a number in JSON and TSV
NGRAMS_SHOWN = 10  # those with the largest contributions


def blocks_of(line: Sequence[Attribution], precision: int = 4) -> Iterator[Block]:
    """Show what each prediction of a line is made of: its words in the order of the text."""
    largest = largest_of([[each.value for each in of.contributions] for of in line] or [[0.0]])
    for of in line:
        yield _heading(of)
        words = [(each.text, each.value) for each in of.contributions if each.kind == "word"]
        ngrams = [(each.text, each.value) for each in of.contributions if each.kind == "ngram"]
        ngrams = sorted(ngrams, key=lambda each: -abs(each[1]))[:NGRAMS_SHOWN]
        for cells in (words, ngrams):
            if cells:
                yield Shaded(cells, largest, precision)
        yield Flow([Cell(part, "muted") for part in _sum(of, precision)], indent="  ")


def _heading(of: Attribution) -> Line:
    if of.label is None:
        return Line([Cell(f"{of.output:.6g}", "heading")])
    return Line([Cell(f"{of.label} {of.probability:.4f}", "heading")], gap=" ")


def _sum(of: Attribution, precision: int) -> Iterator[str]:
    """Return what the output is the sum of."""
    for kind, words in (("word", "words"), ("ngram", "n-grams")):
        values = [each.value for each in of.contributions if each.kind == kind]
        if values:
            yield f"{words} {sum(values):+.{precision}f}"
    yield f"base {of.base:+.{precision}f}"
    if not of.exact:
        why = "labels are in a tree" if of.scale == "log probability" else "a layer is hidden"
        yield f"rest {of.rest:+.{precision}f} (gradient × input: not exact, as {why})"
    yield f"= {of.scale} {of.output:+.{precision}f}"


def tsv(number: int, line: Iterable[Attribution]) -> Iterator[str]:
    """Return lines of TSV: line, label, kind of the part, text, contribution."""
    for of in line:
        label = of.label or ""
        for each in of.contributions:
            yield tsv_line([number, label, each.kind, each.text, f"{each.value:.{DIGITS}g}"])
        yield tsv_line([number, label, "base", "", f"{of.base:.{DIGITS}g}"])
        yield tsv_line([number, label, "rest", "", f"{of.rest:.{DIGITS}g}"])


def html(lines: Iterable[Sequence[Attribution]], title: str) -> str:
    """Return a page on which every line's words are coloured by their contributions."""
    from embedcli.messages import catalogue
    from embedcli.views.explain_page import page

    body = "".join(html_of(blocks_of(line)) for line in lines)
    key = (
        "Orange words raise the score of the label or the number, blue words lower it; the "
        "pointer shows by how much."
    )
    return page(title, f"<h1>{escaped(title)}</h1>\n<p>{key}</p>\n{body}", catalogue("en"))
