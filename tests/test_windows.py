"""What Windows does not have is not needed: all but forked workers, with what it lacks removed."""

import subprocess
import sys
from pathlib import Path

import embedcli

# Modules and names of POSIX that are hidden once the libraries have been imported.
SCRIPT = """
import os, pathlib, signal, socket, sys, types
import concurrent.futures, ctypes, numpy, regex, rich.table, rich.progress, safetensors, shutil
import subprocess, tempfile, typer, typer.completion, yaml, zipfile
for module in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty"):
    sys.modules[module] = None
held = set()
def locking(descriptor, mode, size):
    held.add((descriptor, mode, size))
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
for name in ("fork", "register_at_fork", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC",
             "pread", "pwrite", "fchmod", "sched_getaffinity", "WIFSIGNALED"):
    delattr(os, name)
import threadpoolctl
threadpoolctl.threadpool_info = list
threadpoolctl.threadpool_limits = lambda *_, **__: __import__("contextlib").nullcontext()
for name in ("SIGHUP", "SIGKILL", "SIGPIPE", "pthread_sigmask"):
    delattr(signal, name)
del socket.MSG_DONTWAIT
shutil._use_fd_functions = False  # as it decides there when it is imported
rename = pathlib.Path.rename
def rename_to_what_is_free(path, target):
    assert not os.path.lexists(target), target
    return rename(path, target)
pathlib.Path.rename = rename_to_what_is_free
sys.platform = "win32"
from embedcli.cli import main
for line in sys.argv[1].splitlines():
    assert main(line.split()) == 0, line
assert held
"""
COMMANDS = """train corpus.txt --out m --dim 4 --epochs 2 --min-count 1 --workers 2 --quiet
train corpus.txt --out m --dim 4 --epochs 2 --min-count 1 --workers auto --quiet
train labelled.txt --task classify --out c --dim 4 --quiet
train more.txt --update m --out m2 --quiet
lookup hope --model m
neighbors hope --model m
convert m m.npy
convert m m.safetensors
convert m m.bin
predict labelled.txt --model c --quiet
tokenize corpus.txt --save-ids ids.npy --save-vocab words.txt
evaluate pairs.txt --model m
info --model m --verify
explain --word hope --model m
cache --clear"""


def test_commands_run_without_what_windows_lacks(tmp_path: Path) -> None:
    text = "hope to see you soon\nnice to see you again\n" * 20
    (tmp_path / "corpus.txt").write_text(text)
    (tmp_path / "more.txt").write_text("new words to see\n" * 5)
    (tmp_path / "labelled.txt").write_text("__label__a hope to see\n__label__b you again\n" * 9)
    (tmp_path / "pairs.txt").write_text("hope\tsee\t3\nyou\tsoon\t1\nto\tagain\t2\n")
    (tmp_path / "m").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, COMMANDS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The table is the one that workers give.
    settings = {"dim": 4, "epochs": 2, "min_count": 1, "workers": 2}
    trained = embedcli.train(tmp_path / "corpus.txt", tmp_path / "here", **settings)
    assert (tmp_path / "m/table.npy").read_bytes() == (tmp_path / "here/table.npy").read_bytes()
    assert trained.digest in done.stdout
