"""Files without an end, where one with an end is expected: one error, soon."""

import os

import pytest

from embedcli.cli import main
from embedcli.storage import files

TABLE = "2 1\nfilm 0.5\nwarm 1\n"
COMMANDS = [
    ["evaluate", "ENDLESS", "--model", "table.txt"],
    ["evaluate", "ENDLESS", "--model", "table.txt", "--task", "analogy"],
    ["tokenize", "text.txt", "--vocab", "ENDLESS"],
    ["tokenize", "text.txt", "--stop-words", "ENDLESS"],
    ["train", "text.txt", "--config", "ENDLESS"],
    ["train", "text.txt", "--vectors", "ENDLESS"],
    ["lookup", "film", "--model", "ENDLESS"],
    ["info", "--model", "ENDLESS"],
    ["convert", "ENDLESS", "out.txt"],
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "_MAX_WHOLE", 1 << 20)
    (tmp_path / "text.txt").write_text("a warm film and a warm day\n")
    (tmp_path / "table.txt").write_text(TABLE)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_device_is_refused(command, place, capsys):
    assert main([word.replace("ENDLESS", "/dev/zero") for word in command]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith("error: /dev/zero") or error[-2].startswith("error: /dev/zero")


@pytest.mark.parametrize("command", COMMANDS[-3:], ids=" ".join)
def test_a_pipe_that_nobody_fills_is_not_waited_for(command, place, capsys):
    os.mkfifo("pipe")
    assert main([word.replace("ENDLESS", "pipe") for word in command]) == 1
    assert "regular" in capsys.readouterr().err


def test_a_name_with_a_nul_byte_is_no_file(tmp_path):
    with pytest.raises(OSError, match="null"):
        files.read_whole(tmp_path / "a\0b")
