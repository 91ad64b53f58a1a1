"""Processes that share memory with the one that forked them, and the memory they may use."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import EmbedError, WorkerError

COMMAND = 64  # bytes of a command
STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform != "win32":
    STOP_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)
_TASK = struct.Struct("<H")
_ANSWER = struct.Struct("<q")  # length of the answer that follows; negative for a traceback
_PR_SET_PDEATHSIG = 1
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_DO_NOT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
# Items that `map_in_order` gives each worker in advance, so that none waits for the parent.
_AHEAD = 3


def cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_workers(workers: int | str) -> int:
    """Return the number of workers a setting asks for; `auto` is one per core.

    On Windows, where processes cannot be forked, it is one; the results are the same.
    """
    if sys.platform == "win32":
        return 1
    return cores() if isinstance(workers, str) else workers


@cache
def stretches(size: int, workers: int) -> tuple[range, ...]:
    """Cut the numbers below `size` into ranges that workers take in turn, ever shorter ones.

    So there are few of them, and all workers end at about the same time. Each round deals out half
    of what is left (Hummel, Schonberg & Flynn 1992, "Factoring").

    >>> stretches(12, workers=2)
    (range(0, 3), range(3, 6), range(6, 8), range(8, 10), range(10, 11), range(11, 12))
    """
    ends = [0]
    while ends[-1] < size:
        length = -(-(size - ends[-1]) // (2 * workers))
        ends += [min(ends[-1] + length * n, size) for n in range(1, workers + 1)]
    return tuple(range(*pair) for pair in pairwise(ends) if pair[0] < pair[1])


def shared_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array of zeros that this process shares with processes forked later.

    The memory is anonymous, so it is freed when the last of them ends, however it ends. Pages are
    allocated when they are first touched.
    """
    kind = np.dtype(dtype)
    memory = mmap.mmap(-1, max(prod(shape) * kind.itemsize, 1))
    return np.frombuffer(memory, kind, prod(shape)).reshape(shape)


class Team:
    """The current process, as member 0, and `size - 1` forked ones that share its work.

    `run` splits a command into tasks: each member calls `work(member, command, task)` for one, and
    whoever is free takes the next, so that a member slowed down by the system delays nobody. `send`
    and `wait` give a command to one member alone. While a member waits it calls `idle()`, which
    does something short in advance, until that returns False.

    Members see the parent's memory as it was when the team was made, and the arrays of
    `shared_array` as they are. They leave signals to the parent. Each end of a member's socket
    notices the death of the other, so that no member outlives the parent.
    """

    def __init__(
        self,
        size: int,
        work: Callable[[int, bytes, int], bytes | None],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.size = size
        self._work = work
        self._idle = idle
        self._sockets: list[socket.socket] = []
        self._pids: list[int] = []
        if size == 1:
            return
        self._free_tasks, self._new_tasks = os.pipe()  # tasks that nobody has taken yet
        if sys.platform != "win32":
            os.set_blocking(self._free_tasks, False)
        try:
            for member in range(1, size):
                self._spawn(member)
        except BaseException:
            self.close()
            raise

    def run(self, command: bytes, tasks: int) -> None:
        """Do the tasks of a command, at most some thousands, each by one member, and wait for all.

        Raises WorkerError if a member died or failed.
        """
        if self.size == 1:
            for task in range(tasks):
                self._work(0, command, task)
        elif tasks:
            # Member n does task n first; the pipe, which holds the other tasks, is never full.
            os.write(self._new_tasks, b"".join(map(_TASK.pack, range(self.size, tasks))))
            members = range(1, min(self.size, tasks))
            for member in members:
                self.send(member, command)
            self._take_part(0, command)
            for member in members:
                self.wait(member)

    def send(self, member: int, command: bytes) -> None:
        """Give a command of at most `COMMAND` bytes to one member; its task is the member's number.

        Raises WorkerError if the member died.
        """
        try:
            self._sockets[member - 1].sendall(command.ljust(COMMAND))
        except OSError:
            self._reap(member)

    def wait(self, member: int) -> bytes:
        """Wait for the answer to the oldest command that was sent to a member.

        Returns what `work` returned; raises WorkerError if the member died or failed.
        """
        sock = self._sockets[member - 1]
        header = self._receive(sock, _ANSWER.size)
        if not header:
            self._reap(member)
        (length,) = _ANSWER.unpack(header)
        answer = _receive_all(sock, abs(length))
        if len(answer) < abs(length):
            self._reap(member)
        if length < 0:
            raise WorkerError(f"worker {member} failed: {answer.decode(errors='replace')}")
        return answer

    def close(self) -> None:
        """End the forked members and wait until they are gone."""
        if self.size == 1:
            return
        for end in (self._free_tasks, self._new_tasks):
            os.close(end)
        for sock in self._sockets:
            sock.close()
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _KILL)  # they hold nothing that could be lost
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._sockets, self._pids = [], []

    def _take_part(self, member: int, command: bytes) -> bytes:
        """Do a member's own task of a command, then tasks that nobody has taken."""
        answer = self._work(member, command, member)
        with contextlib.suppress(BlockingIOError):
            while task := os.read(self._free_tasks, _TASK.size):
                self._work(member, command, *_TASK.unpack(task))
        return answer or b""

    def _spawn(self, member: int) -> None:
        ours, theirs = socket.socketpair()
        self._sockets.append(ours)
        with theirs:
            self._pids.append(fork_worker(lambda: self._serve(member, theirs)))

    def _serve(self, member: int, sock: socket.socket) -> None:
        """Answer commands until the parent closes its end of the socket or dies."""
        os.close(self._new_tasks)
        for ours in self._sockets:  # with these open, the parent's death would not be noticed
            ours.close()
        try:
            while command := self._receive(sock, COMMAND):
                answer = self._take_part(member, command)
                sock.sendall(_ANSWER.pack(len(answer)) + answer)
        except BaseException:
            report = traceback.format_exc().encode()[-4000:]
            with contextlib.suppress(OSError):  # the parent may be gone
                sock.sendall(_ANSWER.pack(-len(report)) + report)

    def _receive(self, sock: socket.socket, size: int) -> bytes:
        """Return the next `size` bytes, or b"" if the other end closed; be `idle` until they come.

        The first bytes are waited for without blocking as long as there is something to do.
        """
        while True:
            try:
                sock.recv(1, socket.MSG_PEEK | _DO_NOT_WAIT)
                break
            except BlockingIOError:
                if not self._idle():
                    break
            except OSError:
                return b""
        received = _receive_all(sock, size)
        return received if len(received) == size else b""

    def _reap(self, member: int) -> NoReturn:
        """Remove a member that died and raise WorkerError."""
        _, status = os.waitpid(self._pids.pop(member - 1), 0)
        self._sockets.pop(member - 1).close()
        how = "no reason given"
        if sys.platform != "win32" and os.WIFSIGNALED(status):
            how = f"signal {os.WTERMSIG(status)}"
        raise WorkerError(
            f"worker {member} died ({how})", "if memory ran out, take fewer --workers"
        )


def _receive_all(sock: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes; fewer if the other end closed."""
    parts = bytearray()
    try:
        while len(parts) < size and (part := sock.recv(size - len(parts), socket.MSG_WAITALL)):
            parts += part
    except OSError:
        pass
    return bytes(parts)


def map_in_order(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, slot_size: int
) -> Iterator[tuple[Any, int]]:
    """Yield `function(item)` of each item, in order, and the number of the worker that did it.

    Items and results travel pickled, each in a slot of `slot_size` bytes that the worker shares
    with this process; a result that is too large for a slot comes through the worker's socket.
    Raises what `function` raised if that is an EmbedError, RuntimeError with the traceback of any
    other error, and WorkerError if a worker died.
    """
    slots = shared_array((workers, _AHEAD, slot_size), np.uint8)

    def work(member: int, command: bytes, _: int) -> bytes:
        slot = slots[member - 1, command[0]]  # (slot_size,)
        try:
            result = function(pickle.loads(slot))  # stops at the end of the pickle
        except EmbedError as error:
            result = error
        except Exception:
            result = RuntimeError(f"in a worker:\n{traceback.format_exc()}")
        data = pickle.dumps(result, protocol=5)
        if len(data) > slot_size:
            return data
        slot[: len(data)] = np.frombuffer(data, np.uint8)
        return b""

    def take() -> tuple[Any, int]:
        worker, slot = waiting.popleft()
        result = pickle.loads(team.wait(worker + 1) or slots[worker, slot])
        if isinstance(result, BaseException):
            raise result
        return result, worker

    waiting: deque[tuple[int, int]] = deque()  # worker and slot of the items given out
    team = Team(workers + 1, work)
    try:
        for number, item in enumerate(items):
            if len(waiting) == _AHEAD * workers:
                yield take()
            worker, slot = number % workers, number // workers % _AHEAD
            data = pickle.dumps(item, protocol=5)
            slots[worker, slot, : len(data)] = np.frombuffer(data, np.uint8)
            team.send(worker + 1, bytes([slot]))
            waiting.append((worker, slot))
        while waiting:
            yield take()
    finally:
        team.close()


def fork_worker(serve: Callable[[], object]) -> int:
    """Fork a process that calls `serve` and exits without cleaning up; returns its id.

    The process ignores `STOP_SIGNALS`, which are the parent's to handle, and dies with its parent:
    on Linux at once; elsewhere `serve` has to notice the end of a socket.
    """
    if sys.platform == "win32":
        raise WorkerError("processes cannot be forked on Windows", "--workers 1")
    parent, die_with_parent = os.getpid(), _die_with_parent()
    # A signal between the fork and the change of handlers would have the child clean up after us.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; BLAS's are idle, and it restarts them.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                for number in STOP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                die_with_parent()
                if os.getppid() == parent:  # it may have died before the call above
                    serve()
            finally:
                os._exit(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _die_with_parent() -> Callable[[], object]:
    """Return a function that ties a process's life to its parent's, where the system can do that.

    It is looked up before the fork: another thread may hold the loader's lock at that moment.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:
        return lambda: None
    return lambda: prctl(_PR_SET_PDEATHSIG, _KILL, 0, 0, 0)


def keep_freed_memory(largest: int = 31 << 20) -> None:
    """Have this process keep the memory of freed arrays of up to `largest` bytes for new ones.

    By default glibc returns buffers of some 100 kB and more to the system when they are freed, and
    each batch then pays for its pages again: five times the time of the sigmoid cross-entropy of
    32 × 32 × 74 logits. Freeing one block raises its limits for good: to the size of that, 32 MiB
    at most (mmap), and to twice that (trim); see mallopt(3), M_MMAP_THRESHOLD. Forked processes
    inherit the limits. With another C library this does nothing.
    """
    np.empty(largest, np.uint8)


def trim_heap() -> None:
    """Return the memory of freed arrays to the system after all.

    Kept memory fragments when arrays are of ever other sizes, and then grows; trimming it now and
    then, between batches, limits it to what a batch needs. See malloc_trim(3); with another C
    library this does nothing.
    """
    if sys.platform == "win32":
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def available_memory(system: Path = Path("/")) -> int | None:
    """Return how many bytes of memory can still be allocated, or None if the system does not tell.

    That is the least of what the machine has free and what the limits of this process's control
    groups (versions 1 and 2) leave; their file cache counts as free. `system` is the root below
    which `proc` and `sys` lie.
    """
    available = [
        int(value.split()[0]) * 1024
        for name, _, value in _split_lines(system / "proc/meminfo", ":")
        if name == "MemAvailable"
    ]
    mounts = system / "sys/fs/cgroup"
    for _, _, rest in _split_lines(system / "proc/self/cgroup", ":"):
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            root, limit, usage = mounts, "memory.max", "memory.current"
        elif controllers == "memory":
            root, limit, usage = (
                mounts / controllers,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        group = PurePosixPath(path.strip().lstrip("/"))
        # Inside a container the path may be that of the host, and the group's own folder the root.
        for folder in (root / inner for inner in (group, *group.parents)):
            largest, used = _read_number(folder / limit), _read_number(folder / usage)
            if largest is not None and used is not None:
                statistics = _split_lines(folder / "memory.stat", " ")
                cached = sum(int(value) for name, _, value in statistics if name == "inactive_file")
                available.append(max(largest - used + cached, 0))
    return min(available, default=None)


def _split_lines(path: Path, separator: str) -> list[tuple[str, str, str]]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.partition(separator) for line in lines]


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None
