"""The command `tune`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.config import OF_SHARDS, TrainSettings
from embedcli.errors import ConfigError
from embedcli.views import terminal

if TYPE_CHECKING:
    from embedcli.tuning import Trial

# Settings of a training that are not those of a search.
LEFT_OUT = ("dim", "update", "vectors", "freeze", "patience", "checkpoint_every", *OF_SHARDS)


@examples(
    "embed tune reviews.txt --task classify --time 5m",
    "embed tune reviews.txt --task classify --metric f1:good --trials 50",
    "embed tune corpus.txt --metric similarity:pairs.tsv --time 2h --out found",
    "embed tune reviews.txt --task classify --dim auto",
    "embed train reviews.txt --config tuning/best.yaml",
)
@flags.with_settings(TrainSettings, leave_out=LEFT_OUT)
def tune(
    ctx: typer.Context,
    corpus: Annotated[list[str], typer.Argument(metavar="CORPUS", help="Files, folders or globs.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the trials and the best settings.")
    ] = Path("tuning"),
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="accuracy, f1, f1:LABEL, precision@K, loss, mse, mae, r2, or similarity:FILE.",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long to search: 90s, 5m, 1h. [default: 5m]"),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials, in place of --time.")] = None,
    space: Annotated[
        Path | None, typer.Option(help="YAML of settings and values to try: `lr: 0.1 to 1 log`.")
    ] = None,
    dim: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Length of a vector; auto: try lengths alone."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A preset's name, or a YAML file of settings."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search that was stopped in --out.")
    ] = False,
    output: Annotated[Literal["table", "json", "tsv"], flags.FORMAT] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Search for the settings that do best on held-out text.

    Each trial trains on the corpus, but for --valid-share of it or beside the texts of --valid, and
    is measured on these. Settings that are given as flags stay; those of the search come from
    --space. The folder --out gets trials.jsonl, curve.svg, and best.yaml for `embed train
    --config`. A search that was stopped goes on with --resume and the same flags. JSON: {"best",
    "metric", "score", "seeds", "trials"}. TSV: a line of names, then every trial.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from embedcli import api
    from embedcli.cli.progress import clock
    from embedcli.config import interval, schema
    from embedcli.views import tuning as views

    if trials == 0:
        raise typer.BadParameter("found 0; expected a number from 1", param_hint="--trials")
    length: Any = None
    if dim is not None:
        try:
            length = "auto" if dim == "auto" else schema(TrainSettings)["dim"].parse(dim)
        except ConfigError as error:
            raise typer.BadParameter(f"{error.message}, or auto", param_hint="--dim") from None

    def report(trial: Trial, best: Trial | None) -> None:
        left = "" if trials is None else f"{trials - trial.number} trials"
        if trials is None:
            left = clock(max(interval(time or "5m").seconds - trial.elapsed, 0))
        terminal.note(views.line(trial, best, left), quiet=quiet)

    try:
        found = api.tune(
            corpus,
            out,
            metric=metric,
            time=time,
            trials=trials,
            space=space,
            dim=length,
            config=config,
            resume=resume,
            report=report,
            **flags.given(ctx),
        )
    except KeyboardInterrupt:
        if (out / "trials.jsonl").exists():
            terminal.note(f"hint: --resume goes on with the search in {terminal.visible(str(out))}")
        raise
    flags.write_file(out / "curve.svg", views.curve(found))
    if output == "json":
        sys.stdout.write(terminal.json_text(views.record_of(found)) + "\n")
    elif output == "tsv":
        sys.stdout.writelines(map(terminal.raw, views.tsv(found)))
    else:
        from embedcli.views import blocks

        blocks.show(views.blocks_of(found))
    best = shlex.quote(str(found.folder / "best.yaml"))
    names = " ".join(map(shlex.quote, corpus))
    terminal.note(f"try: embed train {names} --config {best}", quiet=quiet)
