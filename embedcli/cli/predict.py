"""The commands that apply a model to text: `predict`, `vectors`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.config import COLUMNS, TextSettings
from embedcli.views import records, terminal
from embedcli.views.blocks import Line, show
from embedcli.views.records import prediction_record

if TYPE_CHECKING:
    from embedcli.attribution import Attribution

Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="Files, folders, globs; none or -: standard input."),
]


@examples(
    "embed predict reviews.txt",
    "echo 'a warm and lovely film' | embed predict -k 2",
    "embed predict --format json < reviews.txt",
    "echo 'a warm and lovely film' | embed predict --why",
    "embed predict reviews.txt --why --out why.html",
)
@flags.with_settings(TextSettings, only=COLUMNS)
def predict(
    ctx: typer.Context,
    files: Texts = None,
    model: flags.Model = flags.EMBEDDINGS,
    k: Annotated[int, typer.Option("-k", help="Largest number of labels per line.")] = 1,
    threshold: Annotated[float, typer.Option(help="Smallest probability of a label.")] = 0.0,
    oov: flags.OovOfText = None,
    why: Annotated[
        bool, typer.Option("--why", help="Show what each word contributes to the prediction.")
    ] = False,
    output: Annotated[Literal["table", "json", "tsv"], flags.FORMAT] = "table",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a page of --why: FILE.html.")
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Predict labels or numbers of text, line by line.

    Prints one line for each line of the text. JSON: for each line a list of {"label",
    "probability"}, or of numbers. TSV: label, probability, label, ...; or numbers.

    --why splits each score into contributions of the words (and word n-grams) and the bias: exactly
    where no layer is hidden, otherwise gradient times input. So it does for fastText's models, but
    exactly where labels are in no tree. Words are coloured on a terminal. TSV: line, label, kind of
    the part, its text, its contribution.
    """
    from embedcli import api
    from embedcli.cli.progress import Progress

    columns = flags.given(ctx)
    if out is not None and (not why or out.suffix.lower() != ".html"):
        raise typer.BadParameter(
            "goes with --why, and a name that ends in .html", param_hint="--out"
        )
    if why:
        found = api.explain_predictions(
            files or ["-"], model, k=k, threshold=threshold, oov=oov, **columns
        )
        _show_why(found.lines, output, out, ", ".join(files or ["standard input"]))
        terminal.say_found(found.coverage, quiet=quiet)
        return
    found = api.predict(files or ["-"], model, k=k, threshold=threshold, oov=oov, **columns)
    with Progress(quiet or sys.stdout.isatty()) as progress:
        for number, line in enumerate(found.lines):
            if output == "json":
                values = [prediction_record(each) for each in line]
                sys.stdout.write(terminal.json_text(values) + "\n")
            elif output == "tsv":
                cells = [cell for each in line for cell in records.prediction_cells(each)]
                sys.stdout.write(terminal.raw(terminal.tsv_line(cells)))
            else:
                show([records.prediction(line)])
            progress.say("predicted", number, 0, "lines")
    terminal.say_found(found.coverage, quiet=quiet)


def _show_why(
    lines: Iterator[Sequence[Attribution]], output: str, out: Path | None, title: str
) -> None:
    from embedcli.views import attribution as views

    if out is not None:
        flags.write_file(out, views.html(lines, title))
        return
    for number, line in enumerate(lines, 1):
        if output == "json":
            values = [records.to_json(each, views.DIGITS) for each in line]
            sys.stdout.write(terminal.json_text(values) + "\n")
        elif output == "tsv":
            sys.stdout.writelines(map(terminal.raw, views.tsv(number, line)))
        else:
            show(views.blocks_of(line) if line else [Line([])])


@examples(
    "embed vectors 'the king and the queen' 'a mango tree'",
    "embed vectors --sif 0.001 --remove-common --format npy < texts.txt > v.npy",
)
def vectors(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts; none: one text per line of standard input."),
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    sif: Annotated[
        float | None, typer.Option(help="Weight a word by SIF / (SIF + its share of the corpus).")
    ] = None,
    remove_common: Annotated[
        bool,
        typer.Option(
            "--remove-common", help="Subtract the first singular direction, which all texts share."
        ),
    ] = False,
    fold_case: flags.FoldCase = None,
    oov: flags.OovOfText = None,
    output: Annotated[Literal["table", "json", "tsv", "npy"], flags.FORMAT] = "table",
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Print one vector for each text: the mean of the vectors of its words.

    --sif and --remove-common together are SIF (Arora et al. 2017), for which all texts are read
    first. A text without a known word is all zeros. JSON: a list of {"line", "vector"}. TSV: the
    numbers. npy: one float32 array (texts, D).
    """
    from tempfile import TemporaryDirectory

    from embedcli import api

    if output == "npy" and sys.stdout.isatty():
        raise typer.BadParameter("would write bytes to the terminal; add `> FILE.npy`")
    with TemporaryDirectory(prefix="embed-") as folder:
        source = "-"
        if texts:
            source = str(Path(folder) / "texts")
            lines = (" ".join(re.split("[\r\n]+", text)) for text in texts)
            Path(source).write_text("".join(f"{line}\n" for line in lines), "utf-8", "replace")
        found = api.vectors(
            source, model, sif=sif, remove_common=remove_common, fold_case=fold_case, oov=oov
        )
        _write_vectors(found.lines, output, precision)
    terminal.say_found(found.coverage, quiet=quiet)


def _write_vectors(rows: Iterator[Any], output: str, precision: int) -> None:
    if output == "json":
        terminal.write_json(
            {"line": line, "vector": terminal.numbers(row)} for line, row in enumerate(rows, 1)
        )
    elif output == "npy":
        import numpy as np

        from embedcli.formats.base import Rows
        from embedcli.storage.arrays import npy_chunks

        kept: Rows | None = None  # in a temporary file where they are many
        for row in rows:
            kept = kept or Rows(len(row))
            kept.add(row)
        found = np.zeros(0, np.float32) if kept is None else kept.finish()  # (texts, D)
        sys.stdout.buffer.writelines(npy_chunks(found))
    elif output == "tsv":
        sys.stdout.writelines(terminal.tsv_line(row) for row in rows)
    else:
        for line, row in enumerate(rows, 1):
            show(records.text_vector(line, row, precision))
