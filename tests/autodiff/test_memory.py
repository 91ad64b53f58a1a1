from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from embedcli.autodiff.memory import keep_freed_memory
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
