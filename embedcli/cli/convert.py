"""Vectors from one format to another: `convert`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.cli.progress import Progress
from embedcli.formats import WRITTEN
from embedcli.views import terminal


@examples(
    "embed convert embeddings vectors.txt",
    "embed convert glove.6B.50d.txt.gz glove --to model",
    "embed convert cc.hi.300.bin hindi.safetensors",
    "embed convert embeddings projector --to projector",
    "embed convert embeddings sentence-model --to static-embedding",
    "embed convert model.safetensors llm.npy --vocab tokenizer.json",
    "embed convert embeddings small --to quantized --prune 20000",
)
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Model folder, or a file of vectors.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    to: Annotated[
        str | None,
        flags.one_of(
            "--to",
            WRITTEN,
            metavar="FORMAT",
            help=f"Format of OUT: {', '.join(WRITTEN)}; none: by its name.",
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option(metavar="TEXT", help="Encoding of the words in IN.")
    ] = "utf-8",
    errors: Annotated[
        Literal["strict", "replace", "skip"],
        typer.Option(help="How to handle words that cannot be decoded, or, by skip, written."),
    ] = "strict",
    vocab: Annotated[
        Path | None,
        typer.Option(help="Words of a matrix without any: one a line, or a tokenizer.json."),
    ] = None,
    prune: Annotated[
        int | None, typer.Option(help="Keep this many words only, those of the longest vectors.")
    ] = None,
    prune_by: Annotated[
        Literal["norm", "count"], typer.Option(help="Which words --prune keeps.")
    ] = "norm",
    quantizer: Annotated[
        Literal["int8", "product"],
        typer.Option(
            help="With --to quantized: a byte for each number, or for each part of a vector."
        ),
    ] = "int8",
    part_size: Annotated[
        int, typer.Option(help="Numbers of a part, with --quantizer product.")
    ] = 2,
    quiet: flags.Quiet = False,
) -> None:
    """Write a table in another format, or a smaller one.

    The format of IN is found from its content, compressed or not; fastText's .bin is read too. A
    name of OUT that ends in .gz, .bz2, .xz or .zst is compressed, if the format is text. Counts
    that a format has no place for are written to NAME.vocab beside OUT, one word and its count per
    line, and read from there. Prints how many rows were left out, by reason.

    --to quantized writes a model folder that every command reads, a classifier with its labels;
    word vectors in it cannot be trained further.
    """
    from embedcli import api
    from embedcli.formats.base import Options

    with Progress(quiet) as progress:
        options = Options(
            encoding=encoding,
            errors=errors,
            vocab=vocab,
            prune=prune,
            prune_by=prune_by,
            quantizer=quantizer,
            part_size=part_size,
            progress=partial(progress.say, "read"),
            written=partial(progress.say, "written", unit="rows"),
        )
        found = api.convert(source, target, to, options=options)
    for reason, count in found.skipped.items():
        rows = "row" if count == 1 else "rows"
        terminal.note(f"{count:,} {rows} left out: {reason}", quiet=quiet)
    size, dim = found.table.vectors.shape
    written = f"{terminal.visible(str(target))}  {size} × {dim} float32"
    stdout = Path("/dev/stdout")
    if target.exists() and stdout.exists() and target.samefile(stdout):  # which holds the vectors
        terminal.note(written, quiet=quiet)
    else:
        sys.stdout.write(written + "\n")
