"""Words that stand near each other, counted: `count`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.config import CountSettings
from embedcli.views import blocks, records, terminal

LARGEST_MATRIX = 12  # words whose matrix is shown whole


@examples(
    "printf 'Nice to see you\\nSee you soon\\n' | embed count - --word see",
    "embed count corpus.txt --out counts",
    "embed count counts --word king --word queen --sort pmi",
    "embed count counts --pair king queen --format json",
)
@flags.with_settings(CountSettings)
def count(
    ctx: typer.Context,
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS",
            help="Files, folders or globs, - for standard input; or a folder that --out saved.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to save the counts in.")
    ] = None,
    word: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Show with whom this word stands; repeatable."),
    ] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="WORD WORD", help="Show how often two words stand near each other."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of words or pairs to show.")] = 10,
    sort: Annotated[
        Literal["count", "pmi"], typer.Option(help="What puts the words of --word in order.")
    ] = "count",
    output: Annotated[Literal["table", "json", "tsv"], flags.FORMAT] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Count how often words stand near each other.

    Two words of a line that are at most --window words apart count 1 / their distance, or 1. PMI
    is the logarithm of how much more often they do than if the words were scattered at random;
    PPMI is 0 where that is negative. Without --word and --pair it shows the whole matrix of a small
    vocabulary, or the pairs that count most. --out saves a bundle with cells.npz, which
    `scipy.sparse.load_npz` reads, and vocab.txt. JSON: {"words", "cells", "total", "window",
    "weighting", "pairs": [{"tokens", "count", "expected", "pmi", "ppmi"}]}; with --word a list of
    {"token", "id", "occurrences", "total", "partners": [{"token", "id", "count", "pmi", "ppmi"}],
    "partners_in_all"}. TSV: the two words, count, PMI.
    """
    from embedcli import api
    from embedcli.cli.progress import Progress
    from embedcli.views import counts as views

    if word and pair:
        raise typer.BadParameter("give --word or --pair, not both")
    sources: Any = corpus[0] if len(corpus) == 1 else corpus
    with Progress(quiet) as progress:

        def report(what: str, done: int, total: int) -> None:
            progress.say(what, done, total, "bytes" if what == "read" else "words")

        found = api.count(sources, out, progress=report, **flags.given(ctx))
    words = [found.contexts(each, k, sort) for each in word or ()]
    pairs = [found.pair(*pair)] if pair else []
    if output == "json" and word:
        terminal.write_json(records.to_json(each, digits=6) for each in words)
    elif output == "json":
        record = views.record(found, pairs or found.most_frequent(k))
        sys.stdout.write(terminal.json_text(record) + "\n")
    elif output == "tsv":
        for each in words:
            sys.stdout.writelines(map(terminal.raw, views.contexts_tsv(each)))
        for two in [] if word else pairs or found.most_frequent(k):
            sys.stdout.write(terminal.raw(views.pair_tsv(two)))
    elif word:
        blocks.show(block for each in words for block in views.contexts(each))
    elif pairs:
        blocks.show([views.pairs(pairs)])
    elif len(found.vocabulary) <= LARGEST_MATRIX:
        blocks.show([views.matrix(found)])
    else:
        blocks.show(views.summary(found, k))
    if found.folder is not None and out is not None:
        terminal.note(f"{out / 'cells.npz'}  {views.size(found)}", quiet=quiet)
