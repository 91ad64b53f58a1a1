"""What is asked of the allocator by those who make large arrays again and again."""

from __future__ import annotations

import ctypes

import numpy as np


def keep_freed_memory(most: int = 31 << 20) -> None:
    """Have this process keep what arrays of up to `most` bytes let go, for the next ones.

    By default glibc gives buffers of some 100 kB and more back to the system again and again, and
    each batch then pays for its pages anew: five times the time of the sigmoid cross-entropy of
    32 × 32 × 74 logits. Freeing one block raises its limits for good: to the size of that, 32 MiB
    at most (mmap), and to twice it (trim); see mallopt(3), M_MMAP_THRESHOLD. Forked processes
    inherit them. With another C library this does nothing.
    """
    np.empty(most, np.uint8)


def give_back_freed_memory() -> None:
    """Give the memory that arrays let go back to the system after all.

    Kept memory falls to pieces when arrays are of ever other sizes, and then grows: done now and
    then, between batches, this holds it to what a batch needs. See malloc_trim(3); with another C
    library this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
