"""The command `info`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal


@examples(
    "embed info",
    "embed info --verify",
    "embed info --model vectors.txt --format json",
    "embed info --out norms.svg",
    "embed info --curves --out loss.svg",
)
def info(
    model: flags.Model = flags.EMBEDDINGS,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its digest first.")
    ] = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="Show loss and metrics of every epoch instead.")
    ] = False,
    output: Annotated[Literal["table", "json"], flags.FORMAT] = "table",
    out: Annotated[
        Path | None, flags.picture("the histogram of the vectors' lengths, or the --curves,")
    ] = None,
) -> None:
    """Describe a model: shape, norms, settings, sizes.

    --verify finds any changed byte in a model folder: exit code 1 and the name of the file.
    JSON: {"path", "format", "words", "dim", "norms": [smallest, mean, largest], "histogram",
    "files": {name: bytes}, "settings", "digest", "corpus", "version", "untrained", "labels",
    "ngrams", "rows", "fasttext", "log"}.
    """
    from embedcli import api
    from embedcli.views import blocks, charts, records

    found = api.describe(model, verify=verify)
    if curves and not found.log:
        raise typer.BadParameter(f"{model} has no log of a training", param_hint="--curves")
    if out is not None:
        drawn = charts.curves(found.log, str(model)) if curves else charts.norms(found)
        flags.write_file(out, drawn)
    elif output == "json":
        record = records.to_json(found)
        sys.stdout.write(terminal.json_text({**record, "path": str(found.path)}) + "\n")
    else:
        blocks.show([records.curves(found.log)] if curves else records.description(found, verify))
