from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedcli import __version__
from embedcli.cli import main
from embedcli.cli.app import COMMANDS

from .conftest import save_model

EMBED = [sys.executable, "-m", "embedcli"]


def test_help_lists_every_command(embed):
    for argv in ([], ["--help"]):
        found = embed(*argv)
        assert (found.code, found.err) == (0, "")
        assert all(f"  {name} " in found.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_examples_and_fits_the_page(embed, name):
    found = embed(name, "--help")
    assert found.code == 0
    assert "\nExamples:\n  " in found.out
    examples = found.out.partition("\nExamples:\n")[2].splitlines()
    assert all(line.startswith("  ") for line in examples)
    assert f"embed {name}" in found.out
    assert max(map(len, found.out.splitlines())) <= 80


def test_help_of_a_command_without_a_task_shows_every_setting(embed):
    assert "--label-column" in embed("evaluate", "--help").out
    assert "--label-column" not in embed("train", "--help").out


def test_version(embed):
    assert embed("--version") == (0, f"embed {__version__}\n", "")


@pytest.mark.parametrize(
    "argv", [["--no-color", "lookup", "king"], ["lookup", "king", "--no-color"]]
)
def test_no_color_is_taken_anywhere(embed, monkeypatch, model, argv):
    monkeypatch.setenv("NO_COLOR", "")
    found = embed(*argv)
    assert (found.code, os.environ["NO_COLOR"]) == (0, "1")
    assert "--no-color" in embed("--help").out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["lokup"], "No such command 'lokup'. Did you mean lookup?"),
        (["lookup", "--fromat", "x"], "No such option: --fromat"),
        (["lookup", "--format", "xml"], "found 'xml'; expected table, json, tsv, npy"),
        (["train", "--dim", "x"], "--dim: found 'x'; expected a whole number"),
        (["train", "--dim", "0"], "--dim: found 0"),
        (["train", "--task", "x"], "expected skipgram, cbow, glove, svd, classify or regress"),
        (["neighbors", "-k", "-3", "king"], "expected a whole number"),
        (["convert", "one"], "Missing argument 'OUT'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(embed, argv, said):
    found = embed(*argv)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert "hint: embed" in found.err
    assert found.err.count("\n") == 2


def test_a_bug_keeps_its_traceback(embed, model, monkeypatch):
    from embedcli import api

    monkeypatch.setattr(api, "load", lambda path: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        embed("lookup", "king")


def test_an_interrupt_ends_with_130(embed, monkeypatch):
    from embedcli import api

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "load", interrupted)
    assert embed("lookup", "king") == (130, "", "error: interrupted\n")


def run(*argv: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EMBED, *argv], cwd=cwd, text=True, capture_output=True, timeout=60, check=False, **more
    )


def test_a_closed_pipe_ends_quietly(tmp_path):
    save_model(tmp_path / "embeddings", [f"w{i}" for i in range(20_000)])
    line = f"{' '.join(EMBED)} show-table --format tsv | head -n 1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("0\tw0\t")


def test_a_pipe_that_is_named_as_a_file_holds_what_is_written_alone(tmp_path):
    save_model(tmp_path / "embeddings", ["king", "रानी"])
    written = run("convert", "embeddings", "/dev/stdout", "--to", "word2vec", cwd=tmp_path)
    assert (written.returncode, written.stderr) == (0, "/dev/stdout  2 × 4 float32\n")
    run("convert", "embeddings", "v.txt", cwd=tmp_path)
    assert written.stdout == (tmp_path / "v.txt").read_text("utf-8")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_trouble(tmp_path, closed):
    save_model(tmp_path / "embeddings", ["king"])
    line = f"{' '.join(EMBED)} lookup king {closed}"
    found = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert (">&-" in closed.split()) or "king" in found.stdout


def test_an_error_that_nobody_hears_keeps_its_exit_code(tmp_path):
    line = f"{' '.join(EMBED)} lookup king 2> /dev/full"
    assert subprocess.run(["bash", "-c", line], cwd=tmp_path, check=False).returncode == 1


def test_sigterm_ends_with_143(tmp_path):
    process = subprocess.Popen(
        [*EMBED, "tokenize"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write("a\n" * 1_000_000)  # more than a pipe holds: it is reading by now
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in said


def test_output_is_utf8_whatever_the_locale(tmp_path):
    save_model(tmp_path / "embeddings", ["नमस्ते"])
    found = run("show-table", "--format", "tsv", cwd=tmp_path, env={**os.environ, "LC_ALL": "C"})
    assert found.stdout.startswith("0\tनमस्ते\t")


HEAVY = {"pydantic", "rich", "yaml", "hypothesis", "importlib.metadata"}


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [(["--help"], HEAVY | {"numpy"}), (["lookup", "king"], HEAVY), (["--version"], HEAVY)],
)
def test_nothing_heavy_is_imported_to_start(tmp_path, argv, heavy):
    save_model(tmp_path / "embeddings", ["king"])
    script = (
        "import sys\nfrom embedcli.cli import main\n"
        f"assert main({argv!r}) == 0\nprint(*sys.modules, file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert not heavy & set(found.stderr.split())


def test_completion(tmp_path):
    asked = {
        **os.environ,
        "_EMBED_COMPLETE": "complete_bash",
        "COMP_WORDS": "embed look",
        "COMP_CWORD": "1",
    }
    assert run(cwd=tmp_path, env=asked).stdout.split() == ["lookup"]
    asked["COMP_WORDS"], asked["COMP_CWORD"] = "embed train --task cb", "3"
    assert run(cwd=tmp_path, env=asked).stdout.split() == ["cbow"]
    asked["COMP_WORDS"] = "embed nobody knows"
    wrong = run(cwd=tmp_path, env=asked)
    assert (wrong.stdout, wrong.stderr) == ("", "")


@pytest.mark.parametrize(
    ("late", "code", "said"),
    [
        ("gc.freeze = lambda: os.kill(os.getpid(), signal.SIGTERM)", 0, ""),
        ("cli.main = lambda _: os.kill(os.getpid(), signal.SIGTERM) or 0", 143, "terminated"),
    ],
)
def test_a_signal_at_the_end_of_a_command_leaves_no_traceback(late, code, said):
    program = f"import gc, os, signal, sys\nfrom embedcli import cli\n{late}\n"
    program += "sys.argv = ['embed', '--version']\ncli.entry()\n"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == code
    assert run.stderr == (f"error: {said}\n" if said else "")


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "compdef"), ("fish", "complete --command")])
def test_completion_is_shown_for_the_shell_that_is_named(tmp_path, shell, sign):
    found = run("--show-completion", shell, cwd=tmp_path)
    assert (found.returncode, found.stderr, sign in found.stdout) == (0, "", True)
    assert run("--show-completion", "tcsh", cwd=tmp_path).returncode == 2


class Unread:
    """A stream whose reader is gone."""

    def isatty(self):
        return False

    def write(self, text):
        raise BrokenPipeError

    flush = write


def test_a_command_goes_on_where_nobody_reads_its_progress(embed, model, tmp_path, monkeypatch):
    monkeypatch.setattr("embedcli.cli.progress.SECONDS_BETWEEN_LINES", 0)
    (tmp_path / "text.txt").write_text("nice to see you\n" * 100)
    monkeypatch.setattr("sys.stderr", Unread())
    assert main(["count", "text.txt", "--out", "counts"]) == 0
    assert (tmp_path / "counts" / "cells.npz").is_file()
