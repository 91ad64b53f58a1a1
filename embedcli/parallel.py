"""Processes that share memory with the one that made them, and end when it ends."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import struct
import traceback
import warnings
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import WorkerError

COMMAND = 64  # bytes of a command on its way
DONE = b"\xff"  # UTF-8 does not have it, so no traceback begins with it
_TASK = struct.Struct("<H")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def asked(workers: int | str) -> int:
    """Return how many workers that setting asks for: `auto` is one a core."""
    return cores() if isinstance(workers, str) else workers


def available_memory(system: Path = Path("/")) -> int | None:
    """Bytes of memory that can still be had; None where the system does not tell.

    The least of what the machine has and what the limits of this process's control groups
    (versions 1 and 2) leave; what they cached of files counts as free. `system` is the root
    below which `proc` and `sys` lie.
    """
    left = [_free_memory(system / "proc/meminfo")]
    for folder, limit, used in _memory_groups(system):
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            left.append(max(most - now + _cached(folder / "memory.stat"), 0))
    return min((each for each in left if each is not None), default=None)


def _free_memory(meminfo: Path) -> int | None:
    for name, _, value in _pairs(meminfo, ":"):
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _memory_groups(system: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield the folder of each memory group of this process, and its files of limit and use."""
    mounts = system / "sys/fs/cgroup"
    for _, _, rest in _pairs(system / "proc/self/cgroup", ":"):
        controllers, _, path = rest.partition(":")
        if not controllers:
            root, limit, used = mounts, "memory.max", "memory.current"
        elif controllers == "memory":
            root, limit, used = (
                mounts / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        group = PurePosixPath(path.strip().lstrip("/"))
        # Inside a container the path may be that of the host, and the group's own folder the root.
        for inner in (group, *group.parents):
            yield root / inner, limit, used


def _cached(stat: Path) -> int:
    for name, _, value in _pairs(stat, " "):
        if name == "inactive_file":
            return int(value)
    return 0


def _pairs(path: Path, mark: str) -> list[tuple[str, str, str]]:
    try:
        return [line.partition(mark) for line in path.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return []


def _number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None


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
    """The process itself, as member 0, and `size - 1` forked ones, who share the work.

    A command is split into tasks. Each member does `work(member, command, task)` for one, then
    whoever is free takes the next, so that none waits long for one the system made slow. While it
    has to wait a member does `idle()`, something short that can be done ahead, as long as that
    returns True. Members see the parent's memory as it was when the team was made, and what
    was made by `shared_array` as it is. A member that dies is seen at the other end of its socket,
    and so is the death of the parent: members then end by themselves. They leave signals to the
    parent.
    """

    def __init__(
        self,
        size: int,
        work: Callable[[int, bytes, int], None],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.size = size
        self._work = work
        self._idle = idle
        self._lines: list[socket.socket] = []
        self._pids: list[int] = []
        self._taken, self._given = os.pipe()  # tasks that nobody has taken yet
        os.set_blocking(self._taken, False)
        try:
            for member in range(1, size):
                self._hire(member)
        except BaseException:
            self.close()
            raise

    def run(self, command: bytes, tasks: int) -> None:
        """Have the tasks of a command done, each by one member, and wait for all.

        At most some thousands of tasks. Raises WorkerError if a member died or failed.
        """
        if self.size == 1:
            for task in range(tasks):
                self._work(0, command, task)
            return
        if not tasks:
            return
        os.write(self._given, b"".join(map(_TASK.pack, range(self.size, tasks))))
        for member, line in enumerate(self._lines[: tasks - 1], 1):
            try:
                line.sendall(command.ljust(COMMAND))
            except OSError:
                self._bury(member)
        self._take_part(0, command)
        for member, line in enumerate(self._lines[: tasks - 1], 1):
            answer = _receive(line, 1, self._idle)
            if not answer:
                self._bury(member)
            if answer != DONE:
                answer += _receive(line, 1 << 16)
                raise WorkerError(f"worker {member} failed: {answer.decode(errors='replace')}")

    def _take_part(self, member: int, command: bytes) -> None:
        self._work(member, command, member)
        with contextlib.suppress(BlockingIOError):
            while task := os.read(self._taken, _TASK.size):
                self._work(member, command, *_TASK.unpack(task))

    def close(self) -> None:
        """End the other members; nothing of them is left."""
        for end in (self._taken, self._given):
            os.close(end)
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
        with theirs:
            self._pids.append(fork_worker(lambda: self._serve(member, theirs)))

    def _serve(self, member: int, line: socket.socket) -> None:
        os.close(self._given)
        for ours in self._lines:  # or the death of the parent would not be seen
            ours.close()
        try:
            while command := _receive(line, COMMAND, self._idle):
                self._take_part(member, command)
                line.sendall(DONE)
        except BaseException:
            with contextlib.suppress(OSError):  # the parent may be gone
                line.sendall(traceback.format_exc().encode()[-4000:])

    def _bury(self, member: int) -> NoReturn:
        pid = self._pids.pop(member - 1)
        _, status = os.waitpid(pid, 0)
        self._lines.pop(member - 1).close()
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no reason given"
        raise WorkerError(
            f"worker {member} died ({how})", "if memory ran out, take fewer --workers"
        )


def _receive(line: socket.socket, size: int, idle: Callable[[], bool] = lambda: False) -> bytes:
    """Read `size` bytes, or fewer before the other end closed; until they come, be `idle`."""
    while not _has_come(line) and idle():
        pass
    try:
        return line.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""


def _has_come(line: socket.socket) -> bool:
    """Whether there is something to read, or the other end closed or broke."""
    try:
        line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True
