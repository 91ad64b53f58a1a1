"""Words of scripts written without spaces, by libraries that know them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from embedcli.errors import ConfigError

Segmenter = Callable[[str], Iterable[str]]


def _icu() -> Segmenter:
    breakers: Any = importlib.import_module("icu4py.breakers")

    def words(run: str) -> Iterable[str]:
        return list(breakers.WordBreaker(run, "en"))

    return words


def _jieba() -> Segmenter:
    jieba: Any = importlib.import_module("jieba")
    jieba.setLogLevel("WARNING")
    return lambda run: jieba.cut(run)


# Each is imported when asked for, from the extra of the same name.
SEGMENTERS: dict[str, Callable[[], Segmenter]] = {"icu": _icu, "jieba": _jieba}


def segmenter_named(name: str) -> Segmenter:
    """Return the function that cuts a run of such a script into words.

    `icu` knows Chinese, Japanese, Thai, Lao, Khmer and Burmese; `jieba` knows Chinese.
    Raises ConfigError for a name that is not known or whose library is not installed.
    """
    if name not in SEGMENTERS:
        raise ConfigError(
            f"segmenter: found {name!r}; expected one of {', '.join(SEGMENTERS)}",
            hint="leave it out to get characters",
        )
    try:
        return SEGMENTERS[name]()
    except ImportError as error:
        raise ConfigError(
            f"segmenter {name}: its library is not installed ({error})",
            hint=f"pip install 'embedcli[{name}]'",
        ) from error
