"""Look into a table: `lookup` and `show-table`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedcli.table import EmbeddingTable

FORMATS = ("table", "json", "tsv", "npy")
ROWS_SHOWN = 20
Entry = tuple[int, str, int | None, Any]  # index, token, count, vector
FORMULA = tuple("=+-@＝＋－＠\t\r")  # what a cell begins with that a spreadsheet runs
ROWS_AT_ONCE = 1000  # read and written at a time, so that a long table takes no memory


@examples(
    "embed lookup king queen",
    "embed lookup --id 0 --id 1 --format json",
    'embed lookup --text "the king and the queen" --format npy > phrase.npy',
    "embed tokenize --format tokens a.txt | tr ' ' '\\n' | embed lookup --oov skip",
)
def lookup(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD", help="Words to look up; none: one a line from standard input."
        ),
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="N", help="Look up the row of this index.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Look up every token of a text, in order.")
    ] = None,
    oov: flags.Oov = "error",
    output: Annotated[str, flags.one_of("--format", *FORMATS, help="How to print.")] = "table",
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Print the vectors of words.

    A word is taken as it stands; where that is not in the vocabulary, as the model's tokenizer
    would spell it. JSON: a list of {"index", "token", "count", "vector"}. TSV: the token, then the
    numbers. npy: one float32 array of shape (words, D).
    """
    if output == "npy" and sys.stdout.isatty():
        raise typer.BadParameter("would write bytes to the terminal; add `> FILE.npy`")
    if sum((bool(words), bool(ids), text is not None)) > 1:
        raise typer.BadParameter("give words, --id or --text, and only one of them")
    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    table = api.load(model)
    if ids:
        found = api.find_ids(table, [flags.whole(each, "--id") for each in ids])
    elif text is not None:
        found = api.find(table, api.tokenizer_of(model).tokenize(text), oov=oov)
    else:
        asked = words or terminal.lines_of_stdin()
        found = api.find(table, asked, oov=oov, spelt_as=model)
    entries = _entries(table, found.ids, found.words)
    if output == "table":
        sys.stdout.writelines(line for entry in entries for line in _page(entry, precision))
    elif output == "json":
        terminal.write_json(_record(*entry) for entry in entries)
    elif output == "tsv":
        sys.stdout.writelines(terminal.raw(terminal.tsv_line([e[1], *e[3]])) for e in entries)
    else:
        _write_npy(api.vectors_of(table, found.ids))
    coverage = Coverage(int((found.ids >= 0).sum()), found.missed)
    if found.missed or len(found.ids) > 1:
        terminal.say_found(coverage, quiet=quiet)


def _entries(
    table: EmbeddingTable, ids: NDArray[np.int64], words: Sequence[str] | None = None
) -> Iterator[Entry]:
    """Go through (index, token, count, vector), a block of rows in memory at a time."""
    from embedcli import api

    for first in range(0, len(ids), ROWS_AT_ONCE):
        block = slice(first, first + ROWS_AT_ONCE)
        part = ids[block]
        tokens = table.vocabulary.tokens(part) if words is None else words[block]
        counts = api.counts_of(table, part)
        yield from zip(part.tolist(), tokens, counts, api.vectors_of(table, part), strict=True)


def _page(entry: Entry, precision: int) -> Iterator[str]:
    index, token, count, row = entry
    place = "not in the vocabulary" if index < 0 else f"index {index}"
    times = "" if count is None else f", count {count}"
    yield f"{terminal.visible(token)}  ({place}{times})\n"
    yield from terminal.paragraph(row, precision)


def _record(index: int, token: str, count: int | None, row: Any) -> dict[str, Any]:
    return {
        "index": index if index >= 0 else None,
        "token": token,
        "count": count,
        "vector": terminal.numbers(row),
    }


def _write_npy(vectors: NDArray[np.float32]) -> None:
    import numpy as np

    np.save(sys.stdout.buffer, vectors, allow_pickle=False)


@examples(
    "embed show-table",
    "embed show-table --rows 100:110 --sort count",
    "embed show-table --rows 0:1000 --format csv > table.csv",
    "embed show-table --model glove.6B.50d.txt --sort norm",
)
def show_table(
    model: flags.Model = flags.EMBEDDINGS,
    rows: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Rows A up to B, as Python counts. [default: the first]"),
    ] = None,
    sort: Annotated[
        Literal["id", "count", "norm", "token"],
        flags.one_of("--sort", "id", "count", "norm", "token", help="Order of the rows."),
    ] = "id",
    output: Annotated[
        str, flags.one_of("--format", "table", "json", "tsv", "csv", help="How to print.")
    ] = "table",
    precision: flags.Precision = 4,
    guard_formulas: Annotated[
        bool,
        typer.Option(
            "--guard-formulas",
            help="In CSV, quote tokens that a spreadsheet would run as a formula.",
        ),
    ] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Print the table, row by row.

    A row is index, token, count and vector. A table for people shows 20 rows unless --rows says
    which; the other formats print all. Count and norm sort from the largest. JSON: a list of
    {"index", "token", "count", "vector"}. TSV and CSV: index, token, count, then the numbers; CSV
    has a line of names first.
    """
    from embedcli import api

    table = api.load(model)
    wanted = _slice(rows, len(table), output)
    ids = api.order(table, sort)[wanted]
    entries = _entries(table, ids)
    if output == "table":
        sys.stdout.writelines(_page_of_rows(list(entries), precision))
        _say_what_is_left(len(table), wanted, quiet)
    elif output == "json":
        terminal.write_json(_record(*entry) for entry in entries)
    elif output == "tsv":
        for index, token, count, row in entries:
            sys.stdout.write(
                terminal.raw(
                    terminal.tsv_line([index, token, "" if count is None else count, *row])
                )
            )
    else:
        _write_csv(entries, table.dim, guard_formulas)


def _slice(rows: str | None, count: int, output: str) -> slice:
    """Read A:B (either may be left out, negative counts from the end)."""
    if rows is None:
        return slice(0, min(count, ROWS_SHOWN) if output == "table" else count)
    start, colon, stop = rows.partition(":")
    try:
        wanted = slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"found {rows!r}; expected A:B, as in 0:20", param_hint="--rows")
    return slice(*wanted.indices(count)[:2])


def _page_of_rows(entries: Sequence[Entry], precision: int) -> Iterator[str]:
    header = ["index", "token", "count", "vector"]
    cells = [
        [str(index), token, "" if count is None else str(count)]
        for index, token, count, _ in entries
    ]
    room = terminal.room_beside(header[:3], cells)
    vectors = [terminal.vector_in(row, room, precision) for *_, row in entries]
    rows = [[*cell, vector] for cell, vector in zip(cells, vectors, strict=True)]
    yield from terminal.table_lines(header, rows, right=(True, False, True, False))


def _say_what_is_left(count: int, shown: slice, quiet: bool) -> None:
    left = count - max(0, shown.stop - shown.start)
    if left:
        after = f"{shown.stop}:{min(count, shown.stop + ROWS_SHOWN)}"
        more = f" (--rows {after} shows the next)" if shown.stop < count else ""
        terminal.note(f"{left:,} of {count:,} rows are not shown{more}", quiet=quiet)


def _write_csv(entries: Iterator[Entry], dim: int, guard: bool) -> None:
    out = csv.writer(SimpleNamespace(write=_write_raw), lineterminator="\n")
    out.writerow(["index", "token", "count", *(f"v{i}" for i in range(dim))])
    for index, token, count, row in entries:
        out.writerow([index, _no_formula(token) if guard else token, count, *row])


def _write_raw(line: str) -> None:
    sys.stdout.write(terminal.raw(line))


def _no_formula(token: str) -> str:
    return f"'{token}" if token.startswith(FORMULA) else token
