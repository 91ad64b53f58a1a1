"""Words of scripts written without spaces, by libraries with dictionaries."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from embedcli.errors import ConfigError

Segmenter = Callable[[str], Iterable[str]]


def _icu() -> Segmenter:
    breakers: Any = importlib.import_module("icu4py.breakers")

    # The dictionaries are chosen by script; the language makes no difference.
    return lambda run: breakers.WordBreaker(run, "en")


# Each is imported when it is needed; the extra of the same name installs it.
SEGMENTERS: dict[str, Callable[[], Segmenter]] = {"icu": _icu}
PACKAGES = {"icu": "icu4py"}


def segmenter_named(name: str) -> Segmenter:
    """Return the function that cuts a run of such a script into words.

    `icu` has dictionaries of Chinese, Japanese, Thai, Lao, Khmer and Burmese. Its word F1 is .754
    for Chinese (GSD) and .795 for Japanese (GSD); that of characters is .357 and .383. Raises
    ConfigError for an unknown name, or if the library is not installed.
    """
    if name not in SEGMENTERS:
        raise ConfigError(
            f"segmenter: found {name!r}; expected one of {', '.join(SEGMENTERS)}",
            hint="without it these scripts are cut into characters",
        )
    try:
        return SEGMENTERS[name]()
    except ImportError as error:
        raise ConfigError(
            f"segmenter {name}: its library is not installed ({error})",
            hint=f"pip install 'embedcli[{name}]'",
        ) from error
