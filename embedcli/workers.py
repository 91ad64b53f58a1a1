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

from embedcli.errors import WorkerError

COMMAND = 64  # bytes of a command on its way
DONE = b"."
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


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


def fork_worker(serve: Callable[[], None]) -> int:
    """Fork a process that does `serve` and ends without a trace; returns its id.

    It leaves the signals in `STOPS` to its parent, and dies when its parent does: on Linux at
    once; elsewhere `serve` must see the end of a socket.
    """
    parent, tie = os.getpid(), _tie()
    # A stop between the fork and the change of handlers would have the child clean up after us.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; BLAS's are idle and made anew by it.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _live_as_worker(serve, parent, tie)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _live_as_worker(serve: Callable[[], None], parent: int, tie: Callable[[], Any]) -> NoReturn:
    try:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        tie()
        if os.getppid() == parent:
            serve()
    finally:
        os._exit(0)


def _tie() -> Callable[[], Any]:
    """Return what a process calls to die with its parent; nothing where the system has no way."""
    import ctypes

    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:
        return lambda: None
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


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

        Raises WorkerError if a member died or failed.
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
                raise WorkerError(f"worker {member} failed: {answer.decode(errors='replace')}")

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
        self._lines.append(ours)
        self._pids.append(fork_worker(lambda: self._serve(member, theirs)))
        theirs.close()

    def _serve(self, member: int, line: socket.socket) -> None:
        for ours in self._lines:  # or the death of the parent would not be seen
            ours.close()
        try:
            while command := _receive(line, COMMAND):
                self._work(member, command)
                line.sendall(DONE)
        except OSError:
            pass  # the parent is gone
        except BaseException:
            with contextlib.suppress(OSError):
                line.sendall(traceback.format_exc().encode()[-4000:])

    def _bury(self, member: int) -> NoReturn:
        pid = self._pids.pop(member - 1)
        _, status = os.waitpid(pid, 0)
        self._lines.pop(member - 1).close()
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no reason given"
        raise WorkerError(
            f"worker {member} died ({how})", "if memory ran out, take fewer --workers"
        )


def _receive(line: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or fewer before the other end closed."""
    try:
        return line.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""
