"""The command `help`: pages of the documentation, and parts of them, by topic."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from embedcli.cli import flags
from embedcli.cli.app import COMMANDS, examples, run
from embedcli.config import nearest
from embedcli.views import blocks, colors, terminal

# Each topic with its page in docs/, and the heading of the part that is shown, "" for the whole.
TOPICS = {
    "text": ("text.md", ""),
    "phrases": ("text.md", "Phrases"),
    "labels": ("text.md", "Labels"),
    "settings": ("reference/settings.md", ""),
    "tuning": ("tuning.md", ""),
    "resume": ("reliability.md", "Runs that stop"),
    "memory": ("reliability.md", "No space, no memory, errors of the disk"),
    "same-bytes": ("reliability.md", "The same bytes"),
    "model-folder": ("reliability.md", "The model folder"),
    "clusters": ("clusters.md", ""),
    "update": ("starting.md", ""),
    "unknown-words": ("json.md", "Words that are not in the vocabulary"),
    "search": ("search.md", ""),
    "map": ("map.md", ""),
    "compare": ("compare.md", ""),
    "formats": ("formats.md", ""),
    "fasttext": ("fasttext.md", ""),
    "json": ("json.md", ""),
    "recipes": ("recipes.md", ""),
    "completion": ("shell.md", "Completion"),
    "exit-codes": ("shell.md", "Exit codes"),
    "variables": ("shell.md", "Variables"),
}
LINK = re.compile(r"\[([^\]]*)\]\((?!http)[^)]*\)")  # to another page


def page(topic: str) -> str:
    """Return the Markdown of a topic, with the words alone of links to other pages."""
    name, heading = TOPICS[topic]
    here = Path(__file__).resolve().parents[1]
    folder = here / "docs" if (here / "docs").is_dir() else here.parent / "docs"
    text = LINK.sub(r"\1", (folder / name).read_text(encoding="utf-8"))
    if heading:
        part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        return f"# {heading}\n{part}"
    return text


@examples("embed help", "embed help unknown-words", "embed help formats | less")
def help(  # noqa: A001 - the name of the command
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            autocompletion=lambda incomplete: flags.starting((*TOPICS, *COMMANDS), incomplete),
            help="Topic, or a command; none: the topics.",
        ),
    ] = None,
) -> None:
    """Show a page of the documentation."""
    if topic is None:
        titles = [(name, page(name).split("\n", 1)[0].removeprefix("# ")) for name in TOPICS]
        blocks.show([blocks.Pairs(titles)])
    elif topic in TOPICS and sys.stdout.isatty():
        from rich.markdown import Markdown

        shown = Markdown(page(topic), code_theme="ansi_dark", hyperlinks=False)
        colors.console().print(shown)
    elif topic in TOPICS:
        sys.stdout.write(page(topic))
    elif topic in COMMANDS:
        run([topic, "--help"])
    else:
        hint = nearest(topic, [*TOPICS, *COMMANDS]) or "embed help lists the topics."
        raise typer.BadParameter(f"no such topic {terminal.visible(topic)!r}. {hint}")
