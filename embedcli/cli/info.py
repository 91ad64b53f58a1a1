"""The command `info`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.cli.progress import in_words
from embedcli.views import terminal

if TYPE_CHECKING:
    from embedcli.config import TrainSettings
    from embedcli.description import Description


@examples("embed info", "embed info --verify", "embed info --model vectors.txt --format json")
def info(
    model: flags.Model = flags.EMBEDDINGS,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its digest first.")
    ] = False,
    output: Annotated[
        str, flags.one_of("--format", "table", "json", help="Format of the output.")
    ] = "table",
) -> None:
    """Describe a model: shape, norms, settings, sizes.

    --verify finds any changed byte in a model folder: exit code 1 and the name of the file.
    JSON: {"path", "format", "words", "dim", "norms": [smallest, mean, largest], "files": {name:
    bytes}, "settings", "digest", "corpus", "version", "untrained", "labels", "log"}.
    """
    from embedcli import api

    found = api.describe(model, verify=verify)
    if output == "json":
        sys.stdout.write(terminal.json_text({**asdict(found), "path": str(found.path)}) + "\n")
    else:
        sys.stdout.writelines(terminal.pairs(list(_rows(found, verify))))


def _rows(found: Description, verified: bool) -> Iterator[tuple[str, str]]:
    low, mean, high = found.norms
    yield "path", str(found.path)
    yield "format", found.format
    yield "shape", f"{found.words:,} × {found.dim} float32"
    yield "norms", f"{low:.4f} to {high:.4f}, mean {mean:.4f}"
    if found.settings is not None and found.untrained == found.words:
        yield "task", "none: no word was trained, the vectors came from a file"
    elif found.settings is not None:
        yield "task", found.settings.task
        yield "untrained", f"{found.untrained:,} of {found.words:,} words"
        if found.labels:
            yield "labels", ", ".join(found.labels)
        if found.log:
            yield f"epoch {found.log[-1]['epoch']}", in_words(found.log[-1])
        yield "settings", _settings_in_words(found.settings)
    if found.settings is not None:
        yield "sha256", f"{found.digest}"
        yield "digests", "as written" if verified else "not checked (--verify does)"
        yield "written by", f"embed {found.version}"
    from embedcli.storage.files import readable

    for name, size in found.files.items():
        yield name, readable(size)


def _settings_in_words(settings: TrainSettings) -> str:
    """List the settings that have an effect and differ from the defaults of the task."""
    from embedcli.config import schema

    differing = [
        f"{name} {flags.shown(getattr(settings, name))}"
        for name, spec in schema(type(settings)).items()
        if name != "task"
        and settings.has_effect(name)
        and getattr(settings, name) != spec.default_of(settings.task)
    ]
    return ", ".join(differing) or "defaults"
