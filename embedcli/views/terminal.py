"""What commands print: tables for people, JSON and TSV for programs, and no way to abuse them."""

from __future__ import annotations

import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from embedcli.text.vocabulary import Coverage

# Format characters that are letters' own business: the joiners inside words, and the signs of
# Arabic, Syriac and Kaithi that are seen.
HARMLESS_FORMAT = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2")
HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
WIDTH_OF_PAGE = 80
NARROWEST = 5  # columns of a cell that is cut
ELLIPSIS = "…"


def visible(text: str, keep: str = "") -> str:
    r"""Show control characters, escape sequences and direction overrides as backslash escapes.

    >>> print(visible("a\x1b[31mred"))
    a\x1b[31mred
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _is_harmful(c) else _escaped(c) for c in text)


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in HARMFUL and character not in HARMLESS_FORMAT


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def width(text: str) -> int:
    """Count the terminal columns of a visible text: marks none, wide East Asian letters two.

    >>> width("नमस्ते"), width("東京")
    (4, 4)
    """
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Pad or cut a visible text to so many columns."""
    room = columns - width(text)
    if room >= 0:
        return " " * room + text if right else text + " " * room
    kept = ""
    left = columns - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept += character
    return kept + ELLIPSIS + " " * (columns - 1 - width(kept))


def columns_of_page() -> int:
    """Return the terminal's columns, 80 where there is none to ask."""
    return max(40, shutil.get_terminal_size((WIDTH_OF_PAGE, 24)).columns)


def json_text(value: Any) -> str:
    r"""Write JSON on one line, with the harmful characters as JSON's own escapes.

    >>> json_text({"word": "a\u202eb"})
    '{"word": "a\\u202eb"}'
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    if text.isascii() and text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if _is_harmful(c) else c for c in text)


def _finite(value: Any) -> Any:
    """Put null, as JSON has no other word, in the place of every number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(values: Iterable[Any]) -> None:
    """Write a JSON list as it comes, one value a line."""
    opened = False
    for value in values:
        sys.stdout.write((",\n" if opened else "[\n") + json_text(value))
        opened = True
    sys.stdout.write("\n]\n" if opened else "[]\n")


_TSV = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})


def tsv_line(cells: Iterable[object]) -> str:
    r"""Write one line of TSV; tab, newline and backslash in a cell become `\t`, `\n` and `\\`."""
    return "\t".join(str(cell).translate(_TSV) for cell in cells) + "\n"


def raw(text: str) -> str:
    """Return text for stdout: as it is for a program, made visible on a terminal."""
    return visible(text, keep="\n\t") if sys.stdout.isatty() else text


def numbers(row: Any) -> list[float]:
    """Return a float32 row as numbers with the fewest digits that read back to the same."""
    return [float(str(value)) for value in row]


def vector_in(row: Any, columns: int, precision: int) -> str:
    """Show as many numbers of a row as fit in so many columns, and say that there are more."""
    shown = ""
    for place, value in enumerate(row):
        number = f"{value: .{precision}f}"
        longer = f"{shown} {number}" if shown else number
        room = columns if place == len(row) - 1 else columns - 2
        if len(longer) > room:
            return f"{shown} {ELLIPSIS}"
        shown = longer
    return shown


def paragraph(row: Any, precision: int) -> Iterable[str]:
    """Lay out a whole vector in lines as wide as the page, indented."""
    numbers = [f"{value: .{precision}f}" for value in row]
    cell = max(map(len, numbers), default=1)
    in_line = max(1, (columns_of_page() - 1) // (cell + 1))
    for first in range(0, len(numbers), in_line):
        cells = (number.rjust(cell) for number in numbers[first : first + in_line])
        yield f" {' '.join(cells)}\n"


def pairs(rows: Sequence[tuple[str, str]]) -> Iterable[str]:
    """Lay out names and what is said of them, long sayings wrapped."""
    import textwrap

    names = max(width(visible(name)) for name, _ in rows) + 2
    for name, text in rows:
        room = max(20, columns_of_page() - names)
        lines = textwrap.wrap(visible(text), room, break_on_hyphens=False) or [""]
        yield fit(visible(name), names) + lines[0] + "\n"
        yield from (" " * names + line + "\n" for line in lines[1:])


def room_beside(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Count the columns of the page that `table_lines` leaves for one more column."""
    return columns_of_page() - sum(_widths([header, *rows])) - 2 * len(header)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    most = columns_of_page() // 3
    return [min(most, max(width(visible(row[i])) for row in rows)) for i in range(len(rows[0]))]


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool], margin: int = 0
) -> Iterable[str]:
    """Lay out a small table in columns, in the page but for a margin.

    Where it is too wide no column but the last takes more than a third, the last one what is left,
    and then the widest ones are cut.
    """
    cells = [[visible(cell) for cell in row] for row in (header, *rows)]
    page = columns_of_page() - margin - 2 * (len(header) - 1)
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    if sum(widths) > page:
        widths[:-1] = _widths([row[:-1] for row in cells])
        widths[-1] = min(widths[-1], max(NARROWEST, page - sum(widths[:-1])))
    while sum(widths) > page and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for row in cells:
        fitted = [fit(cell, widths[i], right=right[i]) for i, cell in enumerate(row)]
        yield "  ".join(fitted).rstrip() + "\n"


def lines_of_stdin() -> Iterator[str]:
    """Go through the lines of standard input that hold something, without their ends."""
    if sys.stdin.isatty():
        raise typer.BadParameter("nothing to look up; give words, or pipe them in")
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text:
            yield text


def say_found(coverage: Coverage, *, quiet: bool) -> None:
    """Say on stderr how many words were in the vocabulary and how many were not."""
    note(f"{coverage.known:,} found, {coverage.unknown:,} not in the vocabulary", quiet=quiet)
    say_too_long(coverage.too_long, quiet=quiet)


def say_too_long(words: int, *, quiet: bool) -> None:
    """Say on stderr how many words were left out for their length, if any."""
    if words:
        note(f"{words:,} words of over 1,000 characters left out", quiet=quiet)


def note(text: str, *, quiet: bool = False) -> None:
    """Say something on stderr that is not a result."""
    if not quiet:
        print(visible(text, keep="\n"), file=sys.stderr)
