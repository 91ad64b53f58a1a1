"""Rows of a table: `lookup` and `show-table`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import blocks, records, terminal

if TYPE_CHECKING:
    from embedcli.table import Found

ROWS_SHOWN = 20
ROWS_DRAWN = 40
FORMULA = tuple("=+-@＝＋－＠\t\r")  # first characters of a cell that a spreadsheet would run


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
            metavar="WORD", help="Words to look up; none: one per line of standard input."
        ),
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    ids: Annotated[
        list[int] | None, typer.Option("--id", help="Look up the row with this index; repeatable.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Look up every token of a text, in order.")
    ] = None,
    fold_case: flags.FoldCase = None,
    oov: flags.Oov = None,
    output: Annotated[Literal["table", "json", "tsv", "npy"], flags.FORMAT] = "table",
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Print the vectors of words.

    A word is looked up as it stands, or else as the model's tokenizer spells it. JSON: a list of
    {"index", "token", "count", "vector"}. TSV: the token, then the numbers. npy: one float32 array
    of shape (words, D).
    """
    if output == "npy" and sys.stdout.isatty():
        raise typer.BadParameter("would write bytes to the terminal; add `> FILE.npy`")
    if sum((bool(words), bool(ids), text is not None)) > 1:
        raise typer.BadParameter("give words, --id or --text, and only one of them")
    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    table = api.load(model)
    if ids:
        found = table.lookup_ids(ids)
    elif text is not None:
        found = table.lookup_text(text, oov, fold_case)
    else:
        found = api.lookup(words or flags.lines_of_stdin(), table, oov=oov)
    if output == "table":
        for row in found:
            blocks.show(records.row(row, precision))
    elif output == "json":
        terminal.write_json(map(records.to_json, found))
    elif output == "tsv":
        for row in found:
            sys.stdout.write(terminal.raw(terminal.tsv_line([row.token, *row.vector])))
    else:
        from embedcli.storage.arrays import npy_chunks

        sys.stdout.buffer.writelines(npy_chunks(found.vectors))
    if found.unknown or len(found) > 1:
        respelled = None if text is None else found.respelled
        coverage = Coverage(found.known, found.unknown, found.composed, respelled=respelled)
        terminal.say_found(coverage, quiet=quiet)


@examples(
    "embed show-table",
    "embed show-table --rows 100:110 --sort count",
    "embed show-table --rows 0:1000 --format csv > table.csv",
    "embed show-table --model glove.6B.50d.txt --sort norm",
    "embed show-table --sort count --out table.svg",
)
def show_table(
    model: flags.Model = flags.EMBEDDINGS,
    rows: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Rows, as a slice in Python. [default: the first]"),
    ] = None,
    sort: Annotated[
        Literal["id", "count", "norm", "token"], typer.Option(help="Order of the rows.")
    ] = "id",
    output: Annotated[Literal["table", "json", "tsv", "csv"], flags.FORMAT] = "table",
    out: Annotated[
        Path | None, flags.picture("the rows, each number as a cell coloured by its value,")
    ] = None,
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

    A row is index, token, count and vector. The table format prints 20 rows and a picture shows 40
    unless --rows is given; the other formats print all. Count and norm sort from the largest. JSON:
    a list of {"index", "token", "count", "vector"}. TSV and CSV: index, token, count, then the
    numbers; CSV has a line of names first.
    """
    from embedcli import api

    table = api.load(model)
    wanted = _slice(rows, len(table), "svg" if out else output)
    found = table.sorted(sort)[wanted]
    if out is not None:
        from embedcli.views import charts

        flags.write_file(out, charts.heatmap(found))
    elif output == "table":
        blocks.show([records.rows(found, precision)])
        left = len(table) - len(found)
        if left:
            after = f"{wanted.stop}:{min(len(table), wanted.stop + ROWS_SHOWN)}"
            more = f" (--rows {after} shows the next)" if wanted.stop < len(table) else ""
            terminal.note(f"{left:,} of {len(table):,} rows are not shown{more}", quiet=quiet)
    elif output == "json":
        terminal.write_json(map(records.to_json, found))
    elif output == "tsv":
        for row in found:
            cells = [row.index, row.token, "" if row.count is None else row.count, *row.vector]
            sys.stdout.write(terminal.raw(terminal.tsv_line(cells)))
    else:
        _write_csv(found, table.dim, guard_formulas)


def _slice(rows: str | None, count: int, output: str) -> slice:
    """Read A:B (either may be left out, negative counts from the end)."""
    if rows is None:
        most = {"table": ROWS_SHOWN, "svg": ROWS_DRAWN}.get(output, count)
        return slice(0, min(count, most))
    start, colon, stop = rows.partition(":")
    try:
        wanted = slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"found {rows!r}; expected A:B, as in 0:20", param_hint="--rows")
    return slice(*wanted.indices(count)[:2])


def _write_csv(found: Found, dim: int, guard: bool) -> None:
    import csv

    write = SimpleNamespace(write=lambda line: sys.stdout.write(terminal.raw(line)))
    out = csv.writer(write, lineterminator="\n")
    out.writerow(["index", "token", "count", *(f"v{i}" for i in range(dim))])
    for row in found:
        formula = guard and row.token.startswith(FORMULA)
        out.writerow([row.index, f"'{row.token}" if formula else row.token, row.count, *row.vector])
