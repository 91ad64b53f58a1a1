"""Run a command to its end and account for it: wall seconds, and memory of its whole family."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SPARING = 50  # times what a look takes, to the next one


@dataclass(frozen=True)
class Run:
    """What one finished command printed and cost."""

    stdout: str
    seconds: float
    peak_pss: int
    """Bytes: the largest sum of proportional set sizes over the process and its children."""


def run(command: Sequence[str], *, every: float = 0.1) -> Run:
    """Run `command`; raise CalledProcessError when it fails.

    Memory is sampled from /proc `every` so many seconds, less often where looking takes long, so
    that it costs the command nothing. A page that several processes share counts once in all
    (PSS), so forked workers are neither free nor counted twice.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sampler = _Sampler(process.pid, every)
    sampler.start()
    stdout, _ = process.communicate()
    seconds = time.perf_counter() - start
    sampler.stop()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stdout)
    return Run(stdout, seconds, sampler.peak)


class _Sampler(threading.Thread):
    def __init__(self, pid: int, every: float) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._every = every
        self._done = threading.Event()

    def run(self) -> None:
        pause = self._every
        while not self._done.wait(pause):
            began = time.perf_counter()
            self.peak = max(self.peak, sum(_pss(pid) for pid in _family(self._pid)))
            pause = max(self._every, SPARING * (time.perf_counter() - began))

    def stop(self) -> None:
        self._done.set()
        self.join()


def _family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    members = [pid]
    for member in members:  # grows while it is walked: breadth first
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                members += [int(child) for child in children.read_text().split()]
    return members


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it ended meanwhile
        return 0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024
