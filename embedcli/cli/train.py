"""Text to a table: `train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedcli.cli import flags, render
from embedcli.cli.app import examples
from embedcli.config import TrainSettings

if TYPE_CHECKING:
    from embedcli.api import Prepared, Trained


@examples(
    "embed train",
    "embed train corpus.txt --dim 50 --epochs 3 --out model",
    "embed train news/*.txt.gz --config cbow --min-count 10",
    "embed train reviews.txt --task classify --valid-share 0.1 --patience 2",
    "cat corpus.txt | embed train - --quiet",
)
@flags.with_settings(TrainSettings)
def train(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS",
            help="Files (.gz .bz2 .xz .zst too), folders, globs, - for standard input; "
            "none: the sample that comes along.",
        ),
    ] = None,
    out: Annotated[Path, flags.path("--out", "-o", help="Folder of the model.")] = flags.EMBEDDINGS,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A preset's name, or a YAML file of settings."),
    ] = None,
    quiet: flags.Quiet = False,
    **settings: Any,
) -> None:
    """Train a table on text and save it as a model folder.

    Settings come from, the later the stronger: the defaults, the preset of the task, --config,
    and flags. A setting that is `auto` is chosen from the text, and said.
    """
    from embedcli import api
    from embedcli.cli.progress import progress

    if not corpus:
        render.note(f"no corpus given: training on the sample, {api.SAMPLE}", quiet=quiet)
    with progress(quiet) as watch:

        def report(event: Any) -> None:
            if isinstance(event, api.Prepared):
                _say_start(event, quiet)
            else:
                watch(event)

        trained = api.train(corpus or None, out, config=config, report=report, **settings)
    _print_end(trained)
    _say_next(trained, quiet)


def _say_start(start: Prepared, quiet: bool) -> None:
    render.note(
        f"{start.lines:,} lines, {start.tokens:,} words, {start.words:,} of them different",
        quiet=quiet,
    )
    resolved = ", ".join(f"{name} {flags.shown(value)}" for name, value in start.resolved.items())
    if resolved:
        render.note(f"auto: {resolved}", quiet=quiet)
    if start.coverage is not None:
        found, all_words = start.coverage
        how = start.settings.init
        render.note(
            f"vectors: {found:,} of {all_words:,} words found; the rest start {how}", quiet=quiet
        )


def _print_end(trained: Trained) -> None:
    rows, dim = trained.table.vectors.shape
    path = render.visible(str(trained.folder / "table.npy"))
    sys.stdout.write(f"{path}  {rows} × {dim} float32\nsha256 {trained.digest}\n")


def _say_next(trained: Trained, quiet: bool) -> None:
    model = "" if trained.folder == flags.EMBEDDINGS else f" --model {_quoted(trained.folder)}"
    word = shlex.quote(_frequent_word(trained))
    for command in (f"lookup {word}", f"neighbors {word}", "show-table --rows 0:5"):
        render.note(f"try: embed {command}{model}", quiet=quiet)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _frequent_word(trained: Trained) -> str:
    """Pick the most frequent word of more than three letters, or else any."""
    from embedcli import api

    frequent = trained.table.vocabulary.tokens(api.order(trained.table, "count")[:200])
    return next((word for word in frequent if len(word) > 3 and word.isalpha()), frequent[0])
