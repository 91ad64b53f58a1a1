"""Write docs/reference/ from the code; `tests/test_docs.py` checks that it is up to date."""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import embedcli
from embedcli.cli import main
from embedcli.cli.app import COMMANDS
from embedcli.config import ByTask, Settings, Spec, TrainSettings, groups, presets, schema
from embedcli.views.terminal import spelled

HERE = Path(__file__).parent / "reference"


def commands_page() -> str:
    """Every command as its --help says it."""
    parts = [
        "# Commands\n",
        "Written by `docs/make_reference.py` from the commands' own `--help`. Exit codes: 0 done, "
        "1 an error that is explained, 2 a wrong command line, 130 interrupted, 143 terminated. "
        "Results go to standard output, everything else to standard error.\n",
        " · ".join(f"[{name}](#embed-{name})" for name in COMMANDS) + "\n",
    ]
    for name in COMMANDS:
        parts.append(f"## embed {name}\n\n```text\n{_help_of(name)}```\n")
    return "\n".join(parts)


def _help_of(name: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said), mock.patch.dict(os.environ, COLUMNS="80"):
        main([name, "--help"])
    return said.getvalue()


def settings_page() -> str:
    """Return every setting by group, the defaults of each task, and the presets."""
    parts = [
        "# Settings\n",
        "Written by `docs/make_reference.py` from `embedcli/config.py`. A setting has one name: "
        "the field in Python, the key in YAML, and, with dashes for underscores, the flag. "
        "Later sources override earlier ones: the defaults of the task, the settings of the "
        "model that `update` names, the file or preset named by `--config`, and flags. A setting "
        "that is `auto` is chosen from the text, printed, and saved with the model. A setting "
        "that has no effect beside the others is an error.\n",
        "## Defaults by task\n\n" + "".join(_defaults()),
    ]
    for group, specs in groups(TrainSettings).items():
        parts.append(f"## {group}\n\n" + "".join(_table(specs)))
    parts.append(
        "## Presets\n\nNamed as `--config NAME`. Those of the tasks hold the defaults above, as "
        "files to copy.\n"
    )
    for name, path in presets().items():
        parts.append(f"### {name}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def _defaults() -> Iterator[str]:
    """Yield a table of the settings that are not the same for every task."""
    every = schema(TrainSettings)
    tasks = every["task"].choices
    yield f"| setting | {' | '.join(tasks)} |\n|---|{'---|' * len(tasks)}\n"
    for spec in every.values():
        cells = [
            "" if spec.misplaced({"task": task}) else f"`{spelled(spec.default_of(task))}`"
            for task in tasks
        ]
        if len({*cells}) > 1:
            yield f"| `{spec.name}` | {' | '.join(cells)} |\n"


def _table(specs: list[Spec]) -> Iterator[str]:
    yield "| setting | flag | takes | default | |\n|---|---|---|---|---|\n"
    for spec in specs:
        flag = f"`{spec.flag}`, `--no-{spec.flag[2:]}`" if spec.is_switch else f"`{spec.flag}`"
        default = f"`{spelled(spec.default)}`"
        if isinstance(spec.default, ByTask):
            default = "by task"
        note = f" Only with {'; '.join(spec.conditions())}." if spec.conditions() else ""
        cells = [f"`{spec.name}`", flag, spec.allowed(), default, spec.help + note]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


METHODS = ("EmbeddingTable", "Found", "Vocabulary", "Tokenized")  # classes shown with theirs
GROUPS = {
    "Functions": lambda thing: inspect.isfunction(thing),
    "Tables": lambda thing: thing.__name__ in METHODS,
    "Errors": lambda thing: issubclass(thing, Exception),
    "Records and settings": lambda _: True,
}


def python_page() -> str:
    """Return every public name of the package with its signature and docstring."""
    parts = [
        "# Python\n",
        "Written by `docs/make_reference.py` from the docstrings. Every name is imported from "
        "`embedcli`, and loaded when it is first used. Files, folders and models are paths "
        "(`Source` is `str | Path`); a `Model` is a path or a table that is open.\n",
        "```python\nimport embedcli\n\n"
        "table = embedcli.load()  # the model folder `embeddings`, or a file of vectors\n"
        'for answer in table.neighbors(["king", "queen"], k=3):\n'
        "    for neighbor in answer.neighbors:\n"
        "        print(answer.token, neighbor.token, neighbor.score)\n```\n",
        'Types of arguments: `Oov` is `"error"`, `"skip"` or `"zero"`; `Metric` is '
        '`"cosine"`, `"dot"` or `"euclidean"`; `Method` is `"3cosadd"` or `"3cosmul"`; '
        "`Questions` are the words of one question, or a list of such lists.\n",
    ]
    left = {name: getattr(embedcli, name) for name in embedcli.__all__ if name[0] != "_"}
    for title, belongs in GROUPS.items():
        chosen = {name: left.pop(name) for name, thing in list(left.items()) if belongs(thing)}
        parts.append(f"## {title}\n")
        parts += [_documented(name, thing) for name, thing in chosen.items()]
    return "\n".join(parts)


def _documented(name: str, thing: Any, heading: str = "###") -> str:
    """Return the section of a function or class."""
    code = ""
    if inspect.isfunction(thing):
        code = _signature(name, thing)
    elif inspect.isclass(thing) and name not in METHODS and not issubclass(thing, Settings):
        code = _fields(thing)
    parts = [f"{heading} {name}\n"]
    if code:
        parts.append(f"```python\n{code}\n```\n")
    parts.append(_without_examples(inspect.getdoc(thing) or "") + "\n")
    if name in METHODS:
        for key, member in vars(thing).items():
            if not key.startswith("_") and (inspect.isfunction(member) or _is_property(member)):
                parts.append(_documented(f"{name}.{key}", member, "####"))
    return "\n".join(parts)


def _is_property(member: object) -> bool:
    return isinstance(member, property | cached_property)


def _signature(name: str, function: Callable[..., Any]) -> str:
    """Return a signature as it is written, each parameter in its line if it is long."""
    signature = inspect.signature(function)
    words, star = [], False
    for key, parameter in signature.parameters.items():
        if key == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
        star |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        words.append(f"{stars.get(parameter.kind, '')}{key}: {parameter.annotation}{default}")
    line = f"{name}({', '.join(words)}) -> {signature.return_annotation}"
    if len(line) <= 80:
        return line
    lines = "".join(f"    {word},\n" for word in words)
    return f"{name}(\n{lines}) -> {signature.return_annotation}"


def _fields(thing: type) -> str:
    """Return the lines of a record's fields, with their comments."""
    source = textwrap.dedent(inspect.getsource(thing))
    body = ast.parse(source).body[0]
    lines = source.splitlines()
    return "\n".join(
        textwrap.dedent(lines[node.lineno - 1])
        for node in body.body  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign)
    )


def _without_examples(text: str) -> str:
    return re.split(r"\n+>>> ", text)[0]


PAGES = {"commands.md": commands_page, "settings.md": settings_page, "python.md": python_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
