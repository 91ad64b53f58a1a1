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
from embedcli.cli.flags import shown
from embedcli.config import Spec, TrainSettings, groups, presets

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
    """Every setting, by group, and the presets."""
    parts = [
        "# Settings\n",
        "Written by `docs/make_reference.py` from `embedcli/config.py`. A setting has one name: "
        "the field in Python, the key in YAML, and, with dashes for underscores, the flag. "
        "Values come from, the later the stronger: the defaults below, the preset of the task, "
        "the file or preset named by `--config`, and flags. What is `auto` is chosen from the "
        "text, printed, and saved with the model.\n",
    ]
    for group, specs in groups(TrainSettings).items():
        parts.append(f"## {group}\n\n" + "".join(_table(specs)))
    parts.append("## Presets\n\nNamed as `--config NAME`; a task's own applies without.\n")
    for name, path in presets().items():
        parts.append(f"### {name}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def _table(specs: list[Spec]) -> Iterator[str]:
    yield "| setting | flag | takes | default | |\n|---|---|---|---|---|\n"
    for spec in specs:
        flag = f"`{spec.flag}`, `--no-{spec.flag[2:]}`" if spec.is_switch else f"`{spec.flag}`"
        cells = [f"`{spec.name}`", flag, spec.allowed(), f"`{shown(spec.default)}`", spec.help]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


PAGES = {"commands.md": commands_page, "settings.md": settings_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
