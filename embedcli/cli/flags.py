"""Flags: those of the settings, made from the schema, and those that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer
import typer.core

from embedcli.config import DEFAULT_TASK, Settings, Spec, groups
from embedcli.errors import ConfigError
from embedcli.views.terminal import spelled

METAVARS = {bool: "true|false", int: "N", float: "X", str: "TEXT"}
F = TypeVar("F", bound=Callable[..., Any])


def with_settings(
    settings: type[Settings], *, leave_out: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Return a decorator that adds a flag for each setting, or for those named in `only`.

    Settings named in `leave_out` have none. The command gets their values by `given`.
    """

    def decorate(function: F) -> F:
        function.__dict__["settings"] = settings, only, leave_out
        return function

    return decorate


def settings_of(function: Any) -> list[Setting]:
    """Return the flags that `with_settings` adds to a command."""
    if not hasattr(function, "settings"):
        return []
    settings, only, leave_out = function.settings
    every = [spec for specs in groups(settings).values() for spec in specs]
    return [
        Setting(spec)
        for spec in every
        if (spec.name in only if only else spec.name not in leave_out)
    ]


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
            autocompletion=lambda *call: starting(spec.choices, call[-1]),
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


class ByAnnotation:
    """Reads the values of a command's parameters as their annotations say.

    typer would leave that to pydantic, whose import takes longer than the rest of a command like
    `lookup`.
    """

    @staticmethod
    def coerce(value: Any, *, param: Any, ctx: Any) -> Any:  # noqa: ARG004 - as typer calls it
        """Return a value, or the tuple of those of a list; raises BadParameter."""
        described = param.type_descriptor
        if param.multiple or param.nargs == -1:
            (kind,) = get_args(described.annotation)
            return tuple(_read(each, kind, described.choices) for each in value or ())
        return _read(value, described.annotation, described.choices)


def _read(value: Any, kind: Any, choices: tuple[str, ...] | None) -> Any:
    """Return the value that a text spells; a default is one already."""
    if not isinstance(value, str):
        return value
    if choices and value not in choices:
        raise typer.BadParameter(f"found {value!r}; expected {', '.join(choices)}")
    if kind is Path:
        return Path(value)
    if kind is int:
        if not (value.isascii() and value.isdigit() and len(value) < 19):
            raise typer.BadParameter(f"found {value!r}; expected a whole number")
        return int(value)
    if kind is float:  # all of them are shares
        with suppress(ValueError):
            if 0 <= float(value) <= 1:
                return float(value)
        raise typer.BadParameter(f"found {value!r}; expected a number from 0 to 1")
    return value


def metavar_of(param: Any) -> str | None:
    """Return what stands for the value of a parameter in help, by its annotation."""
    described = param.type_descriptor
    if described is None:
        return None
    if described.choices:
        return "|".join(described.choices)
    kind = get_args(described.annotation)[0] if described.is_list else described.annotation
    return {int: "N", float: "X", Path: "PATH"}.get(kind)


def one_of(flag: str, words: tuple[str, ...], help: str, metavar: str | None = None) -> Any:  # noqa: A002
    """Return an option that takes one of some words that no annotation lists.

    `metavar` stands for the words where their names are too long for a line.
    """

    def check(value: str) -> str:
        return str(_read(value, str, words)) if value is not None else value

    return typer.Option(
        flag,
        metavar=metavar or "|".join(words),
        callback=check,
        autocompletion=lambda incomplete: starting(words, incomplete),
        help=help,
    )


def format_of(given: str | None, out: Path | None, formats: Any) -> str:
    """Return the format that was given, else that of the name of a file, else the first of all."""
    words: tuple[str, ...] = get_args(formats)
    ending = "" if out is None else out.suffix[1:].lower()
    return given or (ending if ending in words else words[0])


def picture(what: str) -> Any:
    """Return the option --out of a command that draws a picture of `what`."""

    def check(path: Any) -> Any:
        if path is not None and path.suffix.lower() != ".svg":
            raise typer.BadParameter(f"found {str(path)!r}; expected a name that ends in .svg")
        return path

    described = f"Draw {what} into this file instead."
    return typer.Option("--out", "-o", metavar="FILE.svg", callback=check, help=described)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a picture or page, whole or not at all; raises StoreError."""
    from embedcli.storage import files

    with files.atomic_write(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def _precision(digits: int) -> int:
    if digits > LONGEST_FRACTION:
        raise typer.BadParameter(f"found {digits}; expected at most {LONGEST_FRACTION}")
    return digits


FORMAT = typer.Option("--format", help="Format of the output.")
Model = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        envvar="EMBED_MODEL",
        help="Model folder, a file of vectors, or fastText's .bin or .ftz.",
    ),
]
Policy = Literal["error", "skip", "zero", "compose"]  # for unknown words
Oov = Annotated[
    Policy | None,
    typer.Option(
        help="An unknown word is an error, skipped with its question, a vector of zeros, or "
        "composed from its spelling. [default: compose where the model can, else error]"
    ),
]
OovOfText = Annotated[
    Policy | None,
    typer.Option(
        help="An unknown word is an error, skipped, counted as a vector of zeros, or composed "
        "from its spelling. [default: compose where the model can, else skip]"
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
    int, typer.Option(callback=_precision, help="Digits after the decimal point in a table.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the results.")]
EMBEDDINGS = Path("embeddings")


def starting(words: Iterable[str], beginning: str) -> list[str]:
    """Return the words that complete what was typed."""
    return [word for word in words if word.startswith(beginning)]


def lines_of_stdin() -> Iterator[str]:
    """Yield the lines of standard input that are not empty, without their ends."""
    if sys.stdin.isatty():
        raise typer.BadParameter("nothing to look up; give words, or pipe them in")
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text:
            yield text
