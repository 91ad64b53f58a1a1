from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from embedcli.memory import keep_freed_memory
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
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100 * 4  # anew each time they are some 73 pages each


GIVE_BACK = """
import numpy as np
from pathlib import Path
from embedcli.memory import give_back_freed_memory, keep_freed_memory

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory()
before = pages()
arrays = [np.ones(50_000, np.float32) for _ in range(200)]
kept = arrays[-1]
del arrays
held = pages() - before
give_back_freed_memory()
print(held, pages() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
def test_kept_memory_can_be_given_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", GIVE_BACK], capture_output=True, text=True, check=True
    )
    held, left = map(int, run.stdout.split())
    assert held > 9000
    assert left < 500
