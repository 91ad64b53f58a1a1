"""Forked processes: they die with their parent, leave signals to it, and see what it shares."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from embedcli.errors import WorkerError
from embedcli.parallel import Team, available_memory, fork_worker, shared_array

PARENT = """
    import os, signal
    from embedcli.parallel import fork_worker

    read, write = os.pipe()

    def serve():
        os.write(write, b"%d\\n" % os.getpid())
        signal.pause()

    pid = fork_worker(serve)
    os.read(read, 20)
    print(pid, flush=True)
    {then}
"""


def parent(then: str) -> subprocess.Popen[str]:
    """Start a process whose worker waits for a signal; it prints the worker's id."""
    code = textwrap.dedent(PARENT).replace("{then}", then)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def wait_for_end(pid: int) -> None:
    """Return when a process that is no child of ours has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], 30)
    os.close(descriptor)
    assert ended, "still alive"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a life to another")
@pytest.mark.parametrize("then", ["signal.pause()", "os._exit(0)"])
def test_a_worker_dies_with_its_parent(then):
    with parent(then) as process:
        pid = int(process.stdout.readline())
        process.kill()
        wait_for_end(pid)


def test_a_worker_leaves_stops_to_its_parent():
    read, write = os.pipe()

    def serve() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        os.write(write, b"alive")

    pid = fork_worker(serve)
    os.close(write)
    assert os.read(read, 10) == b"alive"
    assert os.waitpid(pid, 0) == (pid, 0)
    os.close(read)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_team_does_each_task_once_and_waits_for_all():
    found = shared_array((100,), np.int64)

    def work(member: int, command: bytes, task: int) -> None:
        assert member < 3
        found[task] += command[0]

    team = Team(3, work)
    team.run(b"\x05", 100)
    team.run(b"\x02", 2)
    team.run(b"\x01", 1)
    team.close()
    assert found.tolist() == [8, 7] + [5] * 98


def test_shared_arrays_may_be_empty():
    assert shared_array((3, 0), np.float32).shape == (3, 0)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"worker 1 died \(signal 9\)"),
        (lambda: os._exit(0), r"worker 1 died \(no reason given\)"),
        (lambda: 1 / 0, r"worker 1 failed: (?s:.*)ZeroDivisionError"),
        (lambda: sys.exit("." * 9000), r"worker 1 failed: \.\.\."),
        (lambda: os.close(-1), r"worker 1 failed: (?s:.*)Bad file descriptor"),
    ],
)
def test_a_member_that_dies_or_fails_is_one_error(how, said):
    read, write = os.pipe()

    def work(member: int, command: bytes, task: int) -> None:
        if member == 0:
            os.read(read, 1)  # until the other has a task too
        else:
            os.write(write, b"!")
            how()

    team = Team(2, work)
    with pytest.raises(WorkerError, match=said):
        team.run(b"go", 2)
    team.close()
    for end in (read, write):
        os.close(end)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_member_that_dies_between_commands_is_one_error():
    read, write = os.pipe()

    def work(member: int, command: bytes, task: int) -> None:
        if member == 2:
            os.write(write, str(os.getpid()).encode())

    team = Team(3, work)
    team.run(b"go", 3)
    pid = int(os.read(read, 20))
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerError, match=r"worker 2 died \(signal 9\)"):
        team.run(b"go", 3)
    team.close()
    for end in (read, write):
        os.close(end)


ORPHANED = """
    import os, signal
    from embedcli import parallel
    from embedcli.config import TextSettings
    from embedcli.text.blocks import BlockEncoder
    from embedcli.text.parallel import _Worker

    parallel._tie = lambda: lambda: None  # as where a process cannot die with its parent
    team = parallel.Team(3, lambda *_: None)
    readers = []
    for _ in range(3):
        readers.append(_Worker(BlockEncoder(TextSettings(), labelled=False), readers))
    print(*team._pids, *(each._pid for each in readers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_see_the_end_of_their_parent_whatever_their_siblings_hold():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ORPHANED)], stdout=subprocess.PIPE, check=False
    )
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 5
    for pid in pids:
        wait_for_end(pid)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_memory_is_the_least_of_the_machine_and_the_groups(tmp_path):
    assert available_memory(tmp_path) is None
    write(tmp_path / "proc/meminfo", "MemTotal: 900 kB\nMemAvailable:     500 kB\n")
    assert available_memory(tmp_path) == 500 * 1024
    # Version 2: the group's own limit, and that of the group around it.
    write(tmp_path / "proc/self/cgroup", "0::/jobs/one\n")
    group = tmp_path / "sys/fs/cgroup/jobs"
    write(group / "one/memory.max", "max\n")
    write(group / "one/memory.current", "1000\n")
    assert available_memory(tmp_path) == 500 * 1024
    write(group / "memory.max", "300000\n")
    write(group / "memory.current", "200000\n")
    assert available_memory(tmp_path) == 100000
    write(group / "memory.stat", "anon 1\ninactive_file 5000\n")
    assert available_memory(tmp_path) == 105000


def test_memory_of_groups_of_the_first_version(tmp_path):
    write(tmp_path / "proc/self/cgroup", "8:pids:/x\n4:memory:/on/the/host\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.usage_in_bytes", "9999\n")
    assert available_memory(tmp_path) == 0


@pytest.mark.parametrize("waiting", [0, 1])
def test_who_waits_does_what_can_be_done_ahead(waiting):
    """The other's task ends only when that was done; all of it is, and no more is asked."""
    left = shared_array((2,), np.int64)
    left[waiting] = 3
    this = [0]

    def work(member, command, task):
        del command, task
        this[0] = member
        while member != waiting and left[waiting]:
            os.sched_yield()

    def idle():
        if not left[this[0]]:
            return False
        left[this[0]] -= 1
        return True

    team = Team(2, work, idle)
    try:
        for _ in range(2):
            team.run(b"go", 2)
            assert not left.any()
    finally:
        team.close()
