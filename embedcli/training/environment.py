"""What a run is computed with: the last digits of a float depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np


def environment() -> dict[str, str]:
    """Return the processor, the BLAS library and its kernel, and the versions, by name."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    found = {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    for library in threadpool_info():
        if library["user_api"] == "blas":
            found["blas"] = f"{library['internal_api']} {library['version']}"
            found["kernel"] = str(library.get("architecture", "unknown"))
            break
    return found


def _processor() -> str:
    """Return the name of the processor; on Linux `platform` does not know it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
