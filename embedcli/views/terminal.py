"""Text for terminals, JSON and TSV, in which nothing from outside can do harm."""

from __future__ import annotations

import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedcli.text.vocabulary import Coverage

# Format characters that are parts of words: the joiners, and the visible signs of Arabic,
# Syriac and Kaithi.
HARMLESS_FORMAT = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2")
HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
WIDTH_OF_PAGE = 80
ELLIPSIS = "…"


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with control characters and direction overrides as backslash escapes.

    >>> print(visible("a\x1b[31mred"))
    a\x1b[31mred
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _is_harmful(c) else _backslashed(c) for c in text)


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in HARMFUL and character not in HARMLESS_FORMAT


def _backslashed(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def escaped(text: str) -> str:
    """Return a text that is harmless within XML and HTML, control characters as escapes."""
    import html

    shown = html.escape(visible(text))
    return shown.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


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
    """Pad or cut a visible text to so many columns; no mark is cut off its letter."""
    room = columns - width(text)
    if room >= 0:
        return " " * room + text if right else text + " " * room
    taken = place = 0
    while taken + _columns(text[place]) < columns:
        taken += _columns(text[place])
        place += 1
    while place and unicodedata.category(text[place]).startswith("M"):
        place -= 1
    return text[:place] + ELLIPSIS + " " * (columns - 1 - width(text[:place]))


def columns_of_page() -> int:
    """Return the terminal's columns, 80 where there is none to ask."""
    return max(40, shutil.get_terminal_size((WIDTH_OF_PAGE, 24)).columns)


def json_text(value: Any) -> str:
    r"""Return JSON on one line, with the harmful characters as JSON's own escapes.

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
    """Replace numbers that are not finite by null: JSON has no others."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(values: Iterable[Any]) -> None:
    """Write a JSON list to standard output, one value a line, as the values come."""
    opened = False
    for value in values:
        sys.stdout.write((",\n" if opened else "[\n") + json_text(value))
        opened = True
    sys.stdout.write("\n]\n" if opened else "[]\n")


_TSV = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})


def tsv_line(cells: Iterable[object]) -> str:
    r"""Return one line of TSV; tab, newline and backslash in a cell become `\t`, `\n` and `\\`."""
    return "\t".join(str(cell).translate(_TSV) for cell in cells) + "\n"


def raw(text: str) -> str:
    """Return text for standard output: unchanged for a program, harmless for a terminal."""
    return visible(text, keep="\n\t") if sys.stdout.isatty() else text


def numbers(array: Any) -> Any:
    """Return float32 numbers, nested as the array, with the fewest digits that read back to it."""
    if array.ndim > 1:
        return [numbers(part) for part in array]
    return [float(str(each)) for each in array] if array.ndim else float(str(array))


def spelled(value: Any) -> str:
    """Return a setting's value as a flag takes it.

    >>> spelled(None), spelled(True), spelled(0.001)
    ('none', 'true', '0.001')
    """
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def say_found(coverage: Coverage, *, quiet: bool) -> None:
    """Print on standard error how many words are in the vocabulary, and how many are not."""
    how = ""
    if coverage.respelled is not None:
        as_it_stands = coverage.known - coverage.respelled
        how = f" ({as_it_stands:,} as in the text, {coverage.respelled:,} in lower case)"
    composed = (
        f", {coverage.composed:,} of them composed from their spelling" if coverage.composed else ""
    )
    found = f"{coverage.known:,} found{how}, {coverage.unknown:,} not in the vocabulary{composed}"
    note(found, quiet=quiet)
    say_too_long(coverage.too_long, quiet=quiet)


def say_too_long(words: int, *, quiet: bool) -> None:
    """Print on standard error how many words were left out for their length, if any."""
    if words:
        note(f"{words:,} words of over 1,000 characters left out", quiet=quiet)


def note(text: str, *, quiet: bool = False) -> None:
    """Print a message, which is not a result, on standard error, if anyone is there to read it."""
    if not quiet:
        with suppress(OSError):
            print(visible(text, keep="\n"), file=sys.stderr)
