"""Forked processes: they die with their parent, leave signals to it, and see what it shares."""

import os
import platform
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from embedcli.errors import EmbedError, WorkerError
from embedcli.parallel import Team, available_memory, fork_worker, map_in_order, shared_array

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

    parallel._die_with_parent = lambda: lambda: None  # as where a process cannot do that
    teams = [parallel.Team(3, lambda *_: None), parallel.Team(4, lambda *_: None)]
    print(*(pid for team in teams for pid in team._pids), flush=True)
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


KEEPING = """
import resource
import numpy as np
from embedcli.parallel import keep_freed_memory
keep_freed_memory()
x = np.ones(75_000, np.float32)
def work():
    a = x * 2
    b = a * 2
    c = b * 2
    d = c * 2
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
def test_buffers_are_not_faulted_in_again() -> None:
    run = subprocess.run(
        [sys.executable, "-c", KEEPING], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 100 * 4  # anew each time they are some 73 pages each


TRIMMING = """
import numpy as np
from pathlib import Path
from embedcli.parallel import keep_freed_memory, trim_heap

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory()
before = pages()
arrays = [np.ones(50_000, np.float32) for _ in range(200)]
kept = arrays[-1]
del arrays
held = pages() - before
trim_heap()
print(held, pages() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
def test_kept_memory_can_be_returned_to_the_system() -> None:
    run = subprocess.run(
        [sys.executable, "-c", TRIMMING], capture_output=True, text=True, check=True
    )
    held, left = map(int, run.stdout.split())
    assert held > 9000
    assert left < 500


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


def test_answers_of_one_member_come_in_order():
    team = Team(2, lambda member, command, task: command[:1] * (member + task))
    try:
        for command in (b"a", b"b", b"c"):
            team.send(1, command)
        assert [team.wait(1) for _ in range(3)] == [b"aa", b"bb", b"cc"]
    finally:
        team.close()


def test_a_stream_is_mapped_in_order():
    def function(number):
        return (
            number,
            os.getpid(),
            "x" * (5000 if number % 3 == 0 else 1),
        )  # some larger than a slot

    found = list(map_in_order(function, range(50), workers=3, slot_size=1000))
    assert [number for (number, _, _), _ in found] == list(range(50))
    assert [worker for _, worker in found] == [number % 3 for number in range(50)]
    pids = {pid for (_, pid, _), _ in found}
    assert len(pids) == 3
    assert os.getpid() not in pids
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EmbedError("found it", "a hint"), pytest.raises(EmbedError, match="found it")),
        (ValueError("a bug"), pytest.raises(RuntimeError, match=r"(?s)in a worker:.*a bug")),
    ],
)
def test_errors_of_a_mapped_function(error, expected):
    def function(number):
        if number >= 5:
            raise error
        return number

    found = []
    with expected as caught:
        found.extend(result for result, _ in map_in_order(function, range(50), 2, 1000))
    assert getattr(caught.value, "hint", None) == getattr(error, "hint", None)
