"""Processes that share memory with the one that made them, and end when it ends."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import traceback
import warnings
from collections.abc import Callable
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import TrainingError

COMMAND = 64  # bytes of a command on its way
DONE = b"."


def cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shared_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Make an array of zeros that processes forked later share.

    Its memory has no name and is given back when the last of them ends, however it ends; pages
    are only taken when touched.
    """
    kind = np.dtype(dtype)
    memory = mmap.mmap(-1, max(prod(shape) * kind.itemsize, 1))
    return np.frombuffer(memory, kind, prod(shape)).reshape(shape)


class Team:
    """The process itself, as member 0, and `size - 1` forked ones; all do `work(member, command)`.

    Members see the parent's memory as it was when the team was made, and what was made by
    `shared_array` as it is. A member that dies is seen at the other end of its socket, and so is
    the death of the parent: members then end by themselves. They leave signals to the parent.
    """

    def __init__(self, size: int, work: Callable[[int, bytes], None]) -> None:
        self.size = size
        self._work = work
        self._lines: list[socket.socket] = []
        self._pids: list[int] = []
        try:
            for member in range(1, size):
                self._hire(member)
        except BaseException:
            self.close()
            raise

    def run(self, command: bytes) -> None:
        """Let every member do its part of a command, and wait for all.

        Raises TrainingError if a member died or failed.
        """
        for member, line in enumerate(self._lines, 1):
            try:
                line.sendall(command.ljust(COMMAND))
            except OSError:
                self._bury(member)
        self._work(0, command)
        for member, line in enumerate(self._lines, 1):
            answer = _receive(line, 1)
            if not answer:
                self._bury(member)
            if answer != DONE:
                answer += _receive(line, 1 << 16)
                raise TrainingError(f"worker {member} failed: {answer.decode(errors='replace')}")

    def close(self) -> None:
        """End the other members; nothing of them is left."""
        for line in self._lines:
            line.close()
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # they hold nothing that could be lost
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._lines, self._pids = [], []

    def _hire(self, member: int) -> None:
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; BLAS's are idle and made anew by it.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            for line in [*self._lines, ours]:  # or the death of the parent would not be seen
                line.close()
            self._serve(member, theirs)
        theirs.close()
        self._lines.append(ours)
        self._pids.append(pid)

    def _serve(self, member: int, line: socket.socket) -> NoReturn:
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            while command := _receive(line, COMMAND):
                self._work(member, command)
                line.sendall(DONE)
        except OSError:
            pass  # the parent is gone
        except BaseException:
            with contextlib.suppress(OSError):
                line.sendall(traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)

    def _bury(self, member: int) -> NoReturn:
        pid = self._pids.pop(member - 1)
        _, status = os.waitpid(pid, 0)
        self._lines.pop(member - 1).close()
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no reason given"
        raise TrainingError(
            f"worker {member} died ({how})",
            "If memory ran out, take fewer --workers; --resume goes on from the last checkpoint.",
        )


def _receive(line: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or fewer before the other end closed."""
    try:
        return line.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""
