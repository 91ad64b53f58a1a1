"""Write docs/reference/ from the code; `tests/test_docs.py` checks that it is up to date."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from embedcli.cli import main
from embedcli.cli.app import COMMANDS
from embedcli.config import ByTask, Spec, TrainSettings, groups, presets, schema
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


PAGES = {"commands.md": commands_page, "settings.md": settings_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
