"""Texts from Python, written to a file: a corpus is read in one way, wherever it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from embedcli.errors import ConfigError, brief
from embedcli.storage.files import storing

# How texts that are lists of tokens are read: each token is kept as it is.
TOKEN_SETTINGS = {
    "tokenizer": "whitespace",
    "fold_case": False,
    "normalize": False,
    "label_prefix": None,
}
_AT_ONCE = 1 << 20  # bytes that are written at once
_EXPECTED = "a text, a list of tokens, or a tuple of one of them and its label"


def write_texts(texts: Iterable[Any], folder: Path) -> tuple[Path, bool]:
    """Write texts, one a line, and return the file, and whether they are lists of tokens.

    A text is a string, a list of tokens, or a tuple `(text, label)`, where the label may be a list
    of labels or numbers; all have to be of one kind. One that is missing (None, NaN) is empty. With
    labels the file is JSON lines, else plain text. Raises ConfigError, with the number of the text,
    for anything else.
    """
    if isinstance(texts, str | bytes | Path):
        raise ConfigError("texts: found one text; expected several", "texts=[TEXT, ...]")
    if hasattr(texts, "columns"):
        names = ", ".join(map(str, texts.columns))
        raise ConfigError(f"texts: found a table of the columns {names}", 'texts=table["text"]')
    # 1. The first text that is there tells the kind of all.
    items = iter(texts)
    missing = 0
    for first in items:
        if not _is_missing(first):
            break
        missing += 1
    else:
        raise ConfigError(f"texts: found none; expected {_EXPECTED}")
    labelled = isinstance(first, tuple)
    tokens = not isinstance(first[0] if labelled and first else first, str)
    # 2. Write them.
    lines = _lines(chain(repeat(None, missing), [first], items), labelled, tokens)
    path = folder / ("texts.jsonl" if labelled else "texts.txt")
    with path.open("wb") as out:
        ready = bytearray()
        for line in lines:
            ready += line
            if len(ready) > _AT_ONCE:
                with storing(path):
                    out.write(ready)
                ready.clear()
        with storing(path):
            out.write(ready)
            out.flush()
    return path, tokens


def _lines(items: Iterable[Any], labelled: bool, tokens: bool) -> Iterator[bytes]:
    for number, item in enumerate(items, 1):
        if labelled and not (isinstance(item, tuple) and len(item) == 2):
            raise _refused(number, item, "a tuple of a text and its label")
        text, label = item if labelled else (item, None)
        if _is_missing(text):
            text = ""
        elif tokens and isinstance(text, Iterable) and not isinstance(text, str | tuple | Mapping):
            words = list(text)
            for word in words:
                if not isinstance(word, str) or word.split() != [word]:
                    raise _refused(number, word, "a token without blanks")
            text = " ".join(words)
        elif tokens or not isinstance(text, str):
            raise _refused(number, text, "a list of tokens" if tokens else _EXPECTED)
        if labelled:
            try:
                text = json.dumps({"text": text, "label": label}, default=_plain)
            except TypeError:
                raise _refused(number, label, "a label, a number, or a list of them") from None
        try:
            yield text.replace("\r", " ").replace("\n", " ").encode() + b"\n"
        except UnicodeEncodeError as error:
            half = hex(ord(error.object[error.start]))
            raise ConfigError(f"texts: text {number} has half a character ({half})") from None


def _plain(value: Any) -> Any:
    """Return a NumPy, pandas or polars scalar or array as Python's own."""
    for method in ("tolist", "to_list"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError


def _is_missing(item: Any) -> bool:
    """Whether a text is None, or the NaN or NA of a pandas column."""
    return (
        item is None
        or type(item).__name__ == "NAType"
        or (isinstance(item, float) and math.isnan(item))
    )


def _refused(number: int, found: Any, expected: str) -> ConfigError:
    hint = 'texts=dataset["text"]' if isinstance(found, Mapping) else None
    return ConfigError(f"texts: text {number} is {brief(repr(found))}; expected {expected}", hint)
