"""Blocks: the parts of a view. Each can be drawn as plain text, with rich, and as HTML.

A view of a record is a sequence of blocks. `show` prints it: as plain text in a pipe, and with
colours on a terminal. `html_of` makes HTML of it for a notebook.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from embedcli.views import colors
from embedcli.views.terminal import (
    ELLIPSIS,
    columns_of_page,
    escaped,
    fit,
    visible,
    width,
)

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST = 5  # columns of a cell that is cut
NUMBERS_IN_HTML = 12  # of a vector
Style = Literal["", "heading", "muted", "right", "wrong"]


class Block(Protocol):
    """A part of a view."""

    def plain(self) -> Iterator[str]:
        """Yield lines of text, each with its line end."""

    def rich(self) -> Any:
        """Return something that rich can print."""

    def html(self) -> str:
        """Return HTML."""


class Cell(NamedTuple):
    """A text with a style, which only terminals and HTML show."""

    text: str
    style: Style = ""


class Vector(NamedTuple):
    """The numbers of a row (D,) as a cell of a table: as many as fit, coloured by value."""

    row: Any
    precision: int = 4

    def numbers(self, columns: int) -> list[str]:
        """Return as many formatted numbers as fit in so many columns; "…" where some do not."""
        shown: list[str] = []
        left = columns
        for place, value in enumerate(self.row):
            number = f"{value: .{self.precision}f}"
            left -= len(number) + bool(shown)
            if left < (0 if place == len(self.row) - 1 else 2):
                return [*shown, ELLIPSIS] if shown else [f" {ELLIPSIS}"]
            shown.append(number)
        return shown


def _text(cell: str | Cell) -> str:
    return visible(cell if isinstance(cell, str) else cell.text)


def _rich(cell: str | Cell, text: str | None = None) -> Text:
    """Return a rich text of a cell; no markup is read from it."""
    from rich.text import Text

    style = "" if isinstance(cell, str) else colors.TERMINAL[cell.style]
    return Text(_text(cell) if text is None else text, style)


def _html(cell: str | Cell) -> str:
    if isinstance(cell, str) or not cell.style:
        return escaped(_text(cell))
    return f'<span style="{colors.HTML[cell.style]}">{escaped(cell.text)}</span>'


Row = Sequence[str | Cell | Vector]


class Line(NamedTuple):
    """Cells side by side, never wrapped."""

    cells: Sequence[str | Cell]
    gap: str = "  "

    def plain(self) -> Iterator[str]:
        """Yield the line."""
        yield self.gap.join(map(_text, self.cells)) + "\n"

    def rich(self) -> Any:
        """Return the line with its colours."""
        from rich.text import Text

        return Text(self.gap).join(map(_rich, self.cells))

    def html(self) -> str:
        """Return a paragraph."""
        return f"<p>{self.gap.join(map(_html, self.cells))}</p>\n"


class Flow(NamedTuple):
    """Cells one after the other in lines as wide as the page."""

    cells: Sequence[str | Cell]
    gap: str = "   "
    indent: str = ""

    def _lines(self) -> Iterator[list[str | Cell]]:
        line: list[str | Cell] = []
        taken = len(self.indent)
        for cell in self.cells:
            columns = width(_text(cell))
            if line and taken + len(self.gap) + columns > columns_of_page():
                yield line
                line, taken = [], len(self.indent)
            taken += columns + len(self.gap) * bool(line)
            line.append(cell)
        yield line

    def plain(self) -> Iterator[str]:
        """Yield the lines."""
        for line in self._lines():
            yield self.indent + self.gap.join(map(_text, line)) + "\n"

    def rich(self) -> Any:
        """Return the lines with their colours."""
        from rich.text import Text

        lines = (Text(self.gap).join(map(_rich, line)) for line in self._lines())
        return Text("\n").join(Text(self.indent) + line for line in lines)

    def html(self) -> str:
        """Return a paragraph."""
        gap = " " if self.gap == " " else " &ensp; "
        return f"<p>{gap.join(map(_html, self.cells))}</p>\n"


class Shaded(NamedTuple):
    """Texts with a number each, one after the other; colours show the numbers, or the numbers do.

    `largest` is the number with the strongest colour.
    """

    cells: Sequence[tuple[str, float]]
    largest: float
    precision: int = 4

    def _shades(self) -> list[int]:
        found: list[int] = colors.shades([value for _, value in self.cells], self.largest).tolist()
        return found

    def plain(self) -> Iterator[str]:
        """Yield the lines, each text with its number."""
        texts = [f"{text} {value:+.{self.precision}f}" for text, value in self.cells]
        return Flow(texts, indent="  ").plain()

    def rich(self) -> Any:
        """Return the texts, each on a colour by its number."""
        from rich.text import Text

        lines, line, taken = [], Text("  "), 2
        for (text, _), shade in zip(self.cells, self._shades(), strict=True):
            shown = visible(text)
            if taken > len("  ") and taken + width(shown) + 1 > columns_of_page():
                lines.append(line)
                line, taken = Text("  "), 2
            line.append(shown, colors.heat_style(shade))
            line.append(" ")
            taken += width(shown) + 1
        return Text("\n").join([*lines, line])

    def html(self) -> str:
        """Return a paragraph, each text on a colour by its number, which the pointer shows."""
        spans = (
            f'<span style="{colors.veil_css(shade)};padding:1px 4px;border-radius:3px" '
            f'title="{value:+.{self.precision}f}">{escaped(text)}</span>'
            for (text, value), shade in zip(self.cells, self._shades(), strict=True)
        )
        return f'<p style="line-height:2">{" ".join(spans)}</p>\n'


def paragraph(words: str) -> Flow:
    """Return a sentence or more, wrapped at spaces."""
    return Flow(visible(words).split(), gap=" ")


class Heading(NamedTuple):
    """The title of a part, after a blank line."""

    words: str
    number: int | None = None

    def _text(self) -> str:
        return visible(self.words if self.number is None else f"{self.number}. {self.words}")

    def plain(self) -> Iterator[str]:
        """Yield the title."""
        yield f"\n{self._text()}\n"

    def rich(self) -> Any:
        """Return the title in bold."""
        from rich.text import Text

        return Text(f"\n{self._text()}", "bold")

    def html(self) -> str:
        """Return a title."""
        level = "h3" if self.number is None else "h2"
        return f"<{level}>{escaped(self._text())}</{level}>\n"


class Pairs(NamedTuple):
    """Names and their values in two columns, long values wrapped."""

    rows: Sequence[tuple[str, str | Cell]]
    margin: int = 0

    def _lines(self) -> Iterator[tuple[str, str, Style]]:
        """Yield the two parts of every line, and the style of the second."""
        names = max(width(visible(name)) for name, _ in self.rows) + 2
        room = max(20, columns_of_page() - self.margin - names)
        for name, value in self.rows:
            style = "" if isinstance(value, str) else value.style
            lines = textwrap.wrap(_text(value), room, break_on_hyphens=False) or [""]
            for place, line in enumerate(lines):
                left = fit("" if place else visible(name), names)
                yield " " * self.margin + left, line, style

    def plain(self) -> Iterator[str]:
        """Yield the lines."""
        yield from (f"{name}{value}\n" for name, value, _ in self._lines())

    def rich(self) -> Any:
        """Return the lines, names muted."""
        from rich.text import Text

        lines = (
            _rich(Cell(name, "muted")) + _rich(Cell(value, style))
            for name, value, style in self._lines()
        )
        return Text("\n").join(lines)

    def html(self) -> str:
        """Return a table."""
        rows = (
            f'<tr><th style="text-align:left">{escaped(name)}</th>'
            f'<td style="text-align:left">{_html(value)}</td></tr>\n'
            for name, value in self.rows
        )
        return f"<table>{''.join(rows)}</table>\n"


class Numbers(NamedTuple):
    """A whole vector, in lines as wide as the page."""

    row: Any  # (D,)
    precision: int = 4

    def _lines(self) -> Iterator[tuple[slice, list[str]]]:
        numbers = [f"{value: .{self.precision}f}" for value in self.row]
        columns = max(map(len, numbers), default=1)
        in_line = max(1, (columns_of_page() - 1) // (columns + 1))
        for first in range(0, len(numbers), in_line):
            part = slice(first, first + in_line)
            yield part, [number.rjust(columns) for number in numbers[part]]

    def plain(self) -> Iterator[str]:
        """Yield the lines, indented by a space."""
        for _, numbers in self._lines():
            yield f" {' '.join(numbers)}\n"

    def rich(self) -> Any:
        """Return the lines, each number on a colour by its value."""
        from rich.text import Text

        largest = colors.largest_of([self.row])
        lines = (heat(numbers, self.row[part], largest) for part, numbers in self._lines())
        return Text("\n").join(Text(" ") + line for line in lines)

    def html(self) -> str:
        """Return a paragraph of coloured cells."""
        return f"<p>{_heat_html(self.row, self.precision, colors.largest_of([self.row]))}</p>\n"


def heat(numbers: Sequence[str], row: Any, largest: float) -> Text:
    """Return formatted numbers, each on a colour by its value; what has no value (…) has none."""
    from rich.text import Text

    line = Text()
    shades = colors.shades(row[: len(numbers)], largest).tolist()
    for place, number in enumerate(numbers):
        coloured = place < len(shades) and ELLIPSIS not in number
        gap = " " if place < len(numbers) - 1 else ""
        line.append(number + gap, colors.heat_style(shades[place]) if coloured else "")
    return line


def _heat_html(row: Any, precision: int, largest: float, most: int | None = None) -> str:
    shown = row[:most]
    cells = (
        f'<span style="{colors.heat_css(shade)};padding:1px 3px;display:inline-block">'
        f"{value: .{precision}f}</span>"
        for value, shade in zip(shown, colors.shades(shown, largest).tolist(), strict=True)
    )
    return "".join(cells) + (f" {ELLIPSIS}" if len(shown) < len(row) else "")


class Table(NamedTuple):
    """Rows in columns. Plain text has them aligned, or as a `list`: without header, two spaces in.

    A `Vector` may be in the last column only. A list may have a title.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    right: Sequence[bool]  # which columns are aligned to the right
    title: str = ""
    margin: int = 0
    layout: Literal["columns", "list"] = "columns"

    def plain(self) -> Iterator[str]:
        """Yield the lines, which fit the page unless they are a list."""
        if self.layout == "list":
            if self.title:
                yield visible(self.title) + "\n"
            yield from (f"  {'  '.join(row)}\n" for row in self._texts())
            return
        for row in self._fitted():
            yield " " * self.margin + "  ".join(row).rstrip() + "\n"

    def _texts(self) -> list[list[str]]:
        """Return the text of every cell, vectors as wide as the other columns leave them."""
        beside = self.header[:-1]
        cells = [[_text(cell) for cell in row if not isinstance(cell, Vector)] for row in self.rows]
        vectors = [row[-1] for row in self.rows if row and isinstance(row[-1], Vector)]
        if vectors:
            columns = columns_of_page() - sum(_limited([beside, *cells])) - 2 * len(beside)
            for row, vector in zip(cells, vectors, strict=True):
                row.append(" ".join(vector.numbers(columns)))
        return cells

    def _fitted(self) -> Iterator[list[str]]:
        """Yield the rows, header first, padded or cut to the widths of the columns.

        Where the table is too wide, no column but the last takes more than a third of the page;
        the last one takes what is left, and then the widest ones are cut.
        """
        cells = [[visible(cell) for cell in self.header], *self._texts()]
        page = columns_of_page() - self.margin - 2 * (len(self.header) - 1)
        widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        if sum(widths) > page:
            widths[:-1] = _limited([row[:-1] for row in cells])
            widths[-1] = min(widths[-1], max(NARROWEST, page - sum(widths[:-1])))
        while sum(widths) > page and max(widths) > NARROWEST:
            widths[widths.index(max(widths))] -= 1
        for row in cells:
            yield [fit(cell, widths[i], right=self.right[i]) for i, cell in enumerate(row)]

    def rich(self) -> Any:
        """Return the lines of `plain`, coloured, with a rule under the header.

        rich's own tables count the columns of Devanagari vowel signs other than terminals do.
        """
        from rich.text import Text

        if self.layout == "list":
            title = [_rich(Cell(self.title, "heading"))] if self.title else []
            cells = ([cell for cell in row if not isinstance(cell, Vector)] for row in self.rows)
            lines = (Text("  ").join(map(_rich, row)) for row in cells)
            return Text("\n").join([*title, *(Text("  ") + line for line in lines)])
        largest = self._largest()
        header, *rows = self._fitted()
        columns = sum(map(width, header)) + 2 * (len(header) - 1)
        shown = [Text("  ").join(Text(name, "bold") for name in header), Text("─" * columns)]
        for row, texts in zip(self.rows, rows, strict=True):
            line = []
            for cell, text in zip(row, texts, strict=True):
                if isinstance(cell, Vector):
                    line.append(heat(cell.numbers(width(text.rstrip())), cell.row, largest))
                else:
                    line.append(_rich(cell, text))
            shown.append(Text("  ").join(line))
        for each in shown:
            each.rstrip()
        return Text("\n").join(Text(" " * self.margin) + each for each in shown)

    def _largest(self) -> float:
        """Return the largest size of a number in the vectors."""
        return colors.largest_of(
            cell.row for row in self.rows for cell in row if isinstance(cell, Vector)
        )

    def html(self) -> str:
        """Return a table; of a vector its first numbers, on a colour by their values."""
        largest = self._largest()

        def html_cell(cell: str | Cell | Vector, right: bool) -> str:
            align = "right" if right else "left"
            shown = (
                _heat_html(cell.row, cell.precision, largest, NUMBERS_IN_HTML)
                if isinstance(cell, Vector)
                else _html(cell)
            )
            return f'<td style="text-align:{align}">{shown}</td>'

        head = "".join(f"<th>{escaped(name)}</th>" for name in self.header)
        rows = (f"<tr>{''.join(map(html_cell, row, self.right))}</tr>\n" for row in self.rows)
        caption = f"<caption>{escaped(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<tr>{head}</tr>\n{''.join(rows)}</table>\n"


def _limited(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of columns, each at most a third of the page."""
    most = columns_of_page() // 3
    return [min(most, max(width(visible(row[i])) for row in rows)) for i in range(len(rows[0]))]


def plain_text(blocks: Iterable[Block]) -> str:
    """Return blocks as plain text."""
    return "".join(line for block in blocks for line in block.plain())


def html_of(blocks: Iterable[Block]) -> str:
    """Return blocks as HTML that needs nothing else, for a notebook."""
    return "".join(block.html() for block in blocks)


def show(blocks: Iterable[Block]) -> None:
    """Print blocks on standard output: with colours on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        for block in blocks:
            sys.stdout.writelines(block.plain())
        return
    console = colors.console()
    for block in blocks:
        console.print(block.rich(), soft_wrap=True)
