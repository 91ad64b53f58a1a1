"""The `_repr_html_` of records that have no view of their own: their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

R = TypeVar("R")
LISTED = 10  # of many things in a field


def shown(record: type[R]) -> type[R]:
    """Give a class of records a `_repr_html_`, which returns the fields as a table."""
    record._repr_html_ = lambda self: pairs(dict(_fields(self)))  # type: ignore[attr-defined]
    return record


def pairs(values: Mapping[str, Any]) -> str:
    """Return names and values as a table."""
    from embedcli.views.blocks import Pairs, html_of

    return html_of([Pairs([(name, _brief(value)) for name, value in values.items()])])


def _fields(record: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(record, "_fields", None) or (each.name for each in dataclasses.fields(record))
    return ((name, getattr(record, name)) for name in names)


def _brief(value: Any) -> str:
    """Return a value as a short text: of an array the size, of many things the first."""
    if value is None or isinstance(value, str | PurePath):
        return "" if value is None else str(value)
    if isinstance(value, bool | int | float):
        return str(value) if isinstance(value, bool) else f"{value:,.6g}"
    if hasattr(value, "dtype"):
        return f"{' × '.join(f'{size:,}' for size in value.shape)} {value.dtype}"
    if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
        parts = [f"{name} {_brief(each)}" for name, each in _fields(value)]
    elif isinstance(value, Mapping):
        parts = [f"{name} {_brief(each)}" for name, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [_brief(each) for each in value[: LISTED + 1]]
    else:
        return repr(value)
    return ", ".join([*parts[:LISTED], *["…"] * (len(parts) > LISTED)])
