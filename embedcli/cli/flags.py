"""Flags: those of the settings, made from the schema, and those that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer
import typer.core

from embedcli.config import DEFAULT_TASK, Settings, Spec, groups
from embedcli.errors import ConfigError
from embedcli.views.terminal import spelled

METAVARS = {bool: "true|false", int: "N", float: "X", str: "TEXT"}
F = TypeVar("F", bound=Callable[..., Any])


# Settings of files with columns, for the commands that apply a model to text.
COLUMNS = ("input_format", "text_column", "label_column", "delimiter", "header")


def with_settings(
    settings: type[Settings], *, leave_out: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Return a decorator that adds a flag for each setting, or for those named in `only`.

    Settings named in `leave_out` have none.
    The command gets their values by `given`.
    """

    def decorate(function: F) -> F:
        every = [spec for specs in groups(settings).values() for spec in specs]
        names = only or [spec.name for spec in every if spec.name not in leave_out]
        function.__dict__["settings"] = [spec for spec in every if spec.name in names]
        return function

    return decorate


def given(ctx: typer.Context) -> dict[str, Any]:
    """Return the settings that were given as flags, by name."""
    return ctx.ensure_object(dict)


class Setting(typer.core.TyperOption):
    """The flag of a setting; the schema reads its value and knows its default for each task."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        decls = [spec.flag, f"--no-{spec.flag[2:]}"] if spec.is_switch else [spec.flag]
        super().__init__(
            param_decls=[spec.name, "/".join(decls)],
            type_descriptor=None,  # type: ignore[arg-type]  # only `process_value` would use it
            metavar=None if spec.is_switch else metavar(spec),
            is_flag=spec.is_switch,
            is_eager=spec.name == "task",  # the help that comes after it is for that task
            expose_value=False,
            rich_help_panel=spec.group,
            autocompletion=lambda *call: _starting(spec.choices, call[-1]),
        )

    def process_value(self, ctx: Any, value: Any) -> Any:
        """Read a value that was given, and keep it for `given`."""
        if isinstance(value, str):
            try:
                value = self.spec.parse(value)
            except ConfigError as error:
                message = error.message.removeprefix(f"{self.spec.name}: ")
                raise typer.BadParameter(message, param_hint=self.spec.flag) from None
        elif value is None:
            return
        ctx.ensure_object(dict)[self.spec.name] = value

    def get_help_record(self, ctx: Any) -> tuple[str, str] | None:
        """Return the flag and its help for the task that was given, None if it has no effect."""
        params = ctx.command.params
        task = given(ctx).get("task", DEFAULT_TASK)
        takes_task = any(isinstance(each, Setting) and each.name == "task" for each in params)
        if takes_task and self.spec.misplaced({"task": task}) is not None:
            return None
        flag = ", ".join([*self.opts, *self.secondary_opts])
        if not self.spec.is_switch:
            flag += f" {self.metavar}"
        notes = [f"with {words}" for words in self.spec.conditions() if "task" not in words]
        notes.append(f"default: {spelled(self.spec.default_of(task))}")
        return flag, f"{self.spec.help} [{'; '.join(notes)}]"


def metavar(spec: Spec) -> str:
    """Return what stands for the value in help: `N`, `word|whitespace|char`, `X|auto`."""
    kinds = [METAVARS[kind] for kind in spec.kinds]
    return "|".join([*kinds, *spec.choices])


def one_of(*words: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 - typer's word
    """Return an option that takes one of the words; those that start with a dash are its flags.

    `metavar` stands for the words where their names are too long for a line.
    """
    flags = [word for word in words if word.startswith("-")]
    choices = tuple(word for word in words if not word.startswith("-"))

    def read(value: str) -> str:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"found {value!r}; expected {', '.join(choices)}")
        return value

    return typer.Option(
        *flags,
        metavar=metavar or "|".join(choices),
        callback=read,
        autocompletion=lambda incomplete: _starting(choices, incomplete),
        help=help,
    )


def number(*names: str, help: str, largest: int | None = None) -> Any:  # noqa: A002
    """Return an option that takes a whole number from 0 to `largest`."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = whole(value)
        if largest is not None and found > largest:
            raise typer.BadParameter(f"found {value}; expected at most {largest}")
        return found

    return typer.Option(*names, metavar="N", callback=read, help=help)


def share(*names: str, help: str) -> Any:  # noqa: A002 - typer's word
    """Return an option that takes a number from 0 to 1."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 <= number <= 1:
            raise typer.BadParameter(f"found {value!r}; expected a number from 0 to 1")
        return number

    return typer.Option(*names, metavar="X", callback=read, help=help)


def whole(text: str, flag: str | None = None) -> int:
    """Return the whole number from 0 that a text spells; raises BadParameter."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise typer.BadParameter(f"found {text!r}; expected a whole number", param_hint=flag)
    return int(text)


def as_path(value: Any) -> Any:
    """Return a path, or None."""
    return None if value is None else Path(value)


def path(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's word
    """Return an option that takes a path."""
    return typer.Option(*names, metavar="PATH", callback=as_path, help=help, **more)


def read_picture(value: Any) -> Any:
    """Return the path of a picture, or None; raises BadParameter unless it ends in .svg."""
    found = as_path(value)
    if found is not None and found.suffix.lower() != ".svg":
        raise typer.BadParameter(f"found {str(found)!r}; expected a name that ends in .svg")
    return found


def picture(what: str) -> Any:
    """Return the option --out of a command that draws a picture of `what`."""
    described = f"Draw {what} into this file instead."
    return typer.Option("--out", "-o", metavar="FILE.svg", callback=read_picture, help=described)


def write_picture(path: Path, svg: str) -> None:
    """Write a picture, whole or not at all; raises StoreError."""
    from embedcli.storage import files

    with files.atomic_write(path) as file:
        file.write(svg.encode())


Model = Annotated[
    Path,
    path(
        "--model",
        "-m",
        envvar="EMBED_MODEL",
        help="Model folder, a file of vectors, or fastText's .bin or .ftz.",
    ),
]
Policy = Literal["error", "skip", "zero", "compose"]  # for unknown words
POLICIES: tuple[str, ...] = get_args(Policy)
Oov = Annotated[
    Policy | None,
    one_of(
        "--oov",
        *POLICIES,
        help="An unknown word is an error, skipped with its question, a vector of zeros, or "
        "composed of its parts. [default: compose where the model has parts, else error]",
    ),
]
OovOfText = Annotated[
    Policy | None,
    one_of(
        "--oov",
        *POLICIES,
        help="An unknown word is an error, skipped, counted as a vector of zeros, or composed of "
        "its parts. [default: compose where the model has parts, else skip]",
    ),
]
FoldCase = Annotated[
    bool | None,
    typer.Option(
        "--fold-case/--no-fold-case",
        help="Fold the case of a text, or not; without, as the model's text was, and for other "
        "vectors each word is tried as it stands, then folded.",
    ),
]
LONGEST_FRACTION = 50  # digits; that of the smallest float32 starts at the 45th
Precision = Annotated[
    int, number(help="Digits after the decimal point in a table.", largest=LONGEST_FRACTION)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the results.")]
EMBEDDINGS = Path("embeddings")


def _starting(words: Iterable[str], beginning: str) -> list[str]:
    return [word for word in words if word.startswith(beginning)]


def lines_of_stdin() -> Iterator[str]:
    """Yield the lines of standard input that are not empty, without their ends."""
    if sys.stdin.isatty():
        raise typer.BadParameter("nothing to look up; give words, or pipe them in")
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text:
            yield text
