"""Words and labels that would do harm: as they are in files, harmless on every way out."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from embedcli import api
from embedcli.cli import main
from embedcli.model import load_table
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import terminal

SCRIPT = "<script>alert(1)</script>"
WORDS = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;owned\x07",
    "\x9b2J",
    "back\x08\x08",
    "gnp\u202eexe",
    "a\u2066b\u2069",
    "\ufeffmark",
    "[bold]x[/bold]",
    SCRIPT,
    '"><img/src=x/onerror=alert(1)>',
    "&lt;b&gt;",
    "=HYPERLINK(1)",
    "＝1+1",
    "+1",
    "@SUM(1)",
    "../../etc/passwd",
    "%s%n",
    "{0}",
    "$(reboot)",
]
BLANKS = "line\u2028separator"  # two words to the tokenizer
JOINED = ["क्\u200dष", "می\u200cخواهم", "👩\u200d👧"]  # text, not an attack
EVERY = [*WORDS, *JOINED]
TEXT = " ".join([*EVERY, BLANKS])
ESCAPED = "\x1b\x07\x08\x9b\u202e\u2066\u2069\u2028\ufeff"


# What the views colour text with: none of it is in the words above.
OUR_COLOURS = re.compile(r"\x1b\[(0|[12]|32|[34]8;5;\d+|38;5;\d+;48;5;\d+)m")


class Screen(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models that learnt the words, a table of them, and files to judge by that hold them."""
    folder = tmp_path_factory.mktemp("words")
    lines = "".join(f"__label__{word} {TEXT}\n" for word in EVERY)
    (folder / "labels.txt").write_text(lines, encoding="utf-8")
    common = {"tokenizer": "whitespace", "fold_case": False, "normalize": False, "min_count": 1}
    common |= {"dim": 4, "epochs": 1, "workers": 1, "cache": False}
    (folder / "text.txt").write_text(f"{TEXT}\n" * 3, encoding="utf-8")
    api.train(folder / "text.txt", folder / "words", **common)
    api.train(folder / "labels.txt", folder / "labels", task="classify", **common)
    pairs = "".join(f"{WORDS[0]}\t{word}\t{place}\n" for place, word in enumerate(EVERY))
    (folder / "pairs.txt").write_text(pairs, encoding="utf-8")
    questions = f": {WORDS[0]}\n{' '.join(EVERY[:4])}\n"
    (folder / "questions.txt").write_text(questions, encoding="utf-8")
    return folder


@pytest.fixture(params=["terminal", "colours", "pipe"])
def run(request, folder, monkeypatch):
    """Run a command; returns what it wrote, both streams together."""
    monkeypatch.chdir(folder)

    def run(*argv, model="words"):
        kind = io.TextIOWrapper if request.param == "pipe" else Screen
        out = kind(io.BytesIO(), encoding="utf-8", newline="")
        err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("NO_COLOR", "" if request.param == "colours" else "1")
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            main([*argv, "--model", model] if model else argv)
        out.flush()
        err.flush()
        said = (out.buffer.getvalue() + err.buffer.getvalue()).decode()
        return OUR_COLOURS.sub("", said) if request.param == "colours" else said

    run.on_terminal = request.param != "pipe"
    return run


SHOWN = [
    ("lookup", *EVERY),
    ("lookup", f"no{WORDS[0]}"),
    ("lookup", "--text", TEXT),
    ("show-table",),
    ("show-table", "--sort", "token"),
    ("neighbors", *EVERY, "-k", "30"),
    ("analogy", *EVERY[:3]),
    ("similarity", *EVERY[:2]),
    ("odd", *EVERY),
    ("vectors", *EVERY),
    ("map", "--format", "json"),
    ("map", "--out", f"{WORDS[0]}.tsv"),
    ("explain", TEXT),
    ("explain", "--word", WORDS[0]),
    ("explain", "--word", f"no{WORDS[0]}"),
    ("evaluate", "pairs.txt"),
    ("evaluate", "questions.txt"),
    ("evaluate", f"{WORDS[0]}.txt"),
    ("info",),
]
OF_LABELS = [
    ("predict", "text.txt", "-k", "30"),
    ("evaluate", "labels.txt", "--task", "classify"),
    ("explain", TEXT, "--label", WORDS[0]),
    ("explain", TEXT, "--label", f"no{WORDS[0]}"),
    ("info",),
]
ASKED = [(argv, "words") for argv in SHOWN] + [(argv, "labels") for argv in OF_LABELS]


@pytest.mark.parametrize("argv, model", ASKED, ids=lambda each: " ".join(each[:1]))
def test_nothing_moves_the_terminal(run, argv, model):
    said = run(*argv, model=model)
    assert said == terminal.visible(said, keep="\n")
    assert not set(said) & set(ESCAPED)


@pytest.mark.parametrize(
    "argv", [("show-table",), ("lookup", WORDS[0], WORDS[4]), ("explain", TEXT)], ids=lambda a: a[0]
)
@pytest.mark.parametrize("columns", ["80", "40"])
def test_nothing_moves_a_real_terminal(folder, argv, columns):
    mine, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": columns, "NO_COLOR": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "embedcli", *argv, "--model", "words"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(mine, 1 << 16):
                written += part
    os.close(mine)
    said = written.decode().replace("\r\n", "\n")
    assert OUR_COLOURS.search(said)
    plain = OUR_COLOURS.sub("", said)
    assert plain == terminal.visible(plain, keep="\n")
    assert "[31mred" in plain
    rows = [line for line in plain.splitlines() if "…" in line]
    assert all(terminal.width(line) <= int(columns) for line in rows)


@pytest.mark.parametrize("output", ["json", "tsv", "csv"])
def test_nor_does_what_is_for_programs_when_it_goes_to_one(run, output):
    said = run("show-table", "--format", output)
    if run.on_terminal or output == "json":
        assert said == terminal.visible(said, keep="\n\t")
    if output == "json":
        assert sorted(each["token"] for each in json.loads(said)) == sorted(
            [*EVERY, *BLANKS.split()]
        )
    elif not run.on_terminal and output == "tsv":
        assert sorted(line.split("\t")[1] for line in said.split("\n")[:-1]) == sorted(
            [*EVERY, *BLANKS.split()]
        )
    elif not run.on_terminal:
        rows = list(csv.reader(io.StringIO(said, newline="")))
        assert sorted(row[1] for row in rows[1:]) == sorted([*EVERY, *BLANKS.split()])


def test_tokens_go_to_a_terminal_as_they_can_be_seen(run):
    said = run("tokenize", "text.txt", "--format", "tokens", "--tokenizer", "whitespace", model="")
    assert run.on_terminal == (said == terminal.visible(said, keep="\n"))
    if not run.on_terminal:
        assert EVERY[1] in said


def test_guarded_cells_are_no_formulas(run):
    said = run("show-table", "--format", "csv", "--guard-formulas")
    cells = [row[1] for row in csv.reader(io.StringIO(said, newline=""))][1:]
    assert not any(cell.startswith(tuple("=+-@＝＋－＠")) for cell in cells)
    assert "'=HYPERLINK(1)" in cells


@pytest.mark.parametrize("output", ["svg", "html"])
@pytest.mark.parametrize("what", [(TEXT,), ("--word", SCRIPT)])
def test_pages_hold_words_as_words(run, output, what):
    said = run("explain", *what, "--format", output)
    assert not set(said) & set(ESCAPED)
    assert "<script>alert" not in said
    assert "<img" not in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said


def test_joiners_are_text(run):
    said = run("lookup", *JOINED)
    assert all(word in said for word in JOINED)


def test_words_are_the_same_after_a_way_through_files(tmp_path):
    table = EmbeddingTable(Vocabulary(EVERY), np.ones((len(EVERY), 2), np.float32))
    from embedcli.formats import FORMATS

    FORMATS["model"].write(tmp_path / "model", table)
    assert list(load_table(tmp_path / "model").vocabulary) == EVERY
    assert not [path for path in tmp_path.parent.iterdir() if path.name in ("passwd", "etc")]
