"""Two tables compared: `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import blocks, terminal


@examples(
    "embed compare seed-1 seed-2",
    "embed compare 1900s.txt.gz 2000s.txt.gz broadcast gay --min-count 50",
    "embed compare tales news --words 5000 --format tsv > moved.tsv",
)
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="Model folder, file of vectors, or folder of models.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    show: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="Words to show; none: the most and least moved."),
    ] = None,
    words: Annotated[
        int, typer.Option(help="Number of common words to compare, by count; 0: all.")
    ] = 20_000,
    min_count: Annotated[
        int, typer.Option(help="Leave out words with a smaller count in A or B.")
    ] = 1,
    k: Annotated[int, typer.Option("-k", help="Number of neighbours that are compared.")] = 10,
    center: Annotated[
        bool, typer.Option("--center", help="Subtract each table's mean vector first.")
    ] = False,
    top: Annotated[
        int, typer.Option(help="Number of the most and least moved words to show.")
    ] = 10,
    output: Annotated[Literal["table", "json", "tsv"], flags.FORMAT] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Compare two tables: which words moved, and what is only in one.

    One table is rotated onto the other by their common words (orthogonal Procrustes). A folder of
    models, as --replicas makes, is one side with several tables: a word's change is then compared
    with the change between the models of one side. See docs/compare.md. JSON: one object. TSV: a
    line of names, then every word, the most moved first.
    """
    from embedcli import api
    from embedcli.cli.progress import Progress
    from embedcli.views import comparison as views

    with Progress(quiet) as progress:
        found = api.compare(
            Path(a),
            Path(b),
            show or (),
            words=words or None,
            min_count=min_count,
            k=k,
            center=center,
            progress=lambda done, total: progress.say("compared", done, total, "searches"),
        )
    if output == "json":
        sys.stdout.write(terminal.json_text(views.record_of(found, top)) + "\n")
    elif output == "tsv":
        sys.stdout.writelines(map(terminal.raw, views.tsv(found)))
    else:
        blocks.show(views.blocks_of(found, top))
