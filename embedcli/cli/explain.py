"""One step of training, one word, or two words explained: `explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.messages import LANGUAGES
from embedcli.views import terminal

Format = Literal["text", "json", "svg", "html"]
Library = Literal["numpy", "torch", "keras"]  # of views.scripts, which the help does not import
PAIR = 2


@examples(
    'embed explain "nice to see you again"',
    'embed explain "nice to see you again" --out step.html',
    'embed explain "आपसे दोबारा मिलकर अच्छा लगा" --lang hi',
    'embed explain "nice to see you again" --as numpy | python -',
    'embed explain "a moving film" --model reviews --label positive',
    "embed explain --word king",
    "embed explain king queen",
)
def explain(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Text to take one training step on; or two words, to say why they are similar.",
        ),
    ] = None,
    word: Annotated[
        str | None, typer.Option(metavar="WORD", help="Explain what became of a word instead.")
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
        int | None,
        typer.Option(help="Seed of windows and negative samples. [default: that of the model]"),
    ] = None,
    oov: Annotated[
        Literal["error", "skip"],
        typer.Option(help="An unknown word of TEXT is an error, or skipped as in training."),
    ] = "skip",
    output: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the output. [default: by the name of --out, or text]"
        ),
    ] = None,
    library: Annotated[
        Library | None,
        typer.Option("--as", help="Print a script that computes the step with this library."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file. [default: standard output]")
    ] = None,
    language: Annotated[
        str | None,
        flags.one_of(
            "--lang",
            LANGUAGES,
            help="Language of the sentences. [default: that of $LC_ALL or $LANG, or en]",
        ),
    ] = None,
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Show one training step on a text, without changing the model.

    It shows the tokens and ids, the rows that were looked up, the target and where it comes from,
    the loss, the gradient of each row, the rows before and after the step, and what does not
    change. With --as, a script that computes the same. With --word, the history of a word: where
    it occurs, how often it was trained, how far its row moved, its neighbours then and now. With
    two words, which context words make them similar. The JSON is described in docs/explain.md.
    """
    given = texts or []
    if (not given) == (word is None):
        raise typer.BadParameter("give a text, two words, or --word WORD")
    if len(given) > PAIR:
        raise typer.BadParameter(
            f"found {len(given)} texts; expected one, in quotation marks, or two words"
        )
    if library is not None and (len(given) != 1 or output is not None):
        raise typer.BadParameter("goes with one text, without --format", param_hint="--as")
    if label and len(given) != 1:
        raise typer.BadParameter("goes with one text", param_hint="--label")
    from embedcli import api
    from embedcli.explanation import Pair, Step, Word
    from embedcli.messages import catalogue
    from embedcli.views import blocks, scripts
    from embedcli.views import explain as views

    kind = flags.format_of(output, out, Format)
    found: Step | Word | Pair
    if word is not None:
        found = api.explain_word(word, model)
    elif len(given) == PAIR:
        found = api.explain_pair(given[0], given[1], model)
    else:
        found = api.explain(given[0], model, labels=label or (), seed=seed, oov=oov)
    if library is not None and isinstance(found, Step):
        written = scripts.script(found, library)
    elif kind != "text" or out is not None:
        written = views.formatted(found, kind, precision, language)
    if out is not None:
        flags.write_file(out, written)
    elif library is None and kind == "text":
        blocks.show(views.blocks_of(found, precision, language))
    else:
        sys.stdout.write(written)
    if isinstance(found, Step):
        unknown = sum(token.id is None for token in found.tokens)
        known = len(found.tokens) - unknown
        message = catalogue(language)("step.found", known=known, unknown=unknown)
        terminal.note(message, quiet=quiet)
