from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import embedcli
from embedcli.messages import LANGUAGES, Message, catalogue, environment_language

PARTS = "|".join({key.split(".")[0] for key in catalogue("en").messages})
KEY = re.compile(rf"""["']((?:{PARTS})\.(?!npy)\w+)["']""")
PACKAGE = Path(embedcli.__file__).parent
SOURCES = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.js")]


def fields(template: str | dict[str, str]) -> set[str]:
    """The names in braces, of all forms of a message."""
    forms = [template] if isinstance(template, str) else template.values()
    return {name for form in forms for _, name, _, _ in Formatter().parse(form) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_every_message_with_the_same_fields(language):
    english, found = catalogue("en").messages, catalogue(language).messages
    assert found.keys() == english.keys()
    for key, template in english.items():
        assert fields(found[key]) == fields(template), key
        assert isinstance(found[key], str) == isinstance(template, str), key
        if not isinstance(template, str):
            assert found[key].keys() == {"one", "other"}, key


def test_every_message_is_used_and_every_used_one_is_there():
    used = {key for path in SOURCES for key in KEY.findall(path.read_text(encoding="utf-8"))}
    assert used == set(catalogue("en").messages)


def test_a_count_chooses_the_form():
    say = catalogue("en")
    assert say("page.gap", count=1) == "1 row not looked up"
    assert say("page.gap", count=2562) == "2,562 rows not looked up"
    assert catalogue("hi")("page.gap", count=0) == "0 पंक्ति नहीं पढ़ी गई"


def test_braces_in_a_field_are_not_read():
    assert catalogue("en").say(Message("table.sum", {"word": "{rows}"})) == "{rows}, the sum"


def test_hindi_is_written_in_devanagari():
    for key, template in catalogue("hi").messages.items():
        for form in [template] if isinstance(template, str) else template.values():
            words = re.sub(r"\{.*?\}|\(.*?\)|--\w+ \w+|log|W|²|\W|\d", "", form)
            assert all("\u0900" <= letter <= "\u097f" for letter in words), (key, words)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "hi_IN.UTF-8"}, "hi"),
        ({"LANG": "hi"}, "hi"),
        ({"LANG": "hi_IN", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "hi_IN@latin"}, "hi"),
        ({"LANG": "hi_IN", "LC_MESSAGES": "en_IN"}, "en"),
        ({"LANG": "tlh_QS"}, "en"),
        ({"LANG": "../hi"}, "en"),
    ],
)
def test_the_environment_names_the_language(monkeypatch, variables, expected):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_language() == expected
    assert catalogue().language == expected
