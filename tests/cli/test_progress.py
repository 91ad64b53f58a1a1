from __future__ import annotations

import io
import sys

import pytest

from embedcli.cli.progress import progress
from embedcli.training import Step


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
