"""The pages of docs/ that teach: what their commands and Python lines print is what is printed."""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
ELLIPSIS = doctest.ELLIPSIS


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `embed` and `python` are those under test."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, code in {"embed": "-m embedcli", "python": ""}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {code} "$@"\n')
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(DOCS.parent), "COLUMNS": "80"}


@pytest.mark.parametrize(
    "page",
    [
        "how-an-embedding-layer-works.md",
        "how-an-embedding-layer-works.hi.md",
        "questions.md",
        "starting.md",
        "optimizers.md",
        "counting.md",
        "compare.md",
        "map.md",
        "search.md",
    ],
)
def test_page_shows_what_is_printed(
    page: str, shell: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for kind, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if kind == "pycon":
            _check_python(text, names)
            continue
        for command, shown in COMMAND.findall(text):
            printed = subprocess.run(
                ["sh", "-c", command],
                env=shell,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                check=False,
            ).stdout
            assert _alike(shown, printed), f"$ {command}\n{printed}"


def _alike(shown: str, printed: str) -> bool:
    """Tell whether two texts are the same but for the last digits, which processors may change."""
    words = [re.split(r"(-?\d+\.\d+)", text) for text in (shown, printed)]
    numbers = [[float(each) for each in found[1::2]] for found in words]
    between = ["#".join(found[::2]) for found in words]
    same = doctest.OutputChecker().check_output(*between, ELLIPSIS)
    return same and numbers[0] == pytest.approx(numbers[1], abs=0.02)


def _check_python(text: str, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, "page", None, None)
    complaints: list[str] = []
    doctest.DocTestRunner(optionflags=ELLIPSIS).run(test, out=complaints.append, clear_globs=False)
    names.update(test.globs)
    assert not complaints, "".join(complaints)


def test_notebook_shows_what_its_cells_return() -> None:
    notebook = DOCS / "keras-question.ipynb"
    names: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, notebook.name, "exec"), names)
        shown = ["".join(each["data"]["text/plain"]) for each in cell["outputs"]]
        if last is None:
            assert not shown
        else:
            value = eval(compile(ast.Expression(last.value), notebook.name, "eval"), names)
            assert shown == [repr(value)]
