"""The typer application: its commands, each imported when it is called, and their help."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
import typer.core

from embedcli.cli import flags

F = TypeVar("F", bound=Callable[..., Any])

# Each command with the module of `embedcli.cli` that holds its function, in the order of the help.
COMMANDS = {
    "train": "train",
    "reproduce": "reproduce",
    "tune": "tune",
    "tokenize": "tokenize",
    "count": "count",
    "lookup": "show",
    "show-table": "show",
    "neighbors": "query",
    "analogy": "query",
    "similarity": "query",
    "odd": "query",
    "predict": "predict",
    "vectors": "predict",
    "evaluate": "evaluate",
    "compare": "compare",
    "info": "info",
    "map": "map",
    "explain": "explain",
    "convert": "convert",
    "index": "index",
    "cache": "cache",
    "help": "help",
}


def examples(*lines: str) -> Callable[[F], F]:
    """Return a decorator that adds examples to the help of a command."""

    def decorate(function: F) -> F:
        function.__dict__["examples"] = lines
        return function

    return decorate


class NoColor(typer.core.TyperOption):
    """The flag --no-color, which every command takes and the help of `embed` shows."""

    def __init__(self, *, hidden: bool) -> None:
        super().__init__(
            param_decls=["no_color", "--no-color"],
            type_descriptor=None,  # type: ignore[arg-type]  # only `process_value` would use it
            is_flag=True,
            is_eager=True,
            expose_value=False,
            hidden=hidden,
            help="Print without colour, as $NO_COLOR does.",
        )

    def process_value(self, ctx: Any, value: Any) -> None:
        """Set $NO_COLOR, which `views` and rich read."""
        if value:
            os.environ["NO_COLOR"] = "1"


class _Base:
    """What `embed` and its commands share: --no-color, and how values are read."""

    hides_no_color = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params: list[Any] = [*self.params, NoColor(hidden=self.hides_no_color)]

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            param.get_runtime_param = lambda: flags.ByAnnotation
            param.metavar = param.metavar or flags.metavar_of(param)
        return params


class Command(_Base, typer.core.TyperCommand):
    """A command with a flag for each setting it takes, and help as plain text in sections."""

    hides_no_color = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += flags.settings_of(self.callback)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the command's own options, then its settings by group."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        param: Any
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                if param.param_type_name == "argument":
                    sections["Arguments"].append((param.metavar, param.help))
                else:
                    title = getattr(param, "rich_help_panel", None) or "Options"
                    sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are typed."""
        with formatter.section("Examples"):
            for line in getattr(self.callback, "examples", ()):
                formatter.write(f"  {line}\n")


class Commands(_Base, typer.core.TyperGroup):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of a command and return the command."""
        if cmd_name not in COMMANDS:
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=Command)(_function_of(cmd_name))
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first lines of their help; none of them is made for that."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, str(_function_of(name).__doc__).partition("\n")[0]) for name in COMMANDS]
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command; for an unknown name, suggest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from embedcli.config import nearest

            hint = nearest(name, COMMANDS) or f"The commands are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {name!r}. {hint}")
        return super().resolve_command(ctx, args)


def _function_of(command: str) -> Callable[..., Any]:
    """Import the module of a command and return the function that it calls."""
    module = importlib.import_module(f"embedcli.cli.{COMMANDS[command]}")
    function: Callable[..., Any] = getattr(module, command.replace("-", "_"))
    return function


def _print_version(value: bool) -> None:
    if value:
        from embedcli import __version__

        typer.echo(f"embed {__version__}")
        raise typer.Exit


app = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def embed(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train word embeddings on your text, query them, and see how they learn.

    Start with `embed train`, which trains on a small text in the package, and then
    `embed lookup king`.
    """


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    arguments = list(argv) or ["--help"]
    if arguments[0] in ("--install-completion", "--show-completion") and arguments[1:]:
        # typer then reads the name of a shell, and otherwise finds out which one it is.
        os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    if "_EMBED_COMPLETE" in os.environ:
        with contextlib.suppress(typer.TyperException):  # of a line with an error: nothing
            app(args=arguments, prog_name="embed")
        return 1
    try:
        command = typer.main.get_command(app)
        with command.make_context("embed", arguments) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    finally:
        sys.stdout.flush()
    return 0
