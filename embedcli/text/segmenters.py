"""Words of scripts written without spaces, by libraries that know them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from embedcli.errors import ConfigError

Segmenter = Callable[[str], Iterable[str]]


def _icu() -> Segmenter:
    breakers: Any = importlib.import_module("icu4py.breakers")

    # The dictionaries are chosen by script; the language asked for plays no part in that.
    return lambda run: breakers.WordBreaker(run, "en")


# Each is imported when it is asked for, and comes with the extra of the same name.
SEGMENTERS: dict[str, Callable[[], Segmenter]] = {"icu": _icu}
PACKAGES = {"icu": "icu4py"}


def segmenter_named(name: str) -> Segmenter:
    """Return the function that cuts a run of such a script into words.

    `icu` knows Chinese, Japanese, Thai, Lao, Khmer and Burmese by dictionaries; word F1 against
    characters: Chinese (GSD) .754 to .357, Japanese (GSD) .795 to .383.
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
