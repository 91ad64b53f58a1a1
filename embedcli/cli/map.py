"""A picture of a whole table: `map`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.cli.progress import Progress
from embedcli.errors import ConfigError
from embedcli.views import terminal

Format = Literal["html", "svg", "tsv", "json"]
PAGE = Path("map.html")


@examples(
    "embed map",
    "embed map --model glove.6B.50d.txt --words 50000 --out glove.html",
    "embed map --layout pca --out map.svg",
    "embed map --colors topics.tsv",
    "embed map --format tsv | sort -k5",
    "embed map seed-1 seed-2 --out seeds.html",
)
def map(  # noqa: A001 - the name of the command
    ctx: typer.Context,
    pair: Annotated[
        list[Path] | None,
        typer.Argument(metavar="A B", help="Two tables to draw side by side; none: --model."),
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    words: Annotated[
        int, typer.Option(help="Number of words to draw, by count; up to 200000.")
    ] = 20_000,
    layout: Annotated[
        Literal["auto", "pca", "tsne"],
        typer.Option(help="How words are placed; auto: t-SNE, but PCA for fewer than 30 words."),
    ] = "auto",
    colors: Annotated[
        Path | None,
        typer.Option(
            help="TSV of values to colour words by: a line of names, then a word and its values."
        ),
    ] = None,
    output: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the output. [default: by the name of --out, or html]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write to this file. [default: map.html; standard output with --format]",
        ),
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Draw the words of a table as a map that opens in a browser.

    The page is one file that needs no network. It finds a word and its exact neighbours in the
    whole table, colours words by count, cluster, script and more, and draws axes of meaning such as
    `woman - man`. Vectors of one or two numbers are drawn as they are. TSV: index, token, count, x,
    y, and how many of its 10 nearest the picture keeps. The JSON is described in docs/map.md.

    Two tables are drawn side by side by the words they have in common, one laid on the other and
    both linked: words can be coloured by how far they moved, and by the neighbours they share.
    """
    from embedcli import api
    from embedcli.views import map_svg as views

    if out is None and output is None:
        out = PAGE
    kind = flags.format_of(output, out, Format)
    chosen = pair or []
    if len(chosen) not in (0, 2):
        hint = f"--model {chosen[0]} draws one" if len(chosen) == 1 else None
        raise ConfigError(f"found {len(chosen)} tables; expected two, or none", hint)
    source = ctx.get_parameter_source("model")  # which $EMBED_MODEL may be, too
    if chosen and source is not None and source.name == "COMMANDLINE":
        raise ConfigError("model: has no effect with two tables", "leave out --model")
    with Progress(quiet) as progress:
        asked: Any = {"words": words, "layout": layout, "colors": colors, "report": progress.say}
        maps = api.map_pair(*chosen, **asked).maps if chosen else [api.map_words(model, **asked)]
    page = views.formatted(kind, *maps)
    if out is None:
        sys.stdout.write(terminal.raw(page) if kind == "tsv" else page)
    else:
        flags.write_file(out, page)
        sys.stdout.write(f"{terminal.visible(str(out))}  {views.summary(*maps)}\n")
        if kind == "html":
            terminal.note("open it in a browser", quiet=quiet)
    if maps[0].zeros:
        terminal.note(f"{maps[0].zeros:,} words with a vector of zeros are left out", quiet=quiet)
