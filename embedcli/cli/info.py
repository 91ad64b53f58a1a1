"""The command `info`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal


@examples("embed info", "embed info --verify", "embed info --model vectors.txt --format json")
def info(
    model: flags.Model = flags.EMBEDDINGS,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its digest first.")
    ] = False,
    output: Annotated[
        str, flags.one_of("--format", "table", "json", help="Format of the output.")
    ] = "table",
) -> None:
    """Describe a model: shape, norms, settings, sizes.

    --verify finds any changed byte in a model folder: exit code 1 and the name of the file.
    JSON: {"path", "format", "words", "dim", "norms": [smallest, mean, largest], "files": {name:
    bytes}, "settings", "digest", "corpus", "version", "untrained", "labels", "log"}.
    """
    from embedcli import api

    found = api.describe(model, verify=verify)
    if output == "json":
        sys.stdout.write(terminal.json_text({**asdict(found), "path": str(found.path)}) + "\n")
    else:
        from embedcli.views import blocks, records

        blocks.show(records.description(found, verify))
