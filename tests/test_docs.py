from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import embedcli
from embedcli.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
make_reference = runpy.run_path(str(DOCS / "make_reference.py"))


@pytest.mark.parametrize("name", make_reference["PAGES"])
def test_the_reference_is_what_the_code_says(name):
    page = make_reference["PAGES"][name]()
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == page, (
        "run `python docs/make_reference.py`"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference(name):
    page = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    assert f"\n## embed {name}\n" in page


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    for name in embedcli.__all__:
        assert name == "__version__" or f"\n### {name}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_room_of_the_house_is_on_its_plan():
    plan = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for room in (ROOT / "embedcli").iterdir():
        if room.name.startswith("__") or room.name in ("data", "configs", "py.typed"):
            continue
        assert f"`{room.name}{'/' if room.is_dir() else ''}`" in plan, room.name


def test_the_floors_are_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; exit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def console_blocks(page: Path) -> list[tuple[str, str]]:
    """Every `$ command` of a page with what the page says it prints."""
    said = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            said.append((command, output))
    return said


NUMBER = re.compile(r"\b[0-9a-f]{64}\b|[-+]?\d[\d,]*(\.\d+)?(e[-+]\d+)?")


def without_numbers(text: str) -> list[str]:
    """Lines with every number masked: the last digits differ from one processor to another."""
    return [" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines()]


@pytest.mark.parametrize("page", ["README.md", "README.hi.md"])
def test_the_readmes_commands_print_what_it_says(tmp_path, page):
    told = console_blocks(ROOT / page)
    assert told
    (tmp_path / "embedcli").symlink_to(ROOT / "embedcli")  # a reader sits in the project's folder
    script = [f'embed() {{ "{sys.executable}" -m embedcli "$@"; }}']
    script.append(f'python() {{ "{sys.executable}" "$@"; }}')
    for number, (command, _) in enumerate(told):
        script.append(f"{{ {command}\n}} > out.{number} 2>&1 || true")
    subprocess.run(["bash", "-uc", "\n".join(script)], cwd=tmp_path, check=True, timeout=300)
    for number, (command, output) in enumerate(told):
        printed = (tmp_path / f"out.{number}").read_text(encoding="utf-8")
        assert "Traceback" not in printed, command
        lines = without_numbers(printed)
        for line in without_numbers(output):
            told_whole = not line.endswith("...")
            known = line in lines if told_whole else any(x.startswith(line[:-3]) for x in lines)
            assert known, f"{command}\n{printed}"
