"""The command `cache`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal


@examples("embed cache", "embed cache --clear")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False,
    output: Annotated[Literal["table", "json"], flags.FORMAT] = "table",
) -> None:
    """Print what the cache of corpora holds, or clear it.

    Training on an unchanged corpus reuses its ids. They are cached in $EMBED_CACHE, or else in the
    user's cache folder; the oldest are removed for new ones. JSON: {"folder", "entries", "bytes",
    "freed"}.
    """
    from embedcli import api

    found = api.clear_cache() if clear else api.cache()
    if output == "json":
        sys.stdout.write(terminal.json_text(found._asdict()) + "\n")
        return
    from embedcli.storage.files import readable
    from embedcli.views.blocks import Pairs, show

    rows = [
        ("folder", found.folder),
        ("entries", f"{found.entries:,}"),
        ("size", readable(found.bytes)),
    ]
    if clear:
        rows.append(("freed", readable(found.freed)))
    show([Pairs(rows)])
