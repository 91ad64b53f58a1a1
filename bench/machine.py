"""A line or two about the machine, for the head of every table of figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy


def describe() -> dict[str, str]:
    """Processor, cores, memory, and the versions that decide speed."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((row for row in cpuinfo.splitlines() if row.startswith("model name")), ": unknown")
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload, index]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model.split(":", 1)[1].strip(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": f"{numpy.__version__} ({blas['name']} {blas['version']})",
    }
