"""Lay open what training does: `explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal

FORMATS = ("text", "json", "svg", "html")


@examples(
    'embed explain "nice to see you again"',
    'embed explain "nice to see you again" --out step.html',
    'embed explain "a moving film" --model reviews --label positive',
    "embed explain --word king",
)
def explain(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="A text to take one step of learning on.")
    ] = None,
    word: Annotated[
        str | None, typer.Option(metavar="WORD", help="Tell what became of a word instead.")
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="The right label or number of the text (classify, regress); repeatable.",
        ),
    ] = None,
    seed: Annotated[
        int | None, flags.number(help="Draw other windows and noise words than the model's seed.")
    ] = None,
    oov: Annotated[
        Literal["error", "skip"],
        flags.one_of(
            "error", "skip", help="An unknown word of TEXT is an error, or left out as in training."
        ),
    ] = "skip",
    output: Annotated[
        str | None,
        flags.one_of(
            "--format", *FORMATS, help="How to show it. [default: as --out is named, or text]"
        ),
    ] = None,
    out: Annotated[
        Path | None, flags.path("--out", help="Write to this file. [default: standard output]")
    ] = None,
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Show one step of learning on a text, as training takes it, and change nothing.

    From tokens to ids, the rows that were looked up, the right answer and how it was made, the
    loss, the gradient of each row, the rows before and after the step, and what stays. With --word,
    the story of a word: where it stood, how often it was trained, how far its row moved, its
    neighbours then and now. The JSON is described in docs/explain.md.
    """
    if (text is None) == (word is None):
        raise typer.BadParameter("give a text, or --word WORD")
    if word is not None and label:
        raise typer.BadParameter("goes with a text, not with --word", param_hint="--label")
    from embedcli import api
    from embedcli.explanation import Step, Word
    from embedcli.text.vocabulary import Coverage
    from embedcli.views import blocks
    from embedcli.views import explain as views

    ending = "" if out is None else out.suffix[1:].lower()
    output = output or (ending if ending in FORMATS else "text")
    found: Step | Word
    if word is not None:
        found = api.explain_word(word, model)
    else:
        found = api.explain(text or "", model, labels=label or (), seed=seed, oov=oov)
    if out is not None:
        from embedcli.storage import files

        with files.atomic_write(out) as file:
            file.write(views.formatted(found, output, precision).encode())
    elif output == "text":
        blocks.show(views.blocks_of(found, precision))
    else:
        sys.stdout.write(views.formatted(found, output, precision))
    if isinstance(found, Step):
        coverage = Coverage()
        coverage.add(len(found.tokens), sum(token.id is None for token in found.tokens))
        terminal.say_found(coverage, quiet=quiet)
