from __future__ import annotations

import io
import sys

import pytest

from embedcli.cli import progress as module
from embedcli.cli.progress import Share, progress
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
    with progress(quiet=False) as watch:
        watch(step(1))
        watch(step(2, {"epoch": 1, "loss": 0.5, "accuracy": 0.75}))
        watch(step(3))
        watch(step(4, {"epoch": 2, "loss": 0.25, "accuracy": 0.875}))


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
    with progress(quiet=True) as watch:
        watch(step(4))
    assert screen.getvalue() == ""


def shares(monkeypatch, screen, quiet=False):
    monkeypatch.setattr(sys, "stderr", screen)
    clock = iter([0, 10, 20, 30, 30.01])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with Share(quiet) as share:
        share.say("read", 1, 4)
        share.say("read", 2, 4)
        share.say("written", 1, 4)
        share.say("written", 2, 4)
    return screen.getvalue()


def test_the_share_of_a_file_is_a_line_of_a_terminal_that_goes(monkeypatch):
    said = shares(monkeypatch, Terminal())
    shown = ["", " 25% read, 0:00 left", " 50% read, 0:10 left", " 25% written, 0:00 left", ""]
    assert said.replace("\x1b[K", "").split("\r") == shown
    assert said.count("\x1b[K") == 4


def test_the_share_of_a_file_is_lines_elsewhere(monkeypatch):
    said = shares(monkeypatch, io.StringIO())
    assert said == " 25% read, 0:00 left\n 50% read, 0:10 left\n 25% written, 0:00 left\n"
    for screen in (Terminal(), io.StringIO()):
        assert shares(monkeypatch, screen, quiet=True) == ""
