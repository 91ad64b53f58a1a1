"""`embed help`: every topic has a page, which the wheel holds."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from embedcli.cli.help import TOPICS, page

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_a_page_or_a_part_of_it(embed, topic):
    shown = embed("help", topic)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == page(topic)
    assert re.match(r"# \S.*\n\n\S", shown.out)
    assert not re.search(r"\]\((?!http)", shown.out)
    assert not TOPICS[topic][1] or "\n## " not in shown.out


def test_topics_are_listed(embed):
    lines = embed("help").out.splitlines()
    assert [line.split()[0] for line in lines] == list(TOPICS)
    assert "exit-codes     Exit codes" in lines


def test_a_command_shows_its_help(embed):
    assert embed("help", "cache") == embed("cache", "--help")


def test_an_unknown_topic_is_an_error_with_the_nearest(embed):
    wrong = embed("help", "exit-code")
    assert wrong.code == 2
    assert "Did you mean exit-codes?" in wrong.err


def test_a_terminal_gets_a_page_without_marks(embed, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    shown = embed("help", "exit-codes").out
    assert "Exit codes" in shown
    assert "an error that is explained on standard error" in shown
    assert not re.search(r"^#|\| 0 \||`|\x1b", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_wheel_holds_the_pages():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    included = build["build"]["targets"]["wheel"]["force-include"]
    pages = {f"docs/{name}": f"embedcli/docs/{name}" for name, _ in TOPICS.values()}
    assert included == {"configs": "embedcli/configs", **pages}
