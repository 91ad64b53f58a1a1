"""The sentences of `embed explain` in several languages: one YAML file a language, by key.

A message is a template for `str.format`, or one for each plural form. To add a language, copy
`en.yaml` and translate its templates; the fields in braces stay. See docs/explain.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


class Message(NamedTuple):
    """A sentence that a record holds: its key in the catalogues, and its fields."""

    key: str
    fields: Mapping[str, Any] = {}


class Catalogue:
    """The messages of a language."""

    def __init__(self, language: str, messages: Mapping[str, Any], one: tuple[int, ...]) -> None:
        self.language = language
        self.messages = messages
        self.one = one  # counts that take the form `one`

    def __call__(self, key: str, **fields: Any) -> str:
        """Return a message with its fields filled in; `count` chooses the plural form."""
        template = self.messages[key]
        if not isinstance(template, str):
            template = template["one" if fields["count"] in self.one else "other"]
        return str(template).format(**fields)

    def say(self, message: Message) -> str:
        """Return a message that a record holds."""
        return self(message.key, **message.fields)


def catalogue(language: str | None = None) -> Catalogue:
    """Return the catalogue of a language; None is that of the environment.

    >>> catalogue("en")("word.steps", count=1)
    'Its row had a gradient in one step of training.'
    """
    return _read(language or environment_language())


@cache
def _read(language: str) -> Catalogue:
    import yaml

    read = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    messages = {
        f"{part}.{name}": template
        for part, templates in read["messages"].items()
        for name, template in templates.items()
    }
    return Catalogue(language, messages, tuple(read["one"]))


def environment_language() -> str:
    """Return the language of the first of LC_ALL, LC_MESSAGES and LANG that is set.

    English where there is no catalogue of it.
    """
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next(filter(None, map(os.environ.get, names)), "")
    code = locale.split(".")[0].split("@")[0].split("_")[0].lower()
    return code if code in LANGUAGES else "en"
