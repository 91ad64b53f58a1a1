"""Flags: those of the settings, made from the schema, and the few that commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from embedcli.config import Settings, Spec, groups
from embedcli.errors import ConfigError

METAVARS = {bool: "true|false", int: "N", float: "X", str: "TEXT"}


def with_settings(
    settings: type[Settings], *, leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each setting, save those named in `leave_out`.

    The command's own `**settings` then holds, by field name, the values of the flags that were
    given, and no others.
    """
    every = (spec for specs in groups(settings).values() for spec in specs)
    specs = {spec.name: spec for spec in every if spec.name not in leave_out}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            given = {
                name: _read(specs[name], value)
                for name, value in values.items()
                if name in specs and value is not None
            }
            rest = {name: value for name, value in values.items() if name not in specs}
            function(**rest, **given)

        command.__dict__["__signature__"] = signature.replace(
            parameters=own + [_parameter(spec) for spec in specs.values()]
        )
        return command

    return decorate


def _parameter(spec: Spec) -> inspect.Parameter:
    flag = f"{spec.flag}/--no-{spec.flag[2:]}" if spec.is_switch else spec.flag
    option = typer.Option(
        flag,
        help=f"{spec.help} [default: {shown(spec.default)}]",
        metavar=None if spec.is_switch else metavar(spec),
        show_default=False,
        rich_help_panel=spec.group,
        # typer looks into each function it is given, which takes longer than all else here.
        autocompletion=_completer(spec.choices) if spec.choices else None,
    )
    kind: Any = bool if spec.is_switch else str
    return inspect.Parameter(
        spec.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, option],
    )


def shown(value: Any) -> str:
    """Spell a value as a flag takes it.

    >>> shown(None), shown(True), shown(0.001)
    ('none', 'true', '0.001')
    """
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def metavar(spec: Spec) -> str:
    """Say in a word what the flag takes: `N`, `word|whitespace|char`, `X|auto`."""
    kinds = [METAVARS[kind] for kind in spec.kinds]
    return "|".join([*kinds, *spec.choices])


def _read(spec: Spec, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    try:
        return spec.parse(value)
    except ConfigError as error:
        message = error.message.removeprefix(f"{spec.name}: ")
        raise typer.BadParameter(message, param_hint=spec.flag) from None


def _completer(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def one_of(*words: str, help: str) -> Any:  # noqa: A002 - typer's word
    """Make an option that takes one of a few words; names that start with a dash are its flags."""
    flags = [word for word in words if word.startswith("-")]
    choices = tuple(word for word in words if not word.startswith("-"))

    def read(value: str) -> str:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"found {value!r}; expected {', '.join(choices)}")
        return value

    return typer.Option(
        *flags,
        metavar="|".join(choices),
        callback=read,
        autocompletion=_completer(choices),
        help=help,
    )


def number(*names: str, help: str, largest: int | None = None) -> Any:  # noqa: A002
    """Make an option that takes a whole number from 0, up to `largest`."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = whole(value)
        if largest is not None and found > largest:
            raise typer.BadParameter(f"found {value}; expected at most {largest}")
        return found

    return typer.Option(*names, metavar="N", callback=read, help=help)


def share(*names: str, help: str) -> Any:  # noqa: A002 - typer's word
    """Make an option that takes a number from 0 to 1."""

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
    """Read a whole number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise typer.BadParameter(f"found {text!r}; expected a whole number", param_hint=flag)
    return int(text)


def as_path(value: Any) -> Any:
    """Make a path of what was typed."""
    return None if value is None else Path(value)


def path(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's word
    """Make an option that takes a path."""
    return typer.Option(*names, metavar="PATH", callback=as_path, help=help, **more)


Model = Annotated[
    Path,
    path(
        "--model",
        "-m",
        envvar="EMBED_MODEL",
        help="Model folder, or a file of vectors. $EMBED_MODEL sets it too.",
    ),
]
Policy = Literal["error", "skip", "zero"]  # for words that are not in a vocabulary
POLICIES: tuple[str, ...] = get_args(Policy)
Oov = Annotated[
    Policy,
    one_of(
        "--oov",
        *POLICIES,
        help="An unknown word is an error, left out with its question, or all zeros.",
    ),
]
OovOfText = Annotated[
    Policy,
    one_of(
        "--oov",
        *POLICIES,
        help="An unknown word is an error, left out, or counts with a vector of zeros.",
    ),
]
LONGEST_FRACTION = 50  # digits; the smallest float32 has its first at the 45th
Precision = Annotated[
    int, number(help="Digits after the point in a table.", largest=LONGEST_FRACTION)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the results.")]
EMBEDDINGS = Path("embeddings")
