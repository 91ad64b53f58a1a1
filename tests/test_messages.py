from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Formatter

import pytest
import yaml

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


def test_another_language_is_one_file(tmp_path):
    """A made-up language is found in the help, by --lang, by $LANG and by completion."""
    shutil.copytree(PACKAGE, tmp_path / "embedcli", ignore=shutil.ignore_patterns("__pycache__"))
    english = yaml.safe_load((PACKAGE / "messages" / "en.yaml").read_text(encoding="utf-8"))
    english["messages"]["word"]["unmoved"] = "Ĝi ne moviĝis."
    written = yaml.safe_dump(english, allow_unicode=True)
    (tmp_path / "embedcli" / "messages" / "eo.yaml").write_text(written, encoding="utf-8")
    (tmp_path / "text.txt").write_text("see you soon\ngoodbye\n", encoding="utf-8")

    def embed(*argv: str, **variables: str) -> str:
        command = [sys.executable, "-m", "embedcli", *argv]
        bare = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
        environment = {**bare, "PYTHONPATH": str(tmp_path), "LANG": "C.UTF-8", **variables}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    embed("train", "text.txt", "--dim", "2", "--epochs", "1", "--quiet", "--no-cache")
    word = ("explain", "--word", "goodbye")
    assert "en|eo|hi" in embed("explain", "--help")
    assert "Ĝi ne moviĝis." in embed(*word, "--lang", "eo")
    assert embed(*word, LANG="eo_XX.UTF-8") == embed(*word, "--lang", "eo")
    assert "moviĝis" not in embed(*word)
    complete = {"_EMBED_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
    complete["COMP_WORDS"] = "embed explain --lang "
    assert embed(**complete).split() == ["en", "eo", "hi"]
