"""The command `index`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal


@examples(
    "embed index",
    "embed neighbors king --approximate",
    "embed index embeddings --connectivity 32 --expansion 256",
)
def index(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", envvar="EMBED_MODEL", help="Model folder.")
    ] = flags.EMBEDDINGS,
    connectivity: Annotated[
        int, typer.Option(help="Words that each word is linked to, 2 to 512.")
    ] = 16,
    expansion: Annotated[
        int, typer.Option(help="Candidates for the links of a word, and of a search.")
    ] = 128,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Threads; with 1 the index has the same bytes each time. [default: cores]"
        ),
    ] = None,
    output: Annotated[Literal["table", "json"], flags.FORMAT] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Build an index of a model, for `embed neighbors --approximate`.

    The index is the folder MODEL.index. It is worthwhile for large tables and many queries. It
    finds most of the nearest words; larger --connectivity and --expansion find more. After another
    training it has to be built again. Needs `pip install 'embedcli[index]'`. JSON: {"path",
    "words", "dim", "connectivity", "expansion", "bytes", "seconds"}.
    """
    from embedcli import api
    from embedcli.cli.progress import Progress
    from embedcli.storage.files import readable

    with Progress(quiet) as progress:
        found = api.index(
            model,
            connectivity=connectivity,
            expansion=expansion,
            workers=workers,
            report=lambda done, total: progress.say("index", done, total, "words"),
        )
    if output == "json":
        sys.stdout.write(terminal.json_text(found._asdict()) + "\n")
        return
    path, size = terminal.visible(found.path), readable(found.bytes)
    sys.stdout.write(f"{path}  {found.words} × {found.dim}, {size}, {found.seconds:.1f} s\n")
