"""The command `train`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from embedcli.cli import STOPS, exit_code_of, flags
from embedcli.cli.app import examples
from embedcli.config import EngineName, TrainSettings
from embedcli.errors import ConfigError
from embedcli.views import records, terminal
from embedcli.views.terminal import spelled

if TYPE_CHECKING:
    from embedcli.text.phrases import Phrases
    from embedcli.training.pretrained import Coverage
    from embedcli.training.run import Event, Prepared, Stopped, Trained

MAX_SHARE = 0.003  # of the 500 most frequent words; above it stand function words


@examples(
    "embed train",
    "embed train corpus.txt --dim 50 --epochs 3 --out model",
    "embed train news/*.txt.gz --config cbow --min-count 10",
    "embed train reviews.txt --task classify --valid-share 0.1 --patience 2",
    "cat corpus.txt | embed train - --quiet",
    "embed train --resume --out model",
    "embed train corpus.txt --replicas 5 --resample --out models",
    "embed train corpus/ --shards 4 --engine ray --report rounds.jsonl",
)
@flags.with_settings(TrainSettings)
def train(
    ctx: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS",
            help="Files (.gz .bz2 .xz .zst too), folders, globs, addresses (s3://...), - for "
            "standard input; none: the sample in the package.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to save the model in.")
    ] = flags.EMBEDDINGS,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A preset's name, or a YAML file of settings."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run that was stopped before it wrote --out."),
    ] = False,
    replicas: Annotated[
        int | None,
        typer.Option(help="Train this many models, with successive seeds: OUT/1, OUT/2, ..."),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="Who trains the --shards: this machine, or those of a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; auto by default."),
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Use machines of a cluster that may give other bytes, too."),
    ] = False,
    rounds: Annotated[
        Path | None,
        typer.Option("--report", help="File (.jsonl) that gets a line for each round of --shards."),
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Train a table on text and save it as a model folder.

    Flags override --config, which overrides the defaults of the task. The settings below are those
    of one task; `embed train --task classify --help` shows those of another. A setting that is
    `auto` is chosen from the text and reported. Ctrl-C saves the state of the run and prints how
    to resume it; a second Ctrl-C leaves at once. --replicas trains several models of one text, to
    tell what is chance (docs/compare.md); with --resume it adds to those there are.
    """
    # Set before NumPy is imported: training uses one BLAS thread, and others cost time to start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from embedcli import api
    from embedcli.cli.progress import Progress
    from embedcli.storage import files
    from embedcli.tasks import TASKS
    from embedcli.training.engines import Notice, Round
    from embedcli.training.run import Prepared, Replica, Stopped

    settings = flags.given(ctx)
    if not corpus and not resume and "update" not in settings:
        text = api.sample(config, settings)
        terminal.note(f"no corpus given: training on the sample, {text}", quiet=quiet)
    several = replicas is not None or (resume and (out / "replicas.json").is_file())
    shown = False
    lines: TextIO | None = None
    with ExitStack() as opened, Progress(quiet) as progress, _StopSignals() as stop:

        def report(event: Event) -> None:
            nonlocal shown, lines
            progress.report(event)
            if isinstance(event, Replica):
                number = f"replica {event.number} of {event.replicas}"
                terminal.note(f"{number}, seed {event.seed}", quiet=quiet)
            elif isinstance(event, Notice):
                terminal.note(terminal.visible(event.text), quiet=quiet)
            elif isinstance(event, Round) and lines is not None:
                lines.write(json.dumps(records.to_json(event, digits=6)) + "\n")
                lines.flush()
            elif isinstance(event, Prepared):
                if rounds is not None and event.settings.shards == 1:
                    raise ConfigError("report: has no effect with shards 1", "--shards 4")
                if rounds is not None and lines is None:
                    with files.storing(rounds):
                        file = rounds.open("a" if resume else "w", encoding="utf-8")
                    lines = opened.enter_context(file)
                if not shown or event.resumed is not None:  # each replica has the same text
                    _say_start(event, quiet)
                shown = True
                stop.listen()

        try:
            how: dict[str, Any] = {"config": config, "report": report, "stop": stop.asked}
            of_one = {"engine": engine != "local", "address": address is not None, "mixed": mixed}
            for name, is_given in of_one.items():
                if several and is_given:
                    raise ConfigError(
                        f"{name}: has no effect with --replicas", "leave one of them out"
                    )
            if several:
                every = api.train_replicas(
                    corpus or None, out, replicas, resume=resume, **how, **settings
                )
            else:
                every = [
                    api.train(
                        corpus or None,
                        out,
                        resume=resume,
                        engine=engine,
                        address=address,
                        mixed=mixed,
                        **how,
                        **settings,
                    )
                ]
        except Stopped as stopped:
            number = stop.got or signal.SIGINT
            _say_stopped(stopped, STOPS[number])
            raise typer.Exit(exit_code_of(number)) from None
        except BrokenPipeError:  # nobody reads the progress any more; the state is saved
            raise typer.Exit(exit_code_of(getattr(signal, "SIGPIPE", 13))) from None
    for trained in every:
        rows, dim = trained.table.vectors.shape
        path = terminal.visible(str(trained.folder / "table.npy"))
        sys.stdout.write(f"{path}  {rows} × {dim} float32\nsha256 {trained.digest}\n")
    if not quiet:
        if sys.stderr.isatty():
            terminal.note(progress.loss_curve())
        model = "" if out == flags.EMBEDDINGS else f" --model {shlex.quote(str(out))}"
        word = shlex.quote(_telling_word(every[0]))
        labelled = TASKS[every[0].settings.task].label_kind != "none"
        ask = "predict FILE" if labelled else f"neighbors {word}"
        more = [ask] if several else [f"lookup {word}", ask, "show-table --rows 0:5"]
        for command in more:
            terminal.note(f"try: embed {command}{model}")


class _StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a request to stop; a second one acts."""

    def __init__(self) -> None:
        self.got: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopSignals:
        return self

    def listen(self) -> None:
        """Start; until then, as while the text is read, a signal acts at once."""
        for number in STOPS:
            if number not in self._before and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        del frame
        self.got = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Return whether a signal arrived."""
        return self.got is not None

    def __exit__(self, *_: object) -> None:
        self._restore()


def _say_stopped(stopped: Stopped, how: str) -> None:
    out = "" if stopped.folder == flags.EMBEDDINGS else f" --out {shlex.quote(str(stopped.folder))}"
    text = " < TEXT" if stopped.from_stdin else ""
    terminal.note(f"error: {how} at step {stopped.step} of {stopped.total}; the run is kept")
    terminal.note(f"hint: embed train --resume{out}{text}")


def _say_start(start: Prepared, quiet: bool) -> None:
    from embedcli.tasks import TASKS

    if start.resumed is not None:
        done, total = start.resumed
        terminal.note(f"resuming at step {done} of {total}", quiet=quiet)
    size = f"{start.lines:,} lines, {start.tokens:,} words"
    if start.known is None:
        terminal.note(f"{size}, {start.words:,} of them different", quiet=quiet)
    else:
        new = start.words - start.known
        model = start.settings.update
        terminal.note(f"{size}; {start.known:,} of {model} stay, {new:,} are new", quiet=quiet)
    terminal.say_too_long(start.too_long, quiet=quiet)
    resolved = ", ".join(f"{name} {spelled(value)}" for name, value in start.resolved.items())
    if resolved:
        terminal.note(f"auto: {resolved}", quiet=quiet)
    if start.phrases is not None:
        terminal.note(_phrases(start.phrases), quiet=quiet)
    if start.label_counts:
        rarest, texts = min(start.label_counts.items(), key=lambda item: item[1])
        noun = "text" if texts == 1 else "texts"
        terminal.note(
            f"{len(start.label_counts):,} labels; the rarest, {terminal.visible(rarest)}, has "
            f"{texts:,} {noun}",
            quiet=quiet,
        )
    if start.coverage is not None:
        terminal.note(_coverage(start.coverage, start), quiet=quiet)
    if start.baseline is not None:
        said = TASKS[start.settings.task].baseline_text.format(start.baseline)
        terminal.note(f"baseline: {said}", quiet=quiet)


def _phrases(phrases: Phrases) -> str:
    """Return how many pairs are joined, and what was lost while they were counted."""
    pairs = [pair for each in phrases.passes for pair in each]
    said = f"{len(pairs):,} phrases"
    if pairs:
        best = max(pairs, key=lambda pair: pair.together)
        said += f", the most frequent {terminal.visible(f'{best.first}_{best.second}')}"
    if phrases.dropped:
        said += f"; {phrases.dropped:,} rare pairs were dropped while counting"
    return said


def _coverage(coverage: Coverage, start: Prepared) -> str:
    """Return how many words were found in a file of vectors, and the initial values of others."""
    words, found, respelt = coverage
    said = f"vectors: {found:,} of {words:,} words found ({found / words:.1%})"
    if respelt:
        said += f", {respelt:,} of them by another spelling"
    frozen = {"none": "", "found": "; those found are frozen", "all": "; all rows are frozen"}
    if start.known is not None:
        said += f"; words of the model stay, other new ones start {start.settings.init}"
    elif found < words:
        said += f"; the other {words - found:,} start {start.settings.init}"
    return said + frozen[start.settings.freeze]


def _telling_word(trained: Trained) -> str:
    """Return the most frequent word that is probably not a function word, or else any word."""
    frequent = list(trained.table.sorted("count")[:500])
    total = sum(row.count or 0 for row in frequent)
    for row in frequent:
        if len(row.token) > 3 and (row.count or 0) < MAX_SHARE * total:
            return row.token
    return frequent[0].token
