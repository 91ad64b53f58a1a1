"""Train, inspect and explain embedding tables; every public name lives in `embedcli.api`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedcli.api import convert as convert
    from embedcli.api import load as load
    from embedcli.api import tokenize as tokenize
    from embedcli.api import train as train

__version__ = "0.1.0"
__all__ = ["__version__", "convert", "load", "tokenize", "train"]


def __getattr__(name: str) -> Any:
    """Hand on a name of the API when it is first asked for, so that importing costs nothing."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("embedcli.api"), name)
    raise AttributeError(f"module 'embedcli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
