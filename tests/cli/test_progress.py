from __future__ import annotations

import io
import re
import sys

import pytest

from embedcli.cli import progress as module
from embedcli.cli.progress import Progress
from embedcli.training.loop import Step


def step(number: int, record: dict[str, float] | None = None) -> Step:
    return Step(
        number=number,
        total=4,
        epoch=1 + (number - 1) // 2,
        epochs=2,
        loss=0.5,
        words=1000,
        rate=0.1,
        shares=(1,),
        record=record,
    )


def run() -> None:
    with Progress() as progress:
        progress.start("train")
        progress.step(step(1))
        progress.step(step(2, {"epoch": 1, "loss": 0.5, "accuracy": 0.75}))
        progress.step(step(3))
        progress.step(step(4, {"epoch": 2, "loss": 0.25, "accuracy": 0.875}))


def test_plain_lines_away_from_a_terminal(capsys):
    run()
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith("epoch 2/2  100%  loss 0.2500  accuracy 0.8750  ")
    assert last.endswith(" words/s  0:00 left")
    assert "\x1b" not in said.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    run()
    said = screen.getvalue()
    assert "epoch 2/2  loss 0.2500  accuracy 0.8750" in said
    assert "100%" in said
    assert "words/s" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(monkeypatch, terminal):
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress(quiet=True) as progress:
        progress.step(step(4))
    assert screen.getvalue() == ""


def shares(monkeypatch, screen, quiet=False):
    monkeypatch.setattr(sys, "stderr", screen)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress(quiet) as progress:
        for what, done, unit in [
            ("read", 0, "bytes"),
            ("read", 1024, "bytes"),
            ("read", 2048, "bytes"),
            ("written", 0, "rows"),
            ("written", 1024, "rows"),
        ]:
            progress.say(what, done, 4096, unit)
            now[0] += 10
        progress.say("answered", 0, 0, "questions")
        now[0] += 10
        progress.say("answered", 5000, 0, "questions")
        now[0] += 0.01
        progress.say("answered", 5001, 0, "questions")
    return screen.getvalue()


def test_a_bar_that_goes_shows_what_is_read_and_written(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    said = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", shares(monkeypatch, Terminal()))
    shown = [
        " ".join(line.translate(dict.fromkeys(map(ord, "━╸╺"))).split())
        for line in re.split(r"[\r\n]+", said)
    ]
    assert "read 25% 102 bytes/s 0:30 left" in shown
    assert "read 50% 102 bytes/s 0:20 left" in shown
    assert "written 25% 102 rows/s 0:30 left" in shown
    assert shown[-1] == ""


def test_shares_are_lines_away_from_a_terminal(monkeypatch):
    assert shares(monkeypatch, io.StringIO()).splitlines() == [
        " 25% read, 102 bytes/s, 0:30 left",
        " 50% read, 102 bytes/s, 0:20 left",
        " 25% written, 102 rows/s, 0:30 left",
        "5,000 questions answered, 500 questions/s",
    ]
    for screen in (Terminal(), io.StringIO()):
        assert shares(monkeypatch, screen, quiet=True) == ""


def test_results_go_to_their_file_while_a_bar_is_shown(monkeypatch):
    screen, file, now = Terminal(), io.StringIO(), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        patch.setattr(sys, "stdout", file)
        with Progress() as progress:
            for number in range(3):
                progress.say("answered", number, 0, "questions")
                now[0] += 10
                print(f"result {number}")
    assert "answered" in screen.getvalue()
    assert "result" not in screen.getvalue()
    assert file.getvalue() == "result 0\nresult 1\nresult 2\n"
