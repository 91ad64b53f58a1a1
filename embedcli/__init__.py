"""Train, inspect and explain word embeddings.

All public names can be imported from here. They are imported from the modules that define them
when they are first used, so that `import embedcli` costs nothing; `__init__.pyi` lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__version__ = "0.2.0"

_lines = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8").splitlines()
# A line is `from MODULE import NAME as NAME`.
_MODULE_OF = {
    line.split()[3]: line.split()[1] for line in _lines if line.startswith("from embedcli")
}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'embedcli' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
