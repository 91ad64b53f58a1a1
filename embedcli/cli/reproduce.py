"""A model trained again and compared: `reproduce`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal


@examples(
    "embed reproduce embeddings",
    "embed reproduce model corpus.txt",
    "embed reproduce model news/*.txt.gz --format json",
)
def reproduce(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS", help="The text it was trained on; none: the sample in the package."
        ),
    ] = None,
    output: Annotated[Literal["table", "json"], flags.FORMAT] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Train a model again from its own settings, and compare the bytes.

    The text is compared with its fingerprint first. Exit code 0: every file is the same; 1: one
    differs. What is not as it was then is listed: the text, the version of embed, the processor,
    the BLAS library and its kernel, NumPy, Python. The model stays as it is. JSON: {"model",
    "equal", "digest", "again", "files": {name: true|false}, "differences": [{"what", "then",
    "now"}]}.
    """
    # Set before NumPy is imported, as in `train`.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from embedcli import api
    from embedcli.cli.progress import Progress
    from embedcli.views import blocks, records

    with Progress(quiet) as progress:
        found = api.reproduce(model, corpus or None, report=progress.report)
    if output == "json":
        sys.stdout.write(terminal.json_text(records.to_json(found)) + "\n")
    else:
        blocks.show(records.reproduction(found))
    if not found.equal:
        raise typer.Exit(1)
